"""Bits/dim of integer data by the variational bound of a process with levels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from likelihood.results import PerRowResult, count_of, join, numbered, standard_error, with_error
from sde_lib.data import Images, require_levels
from sde_lib.noise import RowNoise, Stream
from sde_lib.reverse import ReverseSDE
from sde_lib.tabulated import Tabulated, require_table
from sde_lib.variational import bound_term

__all__ = ["RateDistortion", "VariationalBits", "variational_bound"]


class RateDistortion(NamedTuple):
    """The rate that a receiver has paid when it holds x_t, and the distortion of its estimate E[x0 | x_t]: (levels,), float64.

    rate is in bits/dim: the prior's term and those of all levels above. distortion is the root mean square of the estimate less
    the image, over images and entries, in levels (0..255 for 8 bits). Entry 0 is the least noise, where the rate is the bound less
    the decoder's term. The standard errors are over the images, that of the distortion by linearisation.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, section 4.3, figure 5 and Algorithms 3 and 4.
    """

    rate: Tensor
    distortion: Tensor
    rate_error: Tensor
    distortion_error: Tensor


@dataclass(frozen=True, eq=False)
class VariationalBits(PerRowResult):
    """An upper bound on the mean bits/dim of a set of images, with its standard error over the images.

    Each tensor is float64 with a row for each image. per_image (N,) holds the values, and each_term (N, levels) the terms, entry 0
    the decoder's. prior_mismatch (N,) is the cost of the difference between the prior and the law of x_T. squares (N, levels) are
    mean squares of the estimate less the image, in levels. The error contains, besides the images' own spread, that of one draw of
    noise at each level. nfe is in network calls.
    """

    per_image: Tensor
    each_term: Tensor
    prior_mismatch: Tensor
    squares: Tensor
    nfe: int

    @property
    def terms(self) -> Tensor:
        """Mean terms of the bound, (levels,), entry 0 the decoder's."""
        return self.each_term.mean(0)

    @property
    def prior(self) -> float:
        """Mean cost of the prior."""
        return self.prior_mismatch.mean().item()

    @property
    def rate_distortion(self) -> RateDistortion:
        """The curve of lossy codes that stop before the end."""
        paid = _paid(self.each_term, self.prior_mismatch)
        rates = torch.cat([paid[:, 1:], self.prior_mismatch[:, None]], dim=1)
        distortion = self.squares.mean(0).sqrt()
        return RateDistortion(rates.mean(0), distortion, standard_error(rates), standard_error(self.squares) / (2 * distortion))

    def record(self) -> dict[str, Any]:
        """The numbers, as JSON can keep them."""
        curve = {name: values.tolist() for name, values in self.rate_distortion._asdict().items()}
        return {"terms": self.terms.tolist(), "prior": self.prior, **curve}

    def __str__(self) -> str:
        return (
            f"{with_error(self.mean, self.standard_error)} bits/dim at most, by the variational bound "
            f"({count_of(len(self.per_image))}; decoder {self.terms[0]:.3f}, prior {self.prior:.1g}; "
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

    batches are integer tensors (b, *shape) with the meaning that images gives them, or one such tensor. Together they hold
    images index, index + 1, ..., and image i depends on (seed, i) alone. variance is that of a step back, unless score_fn has
    learned it. The rate-distortion curve comes of the same calls. The estimates of an eps-network leave the range of the images at
    the noisiest levels; samplers.Threshold(score_fn) keeps them inside.

    Raises:
        ValueError: when the process has no levels, or the set is empty.
        TypeError: when the data are not integers.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equation 5 and section 4.3.

    >>> from sde_lib import GaussianOracle, Tabulated
    >>> sde = Tabulated.from_betas([0.1, 0.3, 0.5, 0.7, 0.9])
    >>> score_fn = GaussianOracle(torch.zeros(1, 2, 2), 0.5).score(sde)
    >>> variational_bound(sde, score_fn, torch.full((3, 1, 2, 2), 1), images=Images(levels=4)).terms.shape
    torch.Size([5])
    """
    reverse = ReverseSDE(sde, score_fn)
    require_table(sde, "the variational bound", otherwise="bits_per_dim")
    require_levels(images)
    results = []
    for codes, rows in numbered(batches, index):
        x0, calls = images.encode(codes), reverse.calls
        noise = RowNoise(seed, rows, Stream.BOUND)
        terms, squares = [], []
        for place, t in enumerate(sde.times):
            noise.draw = place
            prediction = reverse.predict(sde.kernel(x0, t).sample(noise(x0)), t)
            terms.append(bound_term(sde, prediction, x0, t, images, variance).double())
            squares.append((prediction.x0 - x0).double().flatten(1).square().mean(1) / images.bin_width**2)
        each_term = torch.stack(terms, dim=1)
        prior = sde.prior_mismatch(x0).double() / (x0[0].numel() * math.log(2))
        results.append(
            VariationalBits(_paid(each_term, prior)[:, 0], each_term, prior, torch.stack(squares, dim=1), reverse.calls - calls)
        )
    return join(results)


def _paid(terms: Tensor, prior: Tensor) -> Tensor:
    """What each level and all above it cost, with the prior: (N, levels)."""
    return terms.flip(1).cumsum(1).flip(1) + prior[:, None]
