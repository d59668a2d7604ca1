"""Bits/dim of integer data, with the parts of its error."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likelihood.dequantize import Uniform
from likelihood.divergence import Divergence, Hutchinson
from likelihood.flow import log_likelihood
from sde_lib.data import Images
from sde_lib.linear import LinearSDE
from sde_lib.noise import RowNoise, Stream

__all__ = ["BitsPerDim", "Parts", "bits_per_dim"]


class Parts(NamedTuple):
    """What the error of a mean in bits/dim is made of; None where the settings cannot tell.

    probe: standard error from the random probes of the divergence (needs two or more; 0 when exact).
    dequantization: how much of the bound's slack several draws removed; more would remove more, never less.
    solver: mean change on the first images when rtol and atol are ten times smaller.
    prior: bound on the cost of the prior's not being the exact law of x_T.
    """

    probe: float | None
    dequantization: float | None
    solver: float
    prior: float


@dataclass(frozen=True, eq=False)
class BitsPerDim:
    """Mean bits/dim of a set of images, its standard error over the images, and what is known about it.

    per_image is (N,) float64. standard_error contains, besides the images' own spread, the noise of probes and
    dequantization. sigma_over_bin is sigma(t_min) / alpha(t_min) over the width of a level: above 0.15 the noise at which the
    model stops blurs the levels, and the number is higher than the model deserves (never lower). nfe is in network calls.
    """

    mean: float
    standard_error: float
    parts: Parts
    per_image: Tensor
    sigma_over_bin: float
    nfe: int

    def record(self) -> dict[str, Any]:
        """The parts of the error, as JSON can keep them."""
        return {"parts": self.parts._asdict(), "sigma_over_bin": self.sigma_over_bin}

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value:.1g}" for name, value in self.parts._asdict().items() if value is not None)
        text = (
            f"{self.mean:.4f} +- {self.standard_error:.4f} bits/dim "
            f"({len(self.per_image)} images, standard error; parts: {parts}; {self.nfe} network calls)"
        )
        if self.sigma_over_bin > 0.15:
            text += f"; sigma(t_min) is {self.sigma_over_bin:.2f} of a level: a smaller t_min may lower this number"
        return text


def bits_per_dim(
    sde: LinearSDE,
    score_fn: Any,
    batches: Iterable[Tensor] | Tensor,
    *,
    images: Images,
    dequantize: Uniform = Uniform(),  # noqa: B008  (frozen)
    divergence: Divergence = Hutchinson(),  # noqa: B008  (frozen)
    rtol: float = 1e-4,
    atol: float = 1e-4,
    t_min: float | None = None,
    seed: int = 0,
    index: int = 0,
    solver_images: int = 16,
) -> BitsPerDim:
    """-log2 P(image) / dims, by the flow's density of dequantized images: at most the truth in likelihood, so at least in bits.

    batches are integer tensors (b, *shape) with the meaning that images gives them, or one such tensor; together they hold
    images index, index + 1, ..., and image i depends on (seed, i) alone, not on the batches. solver_images is how many of the
    first images are solved again, at a tenth of rtol and atol, to measure the solver's error.
    Raises TypeError for data that are not integers, ValueError for data outside the levels or an empty set, RuntimeError when
    a row's likelihood cannot be computed.

    Reference: Theis, van den Oord, Bethge, 2016, arXiv 1511.01844, section 3.1; Song et al., 2021, arXiv 2011.13456, section 4.3.

    >>> from sde_lib import GaussianOracle, VPSDE
    >>> score_fn = GaussianOracle(torch.zeros(1, 2, 2), 0.5).score(VPSDE())
    >>> result = bits_per_dim(VPSDE(), score_fn, torch.full((3, 1, 2, 2), 128), images=Images(levels=256))
    >>> result.per_image.shape, round(result.mean, 2)
    (torch.Size([3]), 7.33)
    """
    if isinstance(batches, Tensor):
        batches = [batches]
    solve = partial(log_likelihood, sde, divergence=divergence, t_min=t_min, seed=seed)
    per_image, probe_variance, gap, prior, nfe = [], [], [], [], 0
    solver: float | None = None
    for codes in batches:
        if not len(codes):
            continue
        rows = torch.arange(index, index + len(codes))
        noise = RowNoise(seed, rows, Stream.DEQUANTIZE)
        to_bits = 1 / (codes[0].numel() * math.log(2))
        bounds = []
        for _ in range(dequantize.draws):
            x, log_det = dequantize.sample(images, codes, noise)
            result = solve(score_fn, x, rtol=rtol, atol=atol, index=index)
            nfe += result.nfe
            bounds.append(result.log_prob + log_det)
            if solver is None:
                first = slice(0, min(solver_images, len(codes)))
                own, part = score_fn, x  # all of them where the rows of score_fn cannot be told apart
                if hasattr(score_fn, "take"):
                    own, part = score_fn.take(torch.arange(len(x[first]), device=x.device)), x[first]
                finer = solve(own, part, rtol=rtol / 10, atol=atol / 10, index=index)
                nfe += finer.nfe
                solver = _mean((finer.log_prob[first] - result.log_prob[first]).abs() * to_bits)
        draws = torch.stack(bounds)
        bound = draws.logsumexp(0) - math.log(len(draws))
        per_image.append(-bound * to_bits)
        gap.append((bound - draws.mean(0)) * to_bits)
        probe_variance.append((result.probe_error * to_bits) ** 2)
        prior.append(sde.prior_mismatch(x).double() * to_bits)
        index += len(codes)
    if not per_image:
        raise ValueError("there are no images: batches is empty")
    bits = torch.cat(per_image)
    n = len(bits)
    variance = torch.cat(probe_variance).sum().item()
    level = sde.at(sde.valid_t_min(t_min))
    return BitsPerDim(
        mean=_mean(bits),
        standard_error=(bits.std() / n**0.5).item() if n > 1 else math.nan,
        parts=Parts(
            probe=None if math.isnan(variance) else (variance / dequantize.draws) ** 0.5 / n,
            dequantization=_mean(torch.cat(gap)) if dequantize.draws > 1 else None,
            solver=solver if solver is not None else math.nan,
            prior=_mean(torch.cat(prior)),
        ),
        per_image=bits,
        sigma_over_bin=(level.sigma / level.alpha).item() / images.bin_width,
        nfe=nfe,
    )


def _mean(x: Tensor) -> float:
    return x.double().mean().item()
