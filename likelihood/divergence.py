"""The divergence of a vector field, with its value, from one pass through the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from sde_lib.fields import check_choices
from sde_lib.jacobian import quadratic_form, trace
from sde_lib.noise import RowNoise

__all__ = ["Divergence", "Exact", "Hutchinson", "Probing"]

Field = Callable[[Tensor], Tensor]


class Divergence(Protocol):
    """fn(x), shaped like x, and its divergence, (B, channels), for probes (channels, B, *shape) drawn once for a trajectory.

    noisy says whether the answer depends on the probes. Where autograd records, both can be differentiated.
    """

    @property
    def channels(self) -> int: ...  # noqa: D102
    @property
    def noisy(self) -> bool: ...  # noqa: D102
    def probe(self, noise: RowNoise, like: Tensor) -> Tensor: ...  # noqa: D102
    def __call__(self, fn: Field, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]: ...  # noqa: D102


@dataclass(frozen=True)
class Exact:
    """The trace of the Jacobian, by one backward pass for each of the d entries, chunk of them at a time.

    Raises:
        ValueError: when chunk or max_dims is not a whole number of at least 1.
        ValueError: when a state has more than max_dims entries: use Hutchinson.

    >>> Exact()(lambda x: 3 * x, torch.zeros(2, 5), torch.empty(0))[1]
    tensor([[15.],
            [15.]])
    """

    chunk: int = 16
    max_dims: int = 1024
    channels: ClassVar[int] = 1
    noisy: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not _counts(self.chunk, self.max_dims):
            raise ValueError(f"{self!r}: whole numbers of at least one are needed")

    def probe(self, noise: RowNoise, like: Tensor) -> Tensor:
        """Nothing, since the trace needs no probes. States of too many entries are refused here, before a solver starts."""
        self._check(like)
        return like.new_empty(0)

    def __call__(self, fn: Field, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        """fn(x) and its divergence, (B, 1); one evaluation of fn."""
        self._check(x)
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            x = _differentiable(x, keep)
            y = fn(x)
            divergence = trace(y, x, chunk=self.chunk, create_graph=keep)
        return y if keep else y.detach(), divergence[:, None]

    def _check(self, x: Tensor) -> None:
        dims = x.shape[1:].numel()
        if dims > self.max_dims:
            raise ValueError(
                f"the exact divergence of {dims} entries would take {dims} backward passes at every evaluation: "
                f"use Hutchinson(), or raise Exact(max_dims={self.max_dims})"
            )


@dataclass(frozen=True)
class Hutchinson:
    """E[v . J v] over random probes v, of which each of the K = probes is a channel of one trajectory.

    kind is "rademacher" (signs: exact where the Jacobian is diagonal) or "normal". One forward pass, K backward passes.

    Raises:
        ValueError: when kind is another word, or probes is not a whole number of at least 1.

    Reference: Hutchinson, 1990; Grathwohl et al., 2019, arXiv 1810.01367, equation 7 (one probe for a whole trajectory).

    >>> Hutchinson(probes=2)(lambda x: 3 * x, torch.zeros(1, 5), torch.ones(2, 1, 5))[1]
    tensor([[15., 15.]])
    """

    probes: int = 1
    kind: Literal["rademacher", "normal"] = "rademacher"
    noisy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choices(self)
        if not _counts(self.probes):
            raise ValueError(f"{self!r}: a whole number of probes, at least one, is needed")

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
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            x = _differentiable(x, keep)
            y = fn(x)
            options = [{"retain_graph": k < len(probe), "create_graph": keep} for k in range(1, len(probe) + 1)]
            estimates = [quadratic_form(y, x, v, **option) for v, option in zip(probe, options, strict=True)]
        return y if keep else y.detach(), torch.stack(estimates, dim=1)


def _counts(*numbers: int) -> bool:
    return all(isinstance(number, int) and number >= 1 for number in numbers)


def _differentiable(x: Tensor, keep: bool) -> Tensor:
    """x with a gradient: as it is where what comes before it is to be differentiated too, else cut off from that."""
    return x if keep and x.requires_grad else x.detach().requires_grad_()


@dataclass(frozen=True)
class Probing:
    """Hutchinson's estimate from probes that share their signs: v_k = v * h_k, whose errors cancel between neighbours.

    v is a Rademacher probe and h_k are the first characters of the lattice of the entries. K = 2 of them cancel the products of
    entries that differ by one in an odd number of coordinates, exactly. K = 4 cancel those of all neighbours in a plane. As many as
    there are entries (rounded up to powers of two along each axis) cancel all. The estimate is as unbiased as Hutchinson(probes=K),
    at the same cost, and on images several times less noisy. Each of the repeats, with signs v of its own, is a channel.

    Raises:
        ValueError: when probes is not a power of two, or repeats is below 1.
        ValueError: when a state has fewer entries than probes, so that fewer are exact.

    Reference: Stathopoulos, Laeuchli, Orginos, 2013, arXiv 1302.4018 (hierarchical probing).

    >>> J = torch.tensor([[1.0, 9.0], [9.0, 2.0]])
    >>> divergence, x = Probing(probes=2), torch.zeros(1, 2)
    >>> divergence(lambda x: x @ J, x, divergence.probe(RowNoise(0, 1), x))[1]
    tensor([[3.]])
    """

    probes: int = 4
    repeats: int = 1
    noisy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not _counts(self.probes, self.repeats) or self.probes & (self.probes - 1):
            raise ValueError(f"{self!r}: whole numbers, a power of two of probes and at least one repeat, are needed")

    @property
    def channels(self) -> int:
        """The repeats, which are independent."""
        return self.repeats

    def probe(self, noise: RowNoise, like: Tensor) -> Tensor:
        """The probes of each row, (repeats * K, B, *shape)."""
        signs = characters(tuple(like.shape[1:]), self.probes).to(like)[:, None]
        return torch.cat([noise.rademacher(like) * signs for _ in range(self.repeats)])

    def __call__(self, fn: Field, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        """fn(x) and estimates of its divergence, (B, repeats); one evaluation of fn."""
        y, each = Hutchinson(self.probes * self.repeats)(fn, x, probe)
        return y, each.unflatten(1, (self.repeats, self.probes)).mean(2)


def characters(shape: tuple[int, ...], count: int) -> Tensor:
    """The first count products of signs (-1)^bit over the bits of an entry's coordinates, (count, *shape), lowest bits first.

    For each place of the bits, the sum over the axes (a checkerboard) comes first, then each axis but one.

    Raises:
        ValueError: when there are fewer than count.
    """
    axes = torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij")
    generators: list[Tensor] = []
    for place in range(max(size - 1 for size in shape).bit_length()):
        bits = [axis >> place & 1 for axis, size in zip(axes, shape, strict=True) if size > 1 << place]
        generators += [torch.stack(bits).sum(0) % 2, *bits[:0:-1]]
    if count > 1 << len(generators):
        raise ValueError(f"{count} probes of {shape} entries: {1 << len(generators)} are exact, and more would repeat them")
    chosen = torch.arange(count)
    parity = sum(((chosen >> i & 1).reshape(-1, *[1] * len(shape)) * bit for i, bit in enumerate(generators)), torch.zeros(1))
    return 1.0 - 2.0 * (parity % 2).expand(count, *shape)
