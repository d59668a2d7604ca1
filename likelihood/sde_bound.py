"""Bounds on log p(x) under the reverse SDE of a score, by draws of time and noise, without a solver."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from likelihood.dequantize import Dequantizer, UniformDequantizer
from likelihood.results import PerRowResult, count_of, join, numbered, standard_error, with_error
from sde_lib.data import Images, require_levels
from sde_lib.fields import check_choice
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
        number = with_error(self.log_prob.mean().item(), standard_error(self.log_prob).item())
        return f"log p >= {number} nats ({count_of(len(self.log_prob), 'row')}; {self.nfe} network calls)"


class BoundParts(NamedTuple):
    """draws: the part of the standard error that more draws would remove; prior: as in Parts of bits_per_dim."""

    draws: float
    prior: float


@dataclass(frozen=True, eq=False)
class SDEBits(PerRowResult):
    """An upper bound on the mean bits/dim of a set of images, with its standard error over the images.

    Each tensor is float64 with a number for each image, (N,). per_image holds the values, and draws_variance the variance of a
    value from the draws of time and noise. prior_mismatch is the bound on the prior's cost. standard_error contains, besides the
    images' own spread, that of all draws. nfe is in network calls.
    """

    per_image: Tensor
    draws_variance: Tensor
    prior_mismatch: Tensor
    nfe: int

    @property
    def parts(self) -> BoundParts:
        """The parts of the error of the mean."""
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

    p is the law at t_min of the model's reverse SDE, started from the prior at T. x (B, *shape), floating-point, is taken
    for its state at t_min, as by log_likelihood: below t_min nothing is run, bounded or corrected. For the exact score, and a
    prior that is the law of x_T, the bound is log p_{t_min}(x) itself, for each x. For any other score it is below. The
    probability flow of such a score has another law, which may lie above or below.

    form says how div(s) is computed. "denoising": as -s . z / std, z the noise in x_t, without gradients. "sliced": as v . grad s v
    for random signs v, by a backward pass. draws, an even number, is how many times, each with its noise, a row is given. There
    are two in each of draws / 2 strata of time, whose differences give the standard error. Those of row i depend on
    (seed, index + i) alone.

    Raises:
        ValueError: when form is another word, or draws is not a positive even number.
        ValueError: when x is not finite, the process is not linear, or t_min is outside (0, T).
        TypeError: when x is not floating-point.
        RuntimeError: when the sliced form is called under torch.inference_mode.

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
    bound, variance = _estimate(reverse, x.detach(), form, draws, t_min, _noise(seed, torch.arange(index, index + len(x))))
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

    Each of the dequantizer's draws has draws of time and noise of its own, and the bounds are averaged. The logarithm of a mean
    would be no bound, since the noise of an estimate raises it. batches, images, seed and index are as in bits_per_dim, and the
    rest as in sde_bound.

    Raises:
        TypeError: when the data are not integers.
        ValueError: when data lie outside the levels, the set is empty, or sde_bound refuses a setting.

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
    for codes, rows in numbered(batches, index):
        calls = reverse.calls
        noise, places = _noise(seed, rows), RowNoise(seed, rows, Stream.DEQUANTIZE)
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
    return join(results)


def _check(sde: LinearSDE, form: Form, draws: int) -> None:
    if not isinstance(sde, LinearSDE):
        raise ValueError(f"the bound needs a process with alpha(t) and sigma(t), and got {sde!r}: use log_likelihood, or LinearSDE")
    check_choice("the bound", "form", form, Form)
    if draws < 2 or draws % 2:
        raise ValueError(f"draws is {draws}, and an even number was needed: they come in pairs, whose differences are the error")
    if form == "sliced" and torch.is_inference_mode_enabled():
        raise RuntimeError("the sliced form differentiates the score and cannot run under inference_mode: use torch.no_grad")


def _noise(seed: int, rows: Tensor) -> tuple[RowNoise, RowNoise]:
    """For times and noise, and for probes."""
    return RowNoise(seed, rows, Stream.BOUND), RowNoise(seed, rows, Stream.PROBE)


def _estimate(
    reverse: ReverseSDE, x: Tensor, form: Form, draws: int, t_min: float | None, noise: tuple[RowNoise, RowNoise]
) -> tuple[Tensor, Tensor]:
    """The bound of each row, and the variance of its error, (B,) float64: a closed form, less the mean of a drawn difference.

    The closed form is the bound that the exact score of Gaussian data has. The difference is that of the model's integrand from
    this score's, at draws times, two in each stratum. The two of a pair differ by their errors alone.
    """
    sde, (of_time, of_probe) = reverse.sde, noise
    start = as_time(sde.valid_t_min(t_min))
    first = sde.at(start)
    v = SPREAD**2 * sum_over_state(x**2).double() / (x.shape[1:].numel() * first.alpha**2)
    times, h, length = _times(sde, start, of_time.uniform(x.new_empty(len(x), draws, dtype=torch.float64)))
    alphas, sigmas, _ = sde.at(times)
    values = []
    for t, h_t, alpha, sigma in zip(*(column.unbind(1) for column in (times, h, alphas, sigmas)), strict=True):
        z = of_time(x)
        x_t = expand(alpha / first.alpha, x) * x + expand(sigma * h_t, x) * z
        k = h_t * sigma**2 / (alpha**2 * v + sigma**2)  # the Gaussian's eps is k z
        values.append(_integrand(reverse, x_t, t, h_t, sigma, z, form, of_probe) - _gaussian_integrand(k, h_t, z, form))
    pairs = torch.stack(values, 1).reshape(len(x), draws // 2, 2) * length
    variance = pairs.diff(dim=2).square().mean((1, 2)) / (2 * draws)
    return _gaussian_bound(sde, x, start, v) - pairs.mean((1, 2)), variance


def _times(sde: LinearSDE, start: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Times (B, draws) from uniform numbers u, the noise h (B, draws) that x_t has in units of sigma, and the length of y.

    With w the log-SNR lost since start, dw = g^2 / sigma^2 dt, x_t has noise of standard deviation sigma h over x, where
    h^2 = 1 - exp(-w). ImportanceTime is uniform in w. There s . z / (sigma h) has no variance, since 1 / h^2 has no integral.
    Times in proportion to g^2 / (sigma^2 h) are uniform in y instead, with w = 2 log cosh(y) and h = tanh(y).
    """
    clock = sde if start >= sde.t_min else replace(sde, t_min=start.item())  # its times stop at its own t_min
    first, last, draws = sde.at(start), sde.at(sde.T), u.shape[1]
    length = torch.acosh(torch.exp(0.5 * (first.log_snr - last.log_snr)))
    y = length * (torch.arange(draws, device=u.device) // 2 + u) / (draws // 2)
    log_cosh = y + torch.log1p(torch.exp(-2 * y)) - math.log(2)
    return clock.t_of_log_snr(first.log_snr - 2 * log_cosh), torch.tanh(y), length


def _integrand(
    reverse: ReverseSDE, x_t: Tensor, t: Tensor, h: Tensor, sigma: Tensor, z: Tensor, form: Form, of_probe: RowNoise
) -> Tensor:
    """1/2 g^2 |s|^2 + g^2 div(s) for each row, per unit of y, (B,): h |eps|^2 - 2 eps . z with eps = -sigma s, when denoising."""
    if form == "denoising":
        with torch.no_grad():
            score = reverse.score(x_t, t)
        divergence = sigma * _dot(score, z)
    else:
        with torch.enable_grad():
            x_t.requires_grad_()
            score = reverse.score(x_t, t)
            divergence = h * sigma**2 * quadratic_form(score, x_t, of_probe.rademacher(x_t)).double()
        score = score.detach()
    return h * sigma**2 * _dot(score, score) + 2 * divergence


def _gaussian_integrand(k: Tensor, h: Tensor, z: Tensor, form: Form) -> Tensor:
    """The integrand for the score of Gaussian data, whose eps is k z, (B,)."""
    squared = _dot(z, z)
    return h * k**2 * squared - 2 * k * (squared if form == "denoising" else z.shape[1:].numel())


def _gaussian_bound(sde: LinearSDE, x: Tensor, start: Tensor, v: Tensor) -> Tensor:
    """The bound of each row by the exact score of data N(x / alpha, v) at start, in closed form, (B,); v moves the error alone."""
    first, last, dims = sde.at(start), sde.at(sde.T), x.shape[1:].numel()
    arrival, prior, variance_T = sde.transition(x, start, sde.T), sde.prior(x), last.alpha**2 * v + last.sigma**2
    at_end = prior.log_prob(arrival.mean).double() - 0.5 * dims * (arrival.std / prior.std) ** 2
    growth = torch.log(variance_T / (first.alpha**2 * v + first.sigma**2))
    return at_end + 0.5 * dims * (growth + arrival.std**2 / variance_T)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return sum_over_state(a * b).double()
