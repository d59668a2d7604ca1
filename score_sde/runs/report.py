"""Reports on a trained model: the picture of its samples on their way, and its likelihood beside baselines."""

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
from score_sde.evaluation.figures import image_grid, is_drawable, save_picture, standardized
from score_sde.evaluation.reals import real_baselines
from score_sde.runs.samples import classes_of, conditioned_score
from score_sde.runs.side_by_side import Result, SideBySide
from sde_lib import ScoreModel

__all__ = ["compare_with_baselines", "reverse_strip", "write_json"]


def reverse_strip(model: ScoreModel, shape: tuple[int, ...], seed: int, path: Path, rows: int = 4, columns: int = 12) -> None:
    """Draw samples on their way from noise to data, left to right, each state in units of its own standard deviation.

    Data that are not images are not drawn.
    """
    if not is_drawable(shape):
        return
    sampler = Sampler(EulerMaruyama(), times=LogSNR(110, t_min=1e-3 if model.sde.t_min <= 1e-3 < model.sde.T else None))
    device = next(model.parameters()).device
    steps = len(sampler.times(model.sde)) - 1  # fewer than 110 when times coincide in a table
    chosen = {round(i * steps / (columns - 1)) for i in range(columns)}
    shown = []
    score_fn = conditioned_score(model, classes_of(model, range(rows)), slice(None))
    for frame in sampler.stream(model.sde, score_fn, (rows, *shape), seed=seed, device=device):
        if frame.i in chosen:
            shown.append(model.data.decode(standardized(model.sde, frame.mean, frame.t)).cpu())
    strip = torch.stack(shown, dim=1).flatten(0, 1)
    save_picture(image_grid(strip, model.data.levels, len(chosen)), path)


def compare_with_baselines(
    result: Result | SideBySide,
    model: ScoreModel,
    seed: int,
    train: Tensor | None,
    codes: Tensor,
    what: str,
    truth: Any = None,
) -> tuple[str, dict[str, Any]]:
    """A table of a model's likelihood and those of baselines, and the same as a record for `write_json`.

    The baselines are fitted to train, if it is given. what names the data in the title. truth is the oracle of real data whose
    density is known.
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
    """Write a record as JSON. JSON has no NaN or infinity: null is written for them."""
    text = json.dumps(_finite(record), indent=2, allow_nan=False)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))


def _finite(value: Any) -> Any:
    """A value with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
