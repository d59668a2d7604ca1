"""Bits/dim of integer data by the variational bound of a process with levels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sde_lib.data import Images
from sde_lib.noise import RowNoise, Stream
from sde_lib.reverse import ReverseSDE
from sde_lib.tabulated import Tabulated
from sde_lib.variational import bound_term

__all__ = ["VariationalBits", "variational_bound"]


@dataclass(frozen=True, eq=False)
class VariationalBits:
    """An upper bound on the mean bits/dim of a set of images, with its standard error over the images.

    per_image (N,) float64 are its values; terms (levels,) its mean terms, terms[0] the decoder's; prior the mean cost of the
    prior's not being the law of x_T. The error contains, besides the images' own spread, that of one draw of noise at each level.
    """

    mean: float
    standard_error: float
    per_image: Tensor
    terms: Tensor
    prior: float
    nfe: int

    def record(self) -> dict[str, Any]:
        """The numbers, as JSON can keep them."""
        return {"terms": self.terms.tolist(), "prior": self.prior}

    def __str__(self) -> str:
        return (
            f"{self.mean:.4f} +- {self.standard_error:.4f} bits/dim at most, by the variational bound "
            f"({len(self.per_image)} images, standard error; decoder {self.terms[0]:.3f}, prior {self.prior:.1g}; "
            f"{self.nfe} network calls)"
        )


@torch.no_grad()
def variational_bound(
    sde: Tabulated,
    score_fn: Any,
    batches: Iterable[Tensor] | Tensor,
    *,
    images: Images,
    variance: Literal["small", "large"] = "small",
    seed: int = 0,
    index: int = 0,
) -> VariationalBits:
    """-log2 P(image) / dims is at most L_T + sum of L_{t-1} + L_0, each from one draw of x_t; a network call for each level.

    batches are integer tensors (b, *shape) with the meaning that images gives them, or one such tensor; together they hold
    images index, index + 1, ..., and image i depends on (seed, i) alone. variance is that of a step back, unless score_fn has
    learned it. Raises ValueError for a process without levels, or an empty set; TypeError for data that are not integers.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equation 5.

    >>> from sde_lib import GaussianOracle, Tabulated
    >>> sde = Tabulated.from_betas([0.1, 0.3, 0.5, 0.7, 0.9])
    >>> score_fn = GaussianOracle(torch.zeros(1, 2, 2), 0.5).score(sde)
    >>> variational_bound(sde, score_fn, torch.full((3, 1, 2, 2), 1), images=Images(levels=4)).terms.shape
    torch.Size([5])
    """
    if not hasattr(sde, "before"):
        raise ValueError(f"the variational bound needs a process with levels, and got {sde!r}: use bits_per_dim, or Tabulated")
    reverse = ReverseSDE(sde, score_fn)
    totals, terms, prior = [], [], []
    for codes in [batches] if isinstance(batches, Tensor) else batches:
        x0 = images.encode(codes)
        noise = RowNoise(seed, torch.arange(index, index + len(codes)), Stream.BOUND)
        each = []
        for place, t in enumerate(sde.times):
            noise.draw = place
            prediction = reverse.predict(sde.kernel(x0, t).sample(noise(x0)), t)
            each.append(bound_term(sde, prediction, x0, t, images, variance).double())
        terms.append(torch.stack(each, dim=1))
        prior.append(sde.prior_mismatch(x0).double() / (x0[0].numel() * math.log(2)))
        totals.append(terms[-1].sum(1) + prior[-1])
        index += len(codes)
    if not totals:
        raise ValueError("there are no images: batches is empty")
    bits = torch.cat(totals)
    n = len(bits)
    return VariationalBits(
        mean=bits.mean().item(),
        standard_error=(bits.std() / n**0.5).item() if n > 1 else math.nan,
        per_image=bits,
        terms=torch.cat(terms).mean(0),
        prior=torch.cat(prior).mean().item(),
        nfe=reverse.calls,
    )
