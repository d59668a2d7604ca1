"""Ancestral sampling, as in DDPM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from samplers.algorithm import Predictor, Step
from samplers.predictors.ddim import coefficients
from sde_lib.fields import check_choices
from sde_lib.grid_cache import cached_step
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["Ancestral"]


@dataclass(frozen=True)
class Ancestral(Predictor):
    """x_s = r (alpha_s / alpha_t) x + alpha_s (1 - r) x0 + std z, r = SNR_t / SNR_s: the posterior given the predicted x0.

    variance="small": std = sigma_s sqrt(1 - r), DDPM's beta-tilde, exact for data that are a point. "large": sigma_t sqrt(1 - r),
    its beta, exact for N(0, 1) data. "learned": the model's own, a log-variance or a fraction between the two. The small one is
    also DDIM(eta=1), whose coefficients it has.

    Raises:
        ValueError: when variance is another word, or, at the first step, when the model has learned no variance.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, Algorithm 2 and equation 7; Nichol and Dhariwal, 2021, arXiv
    2102.09672, equation 15.

    >>> Ancestral(variance="large")
    Ancestral(variance='large')
    """

    variance: Literal["small", "large", "learned"] = "small"
    order = 1
    requires = LinearSDE

    def __post_init__(self) -> None:
        check_choices(self)

    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step; one network call."""
        from_, to = rsde.sde.at(t), rsde.sde.at(s)
        of_x, of_x0, small = cached_step(rsde.sde, coefficients, t, s, 1.0)
        large = small * (from_.sigma / to.sigma)
        prediction = rsde.predict(x, t)
        mean = of_x * x + of_x0 * prediction.x0
        std: Tensor
        if self.variance != "learned":
            std = small if self.variance == "small" else large
        elif prediction.log_variance is not None:
            std = torch.exp(0.5 * prediction.log_variance)
        elif prediction.variance_fraction is not None:
            std = torch.exp(small.log() + (large.log() - small.log()) * prediction.variance_fraction)
        else:
            raise ValueError(f"{self!r} met a model that has learned no variance: use variance='small' or 'large'")
        return Step(mean + std * noise(x), mean)
