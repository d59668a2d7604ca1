"""The held-out loss, with the same times and noise each time."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from likelihood.results import standard_error
from sde_lib import RowNoise, ScoreModel
from sde_lib.noise import Stream

__all__ = ["HeldOut", "held_out"]

LEVELS = 5


class HeldOut(NamedTuple):
    """The mean loss, its standard error (None for one row), and five pairs (log-SNR, loss) from the least noise to the most.

    Two values share rows, times and noise. So the error of their difference is far smaller than the error of each value.
    """

    mean: float
    standard_error: float | None
    by_level: list[tuple[float, float]]


@torch.no_grad()
def held_out(
    model: ScoreModel, objective: Any, codes: Tensor, *, batch_size: int, dequantize: bool, seed: int, y: Tensor | None = None
) -> HeldOut:
    """The objective's loss on data (N, *shape), with one time and one noise a row that depend on the seed alone.

    No random state and no state of the training changes. The model is left in evaluation mode.
    """
    transform: Any = model.data
    sde = model.sde
    model.eval()
    losses, levels = [], []
    for first in range(0, len(codes), batch_size):
        part = codes[first : first + batch_size]
        noise = RowNoise(seed, torch.arange(first, first + len(part)), Stream.HELD_OUT)
        like = torch.empty(part.shape, device=part.device)
        u = noise.uniform(torch.empty(len(part), 1, dtype=torch.float64, device=part.device))[:, 0]
        x0 = transform.dequantize(part, noise.uniform(like) if dequantize else torch.full_like(like, 0.5))
        t = objective.times.sample(sde, u)
        cond = {} if y is None else {"y": y[first : first + batch_size]}
        losses.append(objective(model, x0, t=t, z=noise(x0), **cond).double())
        levels.append(sde.at(t).log_snr.expand(len(part)))
    loss, level = torch.cat(losses), torch.cat(levels)
    parts = level.argsort(descending=True).chunk(LEVELS)
    by_level = [(level[part].mean().item(), loss[part].mean().item()) for part in parts]
    error = standard_error(loss).item() if len(loss) > 1 else None
    return HeldOut(loss.mean().item(), error, by_level)
