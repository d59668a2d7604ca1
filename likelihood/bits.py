"""Bits/dim of integer data, with the parts of its error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from likelihood.dequantize import Dequantizer, UniformDequantizer
from likelihood.divergence import Divergence, Hutchinson
from likelihood.flow import log_likelihood
from likelihood.results import PerRowResult, count_of, join, numbered, with_error
from sde_lib.data import Images, require_levels
from sde_lib.linear import LinearSDE
from sde_lib.noise import RowNoise, Stream
from sde_lib.ode import smallest_tolerance
from sde_lib.reverse import ReverseSDE
from sde_lib.score import can_take

__all__ = ["BitsPerDim", "Parts", "bits_per_dim"]


class Parts(NamedTuple):
    """The parts of the error of a mean in bits/dim; None where the settings cannot tell.

    test_set: standard error from having these images and no others (needs two draws).
    noise: standard error from points in the bins and probes together (needs two draws).
    probe: standard error from the probes alone (needs two probes, or repeats; 0 when the divergence is exact).
    dequantization: how much of the bound's slack several draws removed; more would remove more, never less.
    solver: mean change on the first images when the tolerance is ten times smaller.
    prior: bound on the cost of the difference between the prior and the exact law of x_T.
    """

    test_set: float | None
    noise: float | None
    probe: float | None
    dequantization: float | None
    solver: float | None
    prior: float


@dataclass(frozen=True, eq=False)
class BitsPerDim(PerRowResult):
    """Bits/dim of images, one by one and their mean, with its standard error and the parts of it.

    Each tensor is float64 with a number for each image, (N,), NaN where the settings cannot tell. per_image holds the values.
    noise_variance is the variance of a value from points in the bins and probes, probe_variance from probes alone. gap is what
    several draws gained, solver the change at a tenth of the tolerances, and prior the bound on the prior's cost. latents are the
    states at T where they were asked for. nfe is in network calls.
    sigma_over_bin is sigma(t_min) / alpha(t_min) over the width of a level. Above 0.15 the noise at which the model stops blurs
    the levels, and the number is higher than the model deserves (never lower).
    """

    per_image: Tensor
    noise_variance: Tensor
    probe_variance: Tensor
    gap: Tensor
    solver: Tensor
    prior: Tensor
    latents: Tensor | None
    sigma_over_bin: float
    nfe: int

    @classmethod
    def join(cls, results: Sequence[BitsPerDim]) -> BitsPerDim:
        """Results of parts of a set as one.

        Raises:
            ValueError: when there is none.
        """
        return join(results)

    @property
    def parts(self) -> Parts:
        """The parts of the error of the mean."""
        n = len(self.per_image)
        noise, probe = (_known((v.mean() / n) ** 0.5) for v in (self.noise_variance, self.probe_variance))
        solver = self.solver[~self.solver.isnan()]
        return Parts(
            test_set=None if noise is None else max(self.standard_error**2 - noise**2, 0.0) ** 0.5,
            noise=noise,
            probe=probe,
            dequantization=_known(self.gap.mean()),
            solver=_known(solver.mean()),
            prior=self.prior.mean().item(),
        )

    def record(self) -> dict[str, Any]:
        """The parts of the error, as JSON can keep them."""
        return {"parts": self.parts._asdict(), "sigma_over_bin": self.sigma_over_bin}

    def __str__(self) -> str:
        known = {name: value for name, value in self.parts._asdict().items() if value is not None}
        parts = ", ".join(f"{name} {value:.1g}" for name, value in known.items())
        text = (
            f"{with_error(self.mean, self.standard_error)} bits/dim "
            f"({count_of(len(self.per_image))}; parts: {parts}; {self.nfe} network calls)"
        )
        for name, remedy in (("solver", "tighten the tolerance"), ("prior", "take a process with more noise at T")):
            if known.get(name, 0.0) > self.standard_error:
                text += f"; {name}'s part exceeds the standard error: {remedy}"
        if self.sigma_over_bin > 0.15:
            text += f"; sigma(t_min) is {self.sigma_over_bin:.2f} of a level: a smaller t_min may lower this number"
        return text


def _known(value: Tensor) -> float | None:
    return None if value.isnan() else value.item()


def bits_per_dim(
    sde: LinearSDE,
    score_fn: Any,
    batches: Iterable[Tensor] | Tensor,
    *,
    images: Images,
    dequantize: Dequantizer = UniformDequantizer(),  # noqa: B008  (frozen)
    divergence: Divergence = Hutchinson(),  # noqa: B008  (frozen)
    tolerance: float = 1e-3,
    method: str = "dopri5",
    t_min: float | None = None,
    seed: int = 0,
    index: int = 0,
    solver_images: int = 16,
    keep_latents: bool = False,
) -> BitsPerDim:
    """-log2 P(image) / dims, by the flow's density of dequantized images: at most the truth in likelihood, so at least in bits.

    batches are integer tensors (b, *shape) with the meaning that images gives them, or one such tensor. Together they hold
    images index, index + 1, ..., and image i depends on (seed, i) alone, not on the batches. Each draw of dequantize has probes of
    its own. Several draws are averaged in their logarithms. With an exact divergence they are averaged in their densities, which
    is a tighter bound; with a noisy one it would be none, since noise in the exponent is a gain on average. solver_images is how
    many of the first images are solved again, at a tenth of the tolerance, to measure the solver's error.

    Raises:
        TypeError: when the data are not integers.
        ValueError: when data lie outside the levels, the set is empty, or tolerance is below the round-off of the states.
        RuntimeError: when the likelihood of a row cannot be computed.

    Reference: Theis, van den Oord, Bethge, 2016, arXiv 1511.01844, section 3.1; Song et al., 2021, arXiv 2011.13456, section
    4.3; Burda, Grosse, Salakhutdinov, 2016, arXiv 1509.00519, equation 8 (several draws).

    >>> from sde_lib import GaussianOracle, VPSDE
    >>> score_fn = GaussianOracle(torch.zeros(1, 2, 2), 0.5).score(VPSDE())
    >>> result = bits_per_dim(VPSDE(), score_fn, torch.full((3, 1, 2, 2), 128), images=Images(levels=256))
    >>> result.per_image.shape, round(result.mean, 2)
    (torch.Size([3]), 7.33)
    """
    require_levels(images)
    solve = partial(log_likelihood, sde, divergence=divergence, method=method, t_min=t_min)
    ReverseSDE(sde, score_fn)  # which refuses the two when they are swapped
    level = sde.at(sde.valid_t_min(t_min))
    results, left = [], solver_images
    for codes, rows in numbered(batches, index):
        noise = RowNoise(seed, rows, Stream.DEQUANTIZE)
        draws, probe_variance, solver, nfe = [], [], torch.full((len(codes),), math.nan, dtype=torch.float64), 0
        for draw in range(dequantize.draws):
            x, log_det = dequantize.sample(images, codes, noise, level)
            options: dict[str, Any] = {"seed": seed + (draw << 32), "index": int(rows[0])}  # new probes for each draw
            result = solve(score_fn, x, tolerance=tolerance, **options)
            nfe += result.nfe
            draws.append(result.log_prob + log_det)
            probe_variance.append(result.probe_error**2)
            if draw == 0 and left > 0:
                first = slice(0, min(left, len(codes)))
                own, part = score_fn, x  # all of them where the rows of score_fn cannot be told apart
                if can_take(score_fn):
                    own, part = score_fn.take(torch.arange(len(x[first]), device=x.device)), x[first]
                finer = solve(own, part, tolerance=max(tolerance / 10, smallest_tolerance(part.dtype)), **options)
                nfe += finer.nfe
                solver[first] = (finer.log_prob[first] - result.log_prob[first]).abs().cpu()
                left -= len(x[first])
        nats = torch.stack(draws)
        bound, variance = _combine(nats, divergence.noisy)
        to_bits = 1 / (codes[0].numel() * math.log(2))
        results.append(
            BitsPerDim(
                per_image=-bound * to_bits,
                noise_variance=variance * to_bits**2,
                probe_variance=torch.stack(probe_variance).mean(0) / len(draws) * to_bits**2,
                gap=(bound - nats.mean(0) if len(draws) > 1 and not divergence.noisy else torch.full_like(bound, math.nan))
                * to_bits,
                solver=solver.to(bound) * to_bits,
                prior=sde.prior_mismatch(x).double() * to_bits,
                latents=result.latent if keep_latents else None,
                sigma_over_bin=(level.sigma / level.alpha).item() / images.bin_width,
                nfe=nfe,
            )
        )
    return BitsPerDim.join(results)


def _combine(draws: Tensor, noisy: bool) -> tuple[Tensor, Tensor]:
    """Of log-densities (M, B): their mean, or the log of the mean density, (B,); and its variance, by leaving one out."""
    M = len(draws)

    def together(draws: Tensor) -> Tensor:
        return draws.mean(0) if noisy else draws.logsumexp(0) - math.log(len(draws))

    if M == 1:
        return draws[0], torch.full_like(draws[0], math.nan)
    others = torch.stack([together(torch.cat([draws[:m], draws[m + 1 :]])) for m in range(M)])
    return together(draws), (M - 1) ** 2 / M * others.var(0)
