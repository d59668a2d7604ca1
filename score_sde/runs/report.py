"""The way from noise and the bits/dim of a trained model, as files in its folder and as text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from likelihood.results import with_error
from models.files import write_atomically
from samplers import EulerMaruyama, LogSNR, Sampler
from score_sde.evaluation.baselines import baselines
from score_sde.evaluation.figures import image_grid, is_drawable, save_picture
from score_sde.evaluation.reals import LogDensity, real_baselines
from score_sde.runs.samples import classes_of, conditioned_score
from score_sde.runs.side_by_side import Estimate, SideBySide
from sde_lib import ScoreModel

__all__ = ["compare_with_baselines", "reverse_strip", "write_json"]


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
    score_fn = conditioned_score(model, classes_of(model, range(rows)), slice(None))
    for frame in sampler.stream(model.sde, score_fn, (rows, *shape), seed=seed, device=device):
        if frame.i in chosen:
            alpha, sigma, _ = model.sde.at(frame.t)
            shown.append(model.data.decode(frame.mean / torch.sqrt(alpha**2 + sigma**2)).cpu())
    strip = torch.stack(shown, dim=1).flatten(0, 1)
    save_picture(image_grid(strip, model.data.levels, len(chosen)), path)


def compare_with_baselines(
    result: Estimate | SideBySide | LogDensity,
    model: ScoreModel,
    seed: int,
    train: Tensor | None,
    codes: Tensor,
    what: str,
    truth: Any = None,
) -> tuple[str, dict[str, Any]]:
    """A model's number beside those of baselines of the training set, if it is given: as text, and as a record for keep.

    truth is the oracle of real data whose density is known.
    """
    if model.data.levels is not None:
        others = [] if train is None else baselines(train, codes, model.data, seed)
        key, title = "bits_per_dim", f"{what} bits/dim ({len(codes)} images; lower is better; +- is one standard error)"
    else:
        others = [] if train is None else real_baselines(train, codes, truth)
        key, title = "nats", f"{what} log p in nats ({len(codes)} data; higher is better; +- is one standard error)"
    record = {
        key: result.mean,
        "standard_error": result.standard_error,
        "images": len(result.per_image),
        **result.record(),
        "network_calls": result.nfe,
        "seed": seed,
        "baselines": [other._asdict() for other in others],
    }
    lines = [("this model", result.mean, result.standard_error), *others]
    table = "\n".join(f"  {with_error(mean, error):>17}   {name}" for name, mean, error in lines)
    return f"{title}\n{table}\n  {result}", record


def write_json(record: dict[str, Any], path: Path) -> None:
    """Write a record as JSON, which has no NaN: null stands for it."""
    text = json.dumps(_known(record), indent=2, allow_nan=False)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
