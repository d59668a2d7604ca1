"""Denoising score matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sde_lib.linear import LinearSDE
from sde_lib.noise import unseeded_normal, unseeded_uniform
from sde_lib.prediction import Prediction
from sde_lib.score import ScoreModel
from sde_lib.tensors import as_time, check_floating, expand
from sde_lib.training_times import TimeLaw, UniformTime
from sde_lib.weightings import Weighting, weighting_of

__all__ = ["DenoisingScoreMatching", "draw", "weight_at"]


@dataclass(frozen=True)
class DenoisingScoreMatching:
    """E over t uniform on [t_min, T] of lambda(t) |s(x_t, t) - grad log p(x_t | x0)|^2 / dims, estimated for each sample.

    weighting is a name of WEIGHTINGS, or a function (sde, t) -> lambda(t). "sigma2", lambda = sigma^2, is the mean squared error
    of eps: DDPM's L_simple, and NCSN's loss. "x0" and "v" are the mean squared errors of x0 and v. "likelihood" is lambda = g^2.
    Half of this loss, times dims (T - t_min), bounds the negative log-likelihood up to a constant. "min_snr" and "edm" are those
    of their papers. times is the law of the training times. The loss is divided by its density, so that every law estimates the
    same integral.

    Raises:
        ValueError: when the weighting is not known.

    Reference: Vincent, 2011; Song et al., 2021, arXiv 2011.13456, equation 7; Song, Durkan, Murray, Ermon, 2021, arXiv
    2101.09258, equations 7 and 8; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equation 14.

    >>> from sde_lib import Epsilon, ScoreModel, VPSDE
    >>> model = ScoreModel(lambda x, label: torch.zeros_like(x), VPSDE(), Epsilon())
    >>> DenoisingScoreMatching()(model, torch.ones(4, 2), z=torch.ones(4, 2))
    tensor([1., 1., 1., 1.])
    """

    weighting: str | Weighting = "sigma2"
    times: TimeLaw = UniformTime()

    def __post_init__(self) -> None:
        weighting_of(self.weighting)

    def __call__(self, model: ScoreModel, x0: Tensor, *, t: Tensor | None = None, z: Tensor | None = None, **cond: Any) -> Tensor:
        """Loss of each sample, (B,), for data x0 (B, *shape).

        t (B,) are the training times, drawn from times, and z, shaped like x0, is the noise. torch's own generator draws those
        not given.

        Raises:
            TypeError: when the data are not floating-point.
            ValueError: when the data have no axis for the rows, or z has another shape.
        """
        t, z = draw(self.times, model.sde, x0, t, z)
        return self.of_prediction(model.sde, model.predict(model.sde.kernel(x0, t).sample(z), t, **cond), x0, t, z)

    def of_prediction(self, sde: LinearSDE, prediction: Prediction, x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """Loss of each sample, (B,), from the network's prediction at x_t."""
        # The error of eps, from the error of the output: reading eps off x_t first would cancel at small sigma.
        residual = prediction.output - _times(prediction.a, x0) - _times(prediction.b, z)
        error = expand(prediction.level.alpha / prediction.determinant, x0) * residual
        weight = weight_at(sde, t, self.times, self.weighting) / prediction.level.sigma**2
        loss = (error**2).flatten(1).mean(1)
        return weight.to(loss) * loss


def draw(times: TimeLaw, sde: LinearSDE, x0: Tensor, t: Tensor | None, z: Tensor | None) -> tuple[Tensor, Tensor]:
    """Training times (B,), at levels where the process has levels, and noise shaped like x0, each drawn unless given."""
    check_floating(x0, "x0")
    if x0.ndim < 2:
        raise ValueError(f"data have shape {tuple(x0.shape)}, and (rows, *shape) was needed: add the missing axis")
    if z is not None and z.shape != x0.shape:
        raise ValueError(f"noise of shape {tuple(z.shape)} was given for data of shape {tuple(x0.shape)}: the two must agree")
    if t is None:
        t = times.sample(sde, unseeded_uniform(x0.new_empty(x0.shape[0], dtype=torch.float64)))
    return sde.snap(as_time(t)), unseeded_normal(x0) if z is None else z


def weight_at(sde: LinearSDE, t: Tensor, times: TimeLaw, weighting: str | Weighting) -> Tensor:
    """lambda(t) over the density of the training times, relative to uniform times: (B,) for times (B,)."""
    return times.weight(sde, t) * weighting_of(weighting)(sde, t)


def _times(c: Tensor | float, x: Tensor) -> Tensor:
    return c * x if isinstance(c, float) else expand(c, x) * x
