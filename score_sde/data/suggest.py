"""Processes for a data set: proposals computed from the data, and warnings where a process does not fit them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from score_sde.errors import UsageError
from sde_lib import LinearSDE
from sde_lib.ncsnv2 import langevin_step, largest_distance, level_count, spacing

__all__ = ["judge_process", "proposals", "warnings_about"]

MOST, ENTRIES = 5000, 1 << 24  # the most rows, and entries in them, that are used: distances are computed in float64


def _most(raw: Tensor) -> int:
    """The number of rows to use, at least two: a single row has no distance."""
    return min(MOST, max(2, ENTRIES // math.prod(raw.shape[1:])))


def proposals(raw: Tensor, data: Any) -> str:
    """Text that proposes sigma_data, sigma_max, levels and a Langevin step for the data, each with its source."""
    x = data.encode(raw[: _most(raw)])
    dims = x[0].numel()
    distance, std = largest_distance(x), x.double().std().item()
    if not distance:
        raise UsageError(f"the first {len(x)} rows are all equal, and rows that differ were needed: shuffle the rows")
    top = _rounded_up(distance)
    if data.levels is None:
        sigma_min, why = 0.001 * std, "a thousandth of sigma_data"
    else:
        sigma_min, why = 0.1 * data.bin_width, "0.1 of the width of a level"
    used = f"{len(x)} data" if len(x) == len(raw) else f"the first {len(x)} of {len(raw)} data"
    return "\n".join(
        (
            f"data        {used} of {dims} entries, {_range(raw, data)}; as states {x.min().item():.3g} to {x.max().item():.3g}",
            f"sigma_data  {std:.3g}, the standard deviation of the states: --parameterization 'edm(sigma_data={std:.2g})'",
            f"sigma_max   {distance:.3g}, the largest distance between two data (arXiv 2006.09011, technique 1)",
            f"sigma_min   {sigma_min:.2g}, {why}: what is finer is lost",
            f"ve          --sde 've(sigma_min={sigma_min:.2g}, sigma_max={top:.3g})'",
            f"ncsn        {_table(dims, sigma_min, top)}",
        )
    )


def _table(dims: int, sigma_min: float, top: float) -> str:
    """NCSN's table and Langevin step by the rules of NCSNv2, which hold for many dimensions."""
    try:
        gamma = spacing(dims)
    except ValueError as error:
        return f"no rule for its levels: {error}"
    levels = level_count(sigma_min, top, gamma)
    # The ratio of this many levels is a little less than gamma.
    ratio = (top / sigma_min) ** (1 / (levels - 1))
    return (
        f"--sde 'ncsn(sigma_min={sigma_min:.2g}, sigma_max={top:.3g}, levels={levels})' (technique 2: ratio {gamma:.4f}); "
        f"Langevin step {langevin_step(sigma_min, ratio, 5):.2g} for 5 moves a level (technique 4)"
    )


def _range(raw: Tensor, data: Any) -> str:
    low, high = raw.min().item(), raw.max().item()
    return f"levels {low} to {high} of 0 to {data.levels - 1}" if data.levels is not None else f"values {low:.4g} to {high:.4g}"


def _rounded_up(value: float) -> float:
    """A number rounded up to two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit


def warnings_about(sde: LinearSDE, raw: Tensor, data: Any) -> list[str]:
    """A sentence for each way in which a process does not fit the data."""
    x = data.encode(raw[: _most(raw)])
    dims = x[0].numel()
    found = []
    prior_bits = sde.prior_mismatch(x).mean().item() / (dims * math.log(2))
    if prior_bits > 0.01:
        found.append(
            f"the data are still seen in x_T: the prior costs up to {prior_bits:.2g} bits/dim; let the process end at more noise"
        )
    end = sde.at(sde.T)
    distance = largest_distance(x)
    if float(end.sigma / end.alpha) < distance:
        found.append(
            f"sigma/alpha at T is {float(end.sigma / end.alpha):.3g}, less than the largest distance between two data, "
            f"{distance:.3g}: modes that are far apart may get wrong weights; raise sigma_max"
        )
    if data.levels is None:
        return found
    start = sde.at(sde.t_min)
    blur = float(start.sigma / start.alpha) / data.bin_width
    if blur > 0.15:
        found.append(
            f"sigma(t_min) is {blur:.2g} of the width of a level: bits/dim will be higher than need be; lower t_min or sigma_min"
        )
    if float(torch.unique(raw[: len(x)].flatten()).numel()) == 2 and data.levels > 2:
        found.append(f"the data have two values of {data.levels}: for binary data take levels=2")
    return found


def judge_process(sde: LinearSDE, raw: Tensor, data: Any) -> str:
    """Text that says whether a process fits the data."""
    found = warnings_about(sde, raw, data)
    return f"{sde!r}:" + "".join(f"\n  warning: {text}" for text in found) if found else f"{sde!r} fits these data"
