"""Bounds on log p(x) under the reverse SDE of a score, by draws of time and noise, without a solver."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from likelihood.dequantize import Dequantizer, UniformDequantizer
from likelihood.results import PerRowResult, count_of, join, standard_error, with_error
from sde_lib.data import Images, require_levels
from sde_lib.jacobian import quadratic_form
from sde_lib.linear import LinearSDE
from sde_lib.noise import RowNoise, Stream
from sde_lib.reverse import ReverseSDE
from sde_lib.tensors import as_time, check_state, expand, sum_over_state

__all__ = ["SDEBits", "SDEBound", "sde_bits_per_dim", "sde_bound"]

Form = Literal["denoising", "sliced"]
# On the 8x8 digits the deviation of a draw at a given time is 38, 38, 39 and 43 nats with 0.1, 0.2, 0.3 and 0.5, and 108 without.
SPREAD = 0.3


@dataclass(frozen=True, eq=False)
class SDEBound:
    """A lower bound on log p(x) of each row in nats: log_prob (B,) float64, whose expectation over its draws is the bound.

    standard_error (B,) is its error from the draws; nfe is in network calls.
    """

    log_prob: Tensor
    standard_error: Tensor
    nfe: int

    def __str__(self) -> str:
        number = with_error(self.log_prob.mean().item(), standard_error(self.log_prob))
        return f"log p >= {number} nats ({count_of(len(self.log_prob), 'row')}; {self.nfe} network calls)"


class BoundParts(NamedTuple):
    """draws: the part of the standard error that more draws would remove; prior: as in Parts of bits_per_dim."""

    draws: float
    prior: float


@dataclass(frozen=True, eq=False)
class SDEBits(PerRowResult):
    """An upper bound on the mean bits/dim of a set of images, with its standard error over the images.

    Float64 of each image, (N,): per_image; draws_variance, of a value, from the draws of time and noise; prior_mismatch, the bound
    on the prior's cost. standard_error contains, besides the images' own spread, that of all draws. nfe is in network calls.
    """

    per_image: Tensor
    draws_variance: Tensor
    prior_mismatch: Tensor
    nfe: int

    @property
    def parts(self) -> BoundParts:
        """What is known about the error of the mean."""
        return BoundParts(
            draws=self.draws_variance.sum().sqrt().item() / len(self.per_image), prior=self.prior_mismatch.mean().item()
        )

    def record(self) -> dict[str, Any]:
        """The parts of the error, as JSON can keep them."""
        return {"parts": self.parts._asdict()}

    def __str__(self) -> str:
        return (
            f"{with_error(self.mean, self.standard_error)} bits/dim at most, by the bound of the reverse SDE "
            f"({count_of(len(self.per_image))}; parts: draws {self.parts.draws:.1g}, prior {self.parts.prior:.1g}; "
            f"{self.nfe} network calls)"
        )


def sde_bound(
    sde: LinearSDE,
    score_fn: Any,
    x: Tensor,
    *,
    form: Form = "denoising",
    draws: int = 32,
    t_min: float | None = None,
    seed: int = 0,
    index: int = 0,
) -> SDEBound:
    """log p(x) >= E[log prior(x_T)] - 1/2 E of the integral over t of g^2 |s|^2 + 2 div(g^2 s - f), x_t from x by the process.

    p is the law at t_min of the model's reverse SDE, started from the prior at T, and x (B, *shape), floating-point, is taken
    for its state at t_min, as by log_likelihood: below t_min nothing is run, bounded or corrected. For the exact score, and a
    prior that is the law of x_T, the bound is log p_{t_min}(x) itself, for each x; else it is below, while the flow's own law
    is another one, which may be above or below.
    form says how div(s) is had: "denoising", as -s . z / std, z the noise in x_t: no gradients; or "sliced", as v . grad s v,
    v random signs: a backward pass. draws, an even number, is how many times, each with its noise, a row is given: two in each
    of draws / 2 strata of time, whose differences are the standard error. Row i's depend on (seed, index + i) alone.
    Raises ValueError for another form or number of draws, for x that is not finite, a process that is not linear, or t_min
    outside (0, T); TypeError for x that is not floating-point.

    Reference: Song, Durkan, Murray, Ermon, 2021, arXiv 2101.09258, theorem 3; Huang, Lim, Courville, 2021, arXiv 2106.02808
    (the continuous-time evidence lower bound).

    >>> from sde_lib import GaussianOracle, VPSDE
    >>> oracle, x = GaussianOracle(torch.zeros(2), 1.0), torch.ones(1, 2, dtype=torch.float64)
    >>> bound = sde_bound(VPSDE(), oracle.score(VPSDE()), x, draws=64)
    >>> abs(bound.log_prob - oracle.log_prob(x)) < 4 * bound.standard_error
    tensor([True])
    """
    _check(sde, form, draws)
    check_state(x)
    reverse = ReverseSDE(sde, score_fn)
    bound, variance = _estimate(reverse, x.detach(), form, draws, t_min, _noise(seed, index, len(x)))
    return SDEBound(bound, variance.sqrt(), reverse.calls)


def sde_bits_per_dim(
    sde: LinearSDE,
    score_fn: Any,
    batches: Iterable[Tensor] | Tensor,
    *,
    images: Images,
    dequantize: Dequantizer = UniformDequantizer(),  # noqa: B008  (frozen)
    form: Form = "denoising",
    draws: int = 32,
    t_min: float | None = None,
    seed: int = 0,
    index: int = 0,
) -> SDEBits:
    """-log2 P(image) / dims is at most that of sde_bound for dequantized images, in the mean over its draws.

    Each of the dequantizer's draws has draws of time and noise of its own, and the bounds are averaged: the logarithm of a
    mean would be no bound, since an estimate's noise raises it. batches, images, seed and index, and what is raised for
    images, as in bits_per_dim; the rest as in sde_bound.

    Reference: Song, Durkan, Murray, Ermon, 2021, arXiv 2101.09258, section 5; Theis, van den Oord, Bethge, 2016, arXiv
    1511.01844, section 3.1.

    >>> from sde_lib import GaussianOracle, VPSDE
    >>> score_fn = GaussianOracle(torch.zeros(1, 2, 2), 0.5).score(VPSDE())
    >>> sde_bits_per_dim(VPSDE(), score_fn, torch.full((3, 1, 2, 2), 128), images=Images(levels=256)).per_image.shape
    torch.Size([3])
    """
    _check(sde, form, draws)
    require_levels(images)
    reverse = ReverseSDE(sde, score_fn)
    results = []
    level = sde.at(sde.valid_t_min(t_min))
    for codes in [batches] if isinstance(batches, Tensor) else batches:
        if not len(codes):
            continue
        calls = reverse.calls
        noise, places = _noise(seed, index, len(codes)), RowNoise(seed, _rows(index, len(codes)), Stream.DEQUANTIZE)
        to_bits = 1 / (codes[0].numel() * math.log(2))
        bounds, variance = [], torch.zeros(len(codes), dtype=torch.float64, device=codes.device)
        for _ in range(dequantize.draws):
            x, log_det = dequantize.sample(images, codes, places, level)
            bound, of_draws = _estimate(reverse, x, form, draws, t_min, noise)
            bounds.append(bound + log_det)
            variance += of_draws
        results.append(
            SDEBits(
                per_image=-torch.stack(bounds).mean(0) * to_bits,
                draws_variance=variance * (to_bits / dequantize.draws) ** 2,
                prior_mismatch=sde.prior_mismatch(x).double() * to_bits,
                nfe=reverse.calls - calls,
            )
        )
        index += len(codes)
    return join(results)


def _check(sde: LinearSDE, form: Form, draws: int) -> None:
    if not hasattr(sde, "t_of_log_snr"):
        raise ValueError(f"the bound needs a process with alpha(t) and sigma(t), and got {sde!r}: use log_likelihood, or LinearSDE")
    if form not in ("denoising", "sliced"):
        raise ValueError(f"form is {form!r}, and 'denoising' or 'sliced' was needed")
    if draws < 2 or draws % 2:
        raise ValueError(f"draws is {draws}, and an even number was needed: they come in pairs, whose differences are the error")
    if form == "sliced" and torch.is_inference_mode_enabled():
        raise RuntimeError("the sliced form differentiates the score and cannot run under inference_mode: use torch.no_grad")


def _rows(index: int, n: int) -> Tensor:
    return torch.arange(index, index + n)


def _noise(seed: int, index: int, n: int) -> tuple[RowNoise, RowNoise]:
    """For times and noise, and for probes."""
    return RowNoise(seed, _rows(index, n), Stream.BOUND), RowNoise(seed, _rows(index, n), Stream.PROBE)


def _estimate(
    reverse: ReverseSDE, x: Tensor, form: Form, draws: int, t_min: float | None, noise: tuple[RowNoise, RowNoise]
) -> tuple[Tensor, Tensor]:
    """The bound of each row, and the variance of its error, (B,) float64.

    Time. With w the log-SNR lost since t_min, dw = g^2 / sigma^2 dt, and x_t has noise of standard deviation sigma h over x,
    h^2 = 1 - exp(-w). ImportanceTime is uniform in w, where s . z / (sigma h) has no variance: 1 / h^2 has no integral. In
    proportion to g^2 / (sigma^2 h) times are uniform in y, w = 2 log cosh(y), h = tanh(y), and with eps = -sigma s all is
    bounded: 1/2 g^2 (|s|^2 + 2 s . z / (sigma h)) dt = (h |eps|^2 - 2 eps . z) dy.
    Noise. The exact score of data N(x / alpha, v) at t_min, eps = k z, has a bound in closed form: what is drawn is the
    difference from it. The spread, sqrt(v) = SPREAD times the size of a row's entries, moves the error alone.
    """
    sde, start, (of_time, of_probe) = reverse.sde, as_time(reverse.sde.valid_t_min(t_min)), noise
    clock = sde if start >= sde.t_min else replace(sde, t_min=start.item())  # its times stop at its own t_min
    dims = x.shape[1:].numel()
    first, last = sde.at(start), sde.at(sde.T)
    v = SPREAD**2 * sum_over_state(x**2).double() / (dims * first.alpha**2)
    longest = torch.acosh(torch.exp(0.5 * (first.log_snr - last.log_snr)))
    u = of_time.uniform(x.new_empty(len(x), draws, dtype=torch.float64))
    y = longest * (torch.arange(draws, device=x.device) // 2 + u) / (draws // 2)
    times = clock.t_of_log_snr(first.log_snr - 2 * (y + torch.log1p(torch.exp(-2 * y)) - math.log(2)))
    columns, values = (part.unbind(1) for part in (times, torch.tanh(y), *sde.at(times)[:2])), []
    for t, h, alpha, sigma in zip(*columns, strict=True):
        z = of_time(x)
        x_t = expand(alpha / first.alpha, x) * x + expand(sigma * h, x) * z
        if form == "denoising":
            with torch.no_grad():
                score = reverse.score(x_t, t)
            divergence = sigma * _dot(score, z)
        else:
            with torch.enable_grad():
                x_t.requires_grad_()
                score = reverse.score(x_t, t)
                divergence = h * sigma**2 * quadratic_form(score, x_t, of_probe.rademacher(x)).double()
            score = score.detach()
        k = h * sigma**2 / (alpha**2 * v + sigma**2)
        noise2 = _dot(z, z)
        known = k * (noise2 if form == "denoising" else dims)
        values.append(h * (sigma**2 * _dot(score, score) - k**2 * noise2) + 2 * (divergence + known))
    pairs = torch.stack(values, 1).reshape(len(x), draws // 2, 2) * longest
    arrival, prior, variance_T = sde.transition(x, start, sde.T), sde.prior(x), last.alpha**2 * v + last.sigma**2
    at_end = prior.log_prob(arrival.mean).double() - 0.5 * dims * (arrival.std / prior.std) ** 2
    growth = torch.log(variance_T / (first.alpha**2 * v + first.sigma**2))
    closed = at_end + 0.5 * dims * (growth + arrival.std**2 / variance_T)
    return closed - pairs.mean((1, 2)), pairs.diff(dim=2).square().mean((1, 2)) / (2 * draws)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return sum_over_state(a * b).double()
