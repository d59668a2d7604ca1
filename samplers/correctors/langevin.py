"""Langevin dynamics as a corrector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from samplers.algorithm import Corrector, Step
from sde_lib.fields import check_choices
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE
from sde_lib.tensors import expand

__all__ = ["Langevin", "walk", "walk_bias"]


@dataclass(frozen=True)
class Langevin(Corrector):
    """steps times x <- x + h score + sqrt(2 h) z at one time.

    step="time": h = 2 (snr sigma_t)^2 depends on t alone, so that rows are independent. The law of x_t is kept up to the bias of a
    finite step, about snr^2 of the variance. step="batch": h = 2 (snr |z| / |score|)^2 with norms averaged over the batch, as
    published, but without the factor alpha_i = 1 - beta_i of Algorithm 5 (VP): give snr sqrt(alpha_i) for that. Every row then
    depends on its neighbours, and in few dimensions the law is not kept. Scores that are all zero, as those of a network before
    training, give no scale, and then no step.

    Raises:
        ValueError: when step is another word, or snr or steps is not positive.

    Reference: Song et al., 2021, arXiv 2011.13456, Algorithms 4 and 5 (step="batch"); Song and Ermon, 2019, arXiv 1907.05600,
    Algorithm 1 (a step in proportion to sigma^2).

    >>> Langevin(snr=0.1)
    Langevin(snr=0.1, steps=1, step='time')
    """

    snr: float = 0.16
    steps: int = 1
    step: Literal["time", "batch"] = "time"
    requires = LinearSDE

    def __post_init__(self) -> None:
        check_choices(self)
        if self.snr <= 0 or self.steps < 1:
            raise ValueError(f"{self!r}: snr > 0 and steps >= 1 are needed")

    def _length(self, sigma: Tensor) -> Tensor:
        """h of the rule that depends on t alone."""
        return 2 * (self.snr * sigma) ** 2

    def bias(self, sde: Any, t: Tensor, std: Tensor) -> float:
        """walk_bias with r = h / std^2; infinite where r is 2 or more, and for step="batch"."""
        return walk_bias(self._length(sde.at(t).sigma) / std**2, self.steps) if self.step == "time" else math.inf

    def correct(self, rsde: ReverseSDE, x: Tensor, t: Tensor, noise: Noise) -> Step:
        """steps moves; a network call each."""
        if self.step == "time":
            return walk(rsde, x, t, self._length(expand(rsde.sde.at(t).sigma, x)), self.steps, noise)
        mean = x
        for _ in range(self.steps):
            score, z = rsde.score(x, t), noise(x)
            size = self.snr * _ratio(_norm(z), _norm(score))
            mean = x + (2 * size**2) * score
            x = mean + (2 * size) * z
        return Step(x, mean)


def walk(rsde: ReverseSDE, x: Tensor, t: Tensor, h: Tensor, steps: int, noise: Noise) -> Step:
    """steps times x <- x + h score + sqrt(2 h) z at one time, h a step that multiplies x."""
    mean, std = x, torch.sqrt(2 * h)
    for _ in range(steps):
        mean = x + h * rsde.score(x, t)
        x = mean + std * noise(x)
    return Step(x, mean)


def walk_bias(r: Tensor, steps: int) -> float:
    """By what share of v that many moves of length h = r v change the variance of N(m, v), when started there.

    A move gives (1 - r)^2 v + 2 r v, whose fixed point is v / (1 - r / 2): r (1 - (1 - r)^(2 steps)) / (2 - r) after steps moves.
    """
    return float(r * (1 - (1 - r) ** (2 * steps)) / (2 - r)) if r < 2 else math.inf


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1).mean()


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b == 0, torch.zeros_like(a), a / b)
