"""The divergence of a vector field, with its value, from one pass through the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from sde_lib.jacobian import quadratic_form, trace
from sde_lib.noise import RowNoise

__all__ = ["Divergence", "Exact", "Hutchinson"]

Field = Callable[[Tensor], Tensor]


class Divergence(Protocol):
    """fn(x), shaped like x, and its divergence, (B, channels), for probes (channels, B, *shape) drawn once for a trajectory."""

    @property
    def channels(self) -> int: ...  # noqa: D102
    def probe(self, noise: RowNoise, like: Tensor) -> Tensor: ...  # noqa: D102
    def __call__(self, fn: Field, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]: ...  # noqa: D102


@dataclass(frozen=True)
class Exact:
    """The trace of the Jacobian, by one backward pass for each of the d entries, chunk of them at a time.

    Raises ValueError above max_dims entries, where Hutchinson is the way.

    >>> Exact()(lambda x: 3 * x, torch.zeros(2, 5), torch.empty(0))[1]
    tensor([[15.],
            [15.]])
    """

    chunk: int = 16
    max_dims: int = 1024
    channels = 1

    def probe(self, noise: RowNoise, like: Tensor) -> Tensor:
        """Nothing: the trace needs no probes."""
        return like.new_empty(0)

    def __call__(self, fn: Field, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        """fn(x) and its divergence, (B, 1); one evaluation of fn."""
        dims = x[0].numel()
        if dims > self.max_dims:
            raise ValueError(
                f"the exact divergence of {dims} entries would take {dims} backward passes at every evaluation: "
                f"use Hutchinson(), or raise Exact(max_dims={self.max_dims})"
            )
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = fn(x)
            divergence = trace(y, x, chunk=self.chunk)
        return y.detach(), divergence[:, None]


@dataclass(frozen=True)
class Hutchinson:
    """E[v . J v] over random probes v, of which each of the K = probes is a channel of one trajectory.

    kind is "rademacher" (signs: exact where the Jacobian is diagonal) or "normal". One forward pass, K backward passes.
    Raises ValueError for another kind or no probe.

    Reference: Hutchinson, 1990; Grathwohl et al., 2019, arXiv 1810.01367, equation 7 (one probe for a whole trajectory).

    >>> Hutchinson(probes=2)(lambda x: 3 * x, torch.zeros(1, 5), torch.ones(2, 1, 5))[1]
    tensor([[15., 15.]])
    """

    probes: int = 1
    kind: Literal["rademacher", "normal"] = "rademacher"

    def __post_init__(self) -> None:
        if self.probes < 1 or self.kind not in ("rademacher", "normal"):
            raise ValueError(f"{self!r}: at least one probe, of kind 'rademacher' or 'normal', is needed")

    @property
    def channels(self) -> int:
        """K."""
        return self.probes

    def probe(self, noise: RowNoise, like: Tensor) -> Tensor:
        """K probes for each row, (K, B, *shape)."""
        draw = noise.rademacher if self.kind == "rademacher" else noise
        return torch.stack([draw(like) for _ in range(self.probes)])

    def __call__(self, fn: Field, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        """fn(x) and K estimates of its divergence, (B, K); one evaluation of fn."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = fn(x)
            estimates = [quadratic_form(y, x, v, retain_graph=k < len(probe)) for k, v in enumerate(probe, start=1)]
        return y.detach(), torch.stack(estimates, dim=1)
