"""The way from noise and the bits/dim of a trained model, as files in its folder and as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from evaluation.baselines import baselines
from evaluation.figures import image_grid, is_drawable, save_picture
from evaluation.side_by_side import Estimate, SideBySide, side_by_side
from likelihood import bits_per_dim, sde_bits_per_dim, variational_bound
from models.files import write_atomically
from samplers import EulerMaruyama, LogSNR, Sampler
from sde_lib import ScoreModel
from training.experiment import Scoring

__all__ = ["compare", "keep", "reverse_strip", "score_images"]


def reverse_strip(model: ScoreModel, shape: tuple[int, ...], seed: int, path: Path, rows: int = 4, columns: int = 12) -> None:
    """Draw samples on their way from noise to data, left to right, each state in units of its own standard deviation.

    Nothing is drawn of data that are no images.
    """
    if not is_drawable(shape):
        return
    sampler = Sampler(EulerMaruyama(), times=LogSNR(110, t_min=1e-3 if model.sde.t_min <= 1e-3 < model.sde.T else None))
    device = next(model.parameters()).device
    steps = len(sampler.times(model.sde)) - 1  # fewer than asked for where times fall together in a table
    chosen = {round(i * steps / (columns - 1)) for i in range(columns)}
    shown = []
    for frame in sampler.stream(model.sde, model, (rows, *shape), seed=seed, device=device):
        if frame.i in chosen:
            alpha, sigma, _ = model.sde.at(frame.t)
            shown.append(model.data.decode(frame.mean / torch.sqrt(alpha**2 + sigma**2)).cpu())
    strip = torch.stack(shown, dim=1).flatten(0, 1)
    save_picture(image_grid(strip, model.data.levels, len(chosen)), path)


def score_images(model: ScoreModel, scoring: Scoring, codes: Tensor, seed: int) -> Estimate | SideBySide:
    """Bits/dim of integer images by the estimator of the config, or by all that the model has, with a progress bar."""
    if scoring.estimator != "all":
        return _estimate(scoring.estimator, model, scoring, codes, seed)
    return side_by_side(model.sde, lambda estimator: _estimate(estimator, model, scoring, codes, seed))


def _estimate(estimator: str, model: ScoreModel, scoring: Scoring, codes: Tensor, seed: int) -> Estimate:
    device = next(model.parameters()).device
    batches = tqdm(codes.to(device).split(scoring.batch_size), desc="likelihood", unit=" batches", leave=False)
    if estimator == "sde":
        return sde_bits_per_dim(model.sde, model, batches, images=model.data, dequantize=scoring.dequantize, seed=seed)
    if estimator == "bound":
        sde: Any = model.sde
        return variational_bound(sde, model, batches, images=model.data, variance=scoring.variance, seed=seed)
    return bits_per_dim(
        model.sde,
        model,
        batches,
        images=model.data,
        dequantize=scoring.dequantize,
        divergence=scoring.divergence,
        rtol=scoring.rtol,
        atol=scoring.atol,
        seed=seed,
    )


def compare(result: Estimate | SideBySide, data: Any, model: ScoreModel, seed: int) -> tuple[str, dict[str, Any]]:
    """A model's bits/dim beside those of the baselines on the same images: as text, and as a record for keep."""
    others = baselines(data.train, data.test, model.data, seed)
    record = {
        "bits_per_dim": result.mean,
        "standard_error": result.standard_error,
        "images": len(result.per_image),
        **result.record(),
        "network_calls": result.nfe,
        "seed": seed,
        "baselines": [other._asdict() for other in others],
    }
    lines = [("this model", result.mean, result.standard_error), *others]
    table = "\n".join(f"  {mean:7.4f} +- {error:.4f}   {name}" for name, mean, error in lines)
    return f"test bits/dim ({len(data.test)} images; lower is better; +- is one standard error)\n{table}\n  {result}", record


def keep(record: dict[str, Any], path: Path) -> None:
    """Write a record as JSON."""
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(record, indent=2) + "\n"))
