"""Numbers recorded from other implementations (golden/README.md says which), and how ours are held to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sde_lib import Tabulated

GOLDEN = Path(__file__).parent / "golden"


def load(name: str) -> dict[str, Tensor]:
    """The arrays of golden/NAME.npz; what was recorded in float32, as inputs are, is upcast exactly to float64."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        tensors = {key: torch.from_numpy(np.array(arrays[key])) for key in arrays.files if arrays[key].dtype.kind != "U"}
    return {key: value.double() if value.is_floating_point() else value for key, value in tensors.items()}


def same(actual: Tensor, expected: Tensor, rtol: float = 1e-9, atol: float = 0.0) -> None:
    """Each entry within rtol of its own size: for tables, which span many orders of magnitude."""
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)


def same_state(actual: Tensor, expected: Tensor, rtol: float = 1e-9) -> None:
    """Each entry within rtol of the root mean square: for states, whose entries pass through zero."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=rtol * float(expected.square().mean().sqrt()))


class Replay:
    """Noise that was recorded: the k-th call is answered with the k-th draw."""

    def __init__(self, draws: Tensor) -> None:
        self.left: Iterator[Tensor] = iter(draws)

    def __call__(self, like: Tensor) -> Tensor:
        z = next(self.left)
        assert z.shape == like.shape
        return z

    def used_up(self) -> bool:
        return next(self.left, None) is None


def with_clean_level(betas: Tensor) -> Tabulated:
    """The table of N betas, and before its first entry the data themselves: their entry i is our entry i + 1.

    The references write alpha_{-1} = 1 and sigma_{-1} = 0. A process has no such level; 1e-30 is as good in double.
    """
    return Tabulated.from_betas(torch.cat([torch.tensor([1e-30], dtype=torch.float64), betas]))


def entry(sde: Tabulated, i: Tensor | int) -> Tensor:
    """The time of entry i of a table, 0 for the least noise, float64."""
    return (torch.as_tensor(i) + 1).double() / len(sde.log_alphas)


def law_after(move: Callable[[Tensor, Any], Tensor], mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance of a number after an affine move (x (3, 1), noise) -> x with one draw of noise: exact."""
    x = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    z = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    offset, moved, noised = move(x, lambda like: z).flatten().tolist()
    slope, gain = moved - offset, noised - offset
    return offset + slope * mean, slope**2 * variance + gain**2
