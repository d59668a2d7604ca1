"""Langevin moves with a Metropolis test."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from samplers.algorithm import Corrector, Step
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE
from sde_lib.score import has_density
from sde_lib.tensors import by_row, expand, sum_over_state

__all__ = ["Metropolis"]


@dataclass(frozen=True)
class Metropolis(Corrector):
    """steps times x' = x + h score(x) + sqrt(2 h) z, h = 2 (snr sigma_t)^2, kept with the probability that leaves p_t as it is.

    That is min(1, p(x') q(x | x') / p(x) q(x' | x)), q(x' | x) the density of the proposal (MALA). Each row is kept or not for
    itself. The score function must know its density, log_prob(x, t) -> (B,), up to a constant, as an oracle does. Two draws a move.

    Raises:
        ValueError: when snr or steps is not positive.
        TypeError: when the score function has no log_prob.

    Reference: Roberts and Tweedie, 1996, Bernoulli 2, 341-363, section 1.4.2; Grenander and Miller, 1994.

    >>> Metropolis(snr=0.3)
    Metropolis(snr=0.3, steps=1)
    """

    snr: float = 0.16
    steps: int = 1
    requires = LinearSDE

    def __post_init__(self) -> None:
        if self.snr <= 0 or self.steps < 1:
            raise ValueError(f"{self!r}: snr > 0 and steps >= 1 are needed")

    def check(self, rsde: ReverseSDE) -> None:
        """Refuse a score without a density."""
        if not has_density(rsde.score_fn):
            raise TypeError(
                f"Metropolis needs a score function with log_prob(x, t), and got {type(rsde.score_fn).__name__}: "
                "use Langevin, which needs no density"
            )

    def correct(self, rsde: ReverseSDE, x: Tensor, t: Tensor, noise: Noise) -> Step:
        """steps moves; steps + 1 network calls, and as many of log_prob."""
        h = 2 * (self.snr * expand(rsde.sde.at(t).sigma, x)) ** 2
        score, log_p = rsde.score(x, t), rsde.score_fn.log_prob(x, t)
        for _ in range(self.steps):
            z, chance = noise(x), torch.special.ndtr(noise(x.flatten(1)[:, :1]))[:, 0]
            there = x + h * score + torch.sqrt(2 * h) * z
            score_there, log_p_there = rsde.score(there, t), rsde.score_fn.log_prob(there, t)
            back = sum_over_state((x - there - h * score_there) ** 2 / (4 * h))
            log_ratio = log_p_there - log_p + 0.5 * sum_over_state(z**2) - back
            kept = chance.log() < log_ratio
            rows = by_row(kept, x)
            x, score = torch.where(rows, there, x), torch.where(rows, score_there, score)
            log_p = torch.where(kept, log_p_there, log_p)
        return Step(x, x)
