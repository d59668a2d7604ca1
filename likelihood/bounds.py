"""Bits/dim of integer data by the variational bound of a process with levels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from likelihood.flow import so_many, with_error
from sde_lib.data import Images
from sde_lib.noise import RowNoise, Stream
from sde_lib.reverse import ReverseSDE
from sde_lib.tabulated import Tabulated
from sde_lib.variational import bound_term

__all__ = ["RateDistortion", "VariationalBits", "variational_bound"]


class RateDistortion(NamedTuple):
    """What a receiver has paid when it holds x_t, and how far its guess E[x0 | x_t] is from the image: (levels,), float64.

    rate: bits/dim, the prior's term and those of all levels above; distortion: root mean square over images and their entries
    of guess less image, in levels (0..255 for 8 bits). Entry 0 is the least noise, where the rate is the bound less the
    decoder's term. Standard errors over the images, that of the distortion by linearisation.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, section 4.3, figure 5 and Algorithms 3 and 4.
    """

    rate: Tensor
    distortion: Tensor
    rate_error: Tensor
    distortion_error: Tensor


@dataclass(frozen=True, eq=False)
class VariationalBits:
    """An upper bound on the mean bits/dim of a set of images, with its standard error over the images.

    per_image (N,) float64 are its values; terms (levels,) its mean terms, terms[0] the decoder's; prior the mean cost of the
    prior's not being the law of x_T; rate_distortion the curve of lossy codes that stop before the end. The error contains,
    besides the images' own spread, that of one draw of noise at each level.
    """

    mean: float
    standard_error: float
    per_image: Tensor
    terms: Tensor
    prior: float
    nfe: int
    rate_distortion: RateDistortion

    def record(self) -> dict[str, Any]:
        """The numbers, as JSON can keep them."""
        curve = {name: values.tolist() for name, values in self.rate_distortion._asdict().items()}
        return {"terms": self.terms.tolist(), "prior": self.prior, **curve}

    def __str__(self) -> str:
        return (
            f"{with_error(self.mean, self.standard_error)} bits/dim at most, by the variational bound "
            f"({so_many(len(self.per_image))}; decoder {self.terms[0]:.3f}, prior {self.prior:.1g}; "
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
    learned it. The rate-distortion curve comes of the same calls; samplers.Threshold(score_fn) keeps guesses in the range of the
    images, which those of an eps-network leave at the noisiest levels. Raises ValueError for a process without levels, or an
    empty set; TypeError for data that are not integers.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equation 5 and section 4.3.

    >>> from sde_lib import GaussianOracle, Tabulated
    >>> sde = Tabulated.from_betas([0.1, 0.3, 0.5, 0.7, 0.9])
    >>> score_fn = GaussianOracle(torch.zeros(1, 2, 2), 0.5).score(sde)
    >>> variational_bound(sde, score_fn, torch.full((3, 1, 2, 2), 1), images=Images(levels=4)).terms.shape
    torch.Size([5])
    """
    if not hasattr(sde, "before"):
        raise ValueError(f"the variational bound needs a process with levels, and got {sde!r}: use bits_per_dim, or Tabulated")
    reverse = ReverseSDE(sde, score_fn)
    terms, prior, squares = [], [], []
    for codes in [batches] if isinstance(batches, Tensor) else batches:
        x0 = images.encode(codes)
        noise = RowNoise(seed, torch.arange(index, index + len(codes)), Stream.BOUND)
        each, square = [], []
        for place, t in enumerate(sde.times):
            noise.draw = place
            prediction = reverse.predict(sde.kernel(x0, t).sample(noise(x0)), t)
            each.append(bound_term(sde, prediction, x0, t, images, variance).double())
            square.append((prediction.x0 - x0).double().flatten(1).square().mean(1) / images.bin_width**2)
        squares.append(torch.stack(square, dim=1))
        terms.append(torch.stack(each, dim=1))
        prior.append(sde.prior_mismatch(x0).double() / (x0[0].numel() * math.log(2)))
        index += len(codes)
    if not terms:
        raise ValueError("there are no images: batches is empty")
    L, L_T, squared = torch.cat(terms), torch.cat(prior), torch.cat(squares)
    sums = L.flip(1).cumsum(1).flip(1) + L_T[:, None]  # what each level and all above it cost, with the prior
    bits = sums[:, 0]
    rates = torch.cat([sums[:, 1:], L_T[:, None]], dim=1)
    distortion = squared.mean(0).sqrt()
    curve = RateDistortion(rates.mean(0), distortion, _error(rates), _error(squared) / (2 * distortion))
    return VariationalBits(
        mean=bits.mean().item(),
        standard_error=_error(bits).item(),
        per_image=bits,
        terms=L.mean(0),
        prior=L_T.mean().item(),
        nfe=reverse.calls,
        rate_distortion=curve,
    )


def _error(values: Tensor) -> Tensor:
    """Standard error of the mean over the images, the first axis; NaN for a single image."""
    n = len(values)
    return values.std(0) / n**0.5 if n > 1 else torch.full_like(values[0], math.nan)
