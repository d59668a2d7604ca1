"""UniPC: a unified predictor-corrector method of orders 1 to 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from samplers.algorithm import Predictor, Step
from samplers.predictors.exponential import integrate_exponential
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["UniPC"]


@dataclass(frozen=True)
class UniPC(Predictor):
    """DPM-Solver++ multistep, and each state corrected by the estimate that the next step asks for anyway: one call a step.

    UniP-p carries the state along the polynomial through the last p estimates of x0. UniC-p carries the state before once more,
    along the polynomial through these and the new one. A straight line's slope weighs half of B = e^-h - 1 (the paper's B_2). The
    estimate is not asked again for the corrected state, and the last state is not corrected. The error falls as h^(order + 1).
    Deterministic.

    Raises:
        ValueError: when order is not 1, 2 or 3.

    Reference: Zhao, Bai, Rao, Zhou, Lu, 2023, arXiv 2302.04867, Algorithms 5 to 8 (data prediction) and theorem 3.1.

    >>> UniPC(order=3)
    UniPC(order=3)
    """

    order: int = 2  # type: ignore[misc]
    requires = LinearSDE
    multistep = True

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"UniPC has orders 1, 2 and 3, and got order={self.order}")

    @property
    def convergence(self) -> int:
        """order + 1."""
        return self.order + 1

    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step; one network call. memory: the last state and its level, and the estimates and log-SNRs, the last first."""
        value, from_, to = rsde.predict(x, t).x0, rsde.sde.at(t), rsde.sde.at(s)
        values, places = (value,), (from_.log_snr,)
        if memory is not None:
            before, level, others, their_places = memory
            x = integrate_exponential(before, level, from_, (*others, value), (*their_places, from_.log_snr))
            values, places = (value, *others[: self.order - 1]), (from_.log_snr, *their_places[: self.order - 1])
        end = integrate_exponential(x, from_, to, values, places)
        return Step(end, end, (x, from_, values, places))
