"""Denoising score matching, its weightings, and the distributions of training time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sde_lib.linear import LinearSDE
from sde_lib.noise import unseeded_normal, unseeded_uniform
from sde_lib.score import ScoreModel
from sde_lib.tensors import as_time, expand

__all__ = [
    "WEIGHTINGS",
    "DenoisingScoreMatching",
    "ImportanceTime",
    "UniformTime",
    "check_weighting",
    "training_draws",
    "training_weight",
]

Weighting = Callable[[LinearSDE, Tensor], Tensor]

WEIGHTINGS: dict[str, Weighting] = {
    "sigma2": lambda sde, t: sde.at(t).sigma ** 2,
    "likelihood": lambda sde, t: sde.rates(t).g2,
}
"""lambda(t), which multiplies the squared error of the score."""


class TimeLaw(Protocol):
    """A law of training times: sample carries u in (0, 1), shape (B,), to times; weight is uniform over actual density."""

    def sample(self, sde: LinearSDE, u: Tensor) -> Tensor: ...
    def weight(self, sde: LinearSDE, t: Tensor) -> Tensor: ...


def _start(sde: LinearSDE, t_min: float | None) -> float:
    return sde.t_min if t_min is None else t_min


@dataclass(frozen=True)
class UniformTime:
    """Times uniform on [t_min, T]. Reference: Song et al., 2021, arXiv 2011.13456, equation 7.

    >>> from sde_lib import VPSDE
    >>> UniformTime().sample(VPSDE(), torch.tensor([0.5]))
    tensor([0.5000], dtype=torch.float64)
    """

    t_min: float | None = None

    def sample(self, sde: LinearSDE, u: Tensor) -> Tensor:
        """t_min + u (T - t_min)."""
        start = _start(sde, self.t_min)
        return start + as_time(u) * (sde.T - start)

    def weight(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(as_time(t))


@dataclass(frozen=True)
class ImportanceTime:
    """Times in proportion to g^2 / sigma^2, that is, uniform in log-SNR, since d(log-SNR)/dt = -g^2 / sigma^2.

    With the likelihood weighting every time then weighs the same, and the loss has the least variance.
    Reference: Song, Durkan, Murray, Ermon, 2021, arXiv 2101.09258, section 5 and appendix A.

    >>> from sde_lib import VESDE
    >>> ImportanceTime().sample(VESDE(), torch.tensor([0.5]))
    tensor([0.5000], dtype=torch.float64)
    """

    t_min: float | None = None

    def _ends(self, sde: LinearSDE) -> tuple[Tensor, Tensor]:
        return sde.at(_start(sde, self.t_min)).log_snr, sde.at(sde.T).log_snr

    def sample(self, sde: LinearSDE, u: Tensor) -> Tensor:
        """The time whose log-SNR is a fraction u of the way down."""
        high, low = self._ends(sde)
        return sde.t_of_log_snr(high + as_time(u) * (low - high))

    def weight(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """sigma^2 Z / (g^2 (T - t_min)), Z = log-SNR(t_min) - log-SNR(T)."""
        high, low = self._ends(sde)
        return sde.at(t).sigma ** 2 * (high - low) / (sde.rates(t).g2 * (sde.T - _start(sde, self.t_min)))


def check_weighting(weighting: str | Weighting) -> None:
    """Refuse a weighting that is neither a function nor one of WEIGHTINGS."""
    if not callable(weighting) and weighting not in WEIGHTINGS:
        raise ValueError(f"weighting {weighting!r} is not known: use one of {', '.join(map(repr, WEIGHTINGS))}")


def training_draws(sde: LinearSDE, times: TimeLaw, x0: Tensor, t: Tensor | None, z: Tensor | None) -> tuple[Tensor, Tensor]:
    """Times (B,) that the process has, and noise shaped like the data x0 (B, *shape): those given, or drawn.

    Raises TypeError for data that are not floating-point.
    """
    if not x0.is_floating_point():
        raise TypeError(f"data have dtype {x0.dtype}, and floats were needed: encode them, for example with Images().encode")
    if t is None:
        t = times.sample(sde, unseeded_uniform(x0.new_empty(x0.shape[0], dtype=torch.float64)))
    return sde.snap(as_time(t)), unseeded_normal(x0) if z is None else z


def training_weight(sde: LinearSDE, weighting: str | Weighting, times: TimeLaw, t: Tensor) -> Tensor:
    """lambda(t) over the density of t (that of uniform times being 1): what a squared error of the score is multiplied by."""
    return times.weight(sde, t) * (weighting if callable(weighting) else WEIGHTINGS[weighting])(sde, t)


@dataclass(frozen=True)
class DenoisingScoreMatching:
    """E over t uniform on [t_min, T] of lambda(t) |s(x_t, t) - grad log p(x_t | x0)|^2 / dims, estimated for each sample.

    weighting is "sigma2" (lambda = sigma^2: the mean squared error of eps), "likelihood" (lambda = g^2; half of it, times
    dims (T - t_min), bounds the negative log-likelihood up to a constant), or a function (sde, t) -> lambda(t). times is the
    law that t is drawn from; whatever it is, the loss is divided by its density, and estimates the same integral.
    Raises ValueError for an unknown weighting.

    Reference: Vincent, 2011; Song et al., 2021, arXiv 2011.13456, equation 7; Song, Durkan, Murray, Ermon, 2021, arXiv
    2101.09258, equations 7 and 8.

    >>> from sde_lib import Epsilon, ScoreModel, VPSDE
    >>> model = ScoreModel(lambda x, label: torch.zeros_like(x), VPSDE(), Epsilon())
    >>> DenoisingScoreMatching()(model, torch.ones(4, 2), z=torch.ones(4, 2))
    tensor([1., 1., 1., 1.])
    """

    weighting: str | Weighting = "sigma2"
    times: TimeLaw = UniformTime()

    def __post_init__(self) -> None:
        check_weighting(self.weighting)

    def __call__(self, model: ScoreModel, x0: Tensor, *, t: Tensor | None = None, z: Tensor | None = None, **cond: Any) -> Tensor:
        """Loss of each sample, (B,), for data x0 (B, *shape).

        t (B,) and z, shaped like x0, are the training times, drawn from times, and the noise; those not given come from
        torch's own generator. Raises TypeError for data that are not floating-point.
        """
        sde = model.sde
        t, z = training_draws(sde, self.times, x0, t, z)
        prediction = model.predict(sde.kernel(x0, t).sample(z), t, **cond)
        # The error of eps, from the error of the output: reading eps off x_t first would cancel at small sigma.
        residual = prediction.output - _times(prediction.a, x0) - _times(prediction.b, z)
        error = expand(prediction.level.alpha / prediction.determinant, x0) * residual
        weight = training_weight(sde, self.weighting, self.times, t) / prediction.level.sigma**2
        loss = (error**2).flatten(1).mean(1)
        return weight.to(loss) * loss


def _times(c: Tensor | float, x: Tensor) -> Tensor:
    return c * x if isinstance(c, float) else expand(c, x) * x
