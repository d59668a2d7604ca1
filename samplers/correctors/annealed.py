"""Annealed Langevin dynamics, as NCSN and NCSNv2 have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from samplers.algorithm import Corrector, Step
from samplers.correctors.langevin import walk, walk_bias
from sde_lib.fields import check_choices
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE
from sde_lib.tensors import expand

__all__ = ["AnnealedLangevin"]


@dataclass(frozen=True)
class AnnealedLangevin(Corrector):
    """steps times x <- x + alpha_i / 2 score + sqrt(alpha_i) z at each level, alpha_i = epsilon sigma_i^2 / sigma_L^2.

    sigma_L is the process's sigma at its t_min. published="ncsn" is as above, "ncsnv2" is x <- x + alpha_i score +
    sqrt(2 alpha_i) z. Sampler(None, AnnealedLangevin(...), times=Table(), last="sample") is NCSN's algorithm, and last="denoise" is
    NCSNv2's. Its final law is not quite that of the data.

    Raises:
        ValueError: when epsilon or steps is not positive, or published is another word.
        ValueError: when, under a process, no step converges: alpha_i / 2 (ncsn) or alpha_i (ncsnv2) is 2 sigma_i^2 or more.

    Reference: Song and Ermon, 2019, arXiv 1907.05600, Algorithm 1; 2020, arXiv 2006.09011, Algorithm 1.

    >>> AnnealedLangevin(epsilon=6.2e-6, steps=5, published="ncsnv2")
    AnnealedLangevin(epsilon=6.2e-06, steps=5, published='ncsnv2')
    """

    epsilon: float = 2e-5
    steps: int = 100
    published: Literal["ncsn", "ncsnv2"] = "ncsn"
    requires = LinearSDE

    def __post_init__(self) -> None:
        check_choices(self)
        if self.epsilon <= 0 or self.steps < 1:
            raise ValueError(f"{self!r}: epsilon > 0 and steps >= 1 are needed")

    def _in_sigmas(self, sde: LinearSDE) -> Tensor:
        """The step h over sigma^2, the same at every level."""
        return (0.5 if self.published == "ncsn" else 1.0) * self.epsilon / sde.at(sde.t_min).sigma ** 2

    def bias(self, sde: Any, t: Tensor, std: Tensor) -> float:
        """walk_bias with r = h / std^2; infinite where r is 2 or more."""
        return walk_bias(self._in_sigmas(sde) * sde.at(t).sigma ** 2 / std**2, self.steps)

    def check(self, rsde: ReverseSDE) -> None:
        """Refuse a step that overshoots."""
        h = self._in_sigmas(rsde.sde)
        if h >= 2:
            raise ValueError(
                f"{self!r} met {rsde.sde!r}: its step is {h:.3g} sigma^2, and less than 2 is needed; epsilon is in units of the "
                f"smallest sigma^2, {rsde.sde.at(rsde.sde.t_min).sigma ** 2:.3g}: give a smaller one, or use Langevin"
            )

    def correct(self, rsde: ReverseSDE, x: Tensor, t: Tensor, noise: Noise) -> Step:
        """steps moves; a network call each."""
        return walk(rsde, x, t, expand(self._in_sigmas(rsde.sde) * rsde.sde.at(t).sigma ** 2, x), self.steps, noise)
