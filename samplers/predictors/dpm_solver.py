"""DPM-Solver and DPM-Solver++, of orders 1 to 3, multistep and single-step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from samplers.algorithm import Predictor, Step
from samplers.predictors.exponential import integrate_exponential
from sde_lib.linear import LinearSDE
from sde_lib.noise import Noise
from sde_lib.reverse import ReverseSDE

__all__ = ["DPMSolver"]


@dataclass(frozen=True)
class DPMSolver(Predictor):
    """x_s = (sigma_s / sigma_t) x - alpha_s expm1(-h) D, h = lambda_s - lambda_t, lambda = log-SNR / 2.

    order = 1: D = x0(x, t), which is deterministic DDIM. order = 2: D = x0 + (x0 - x0_before) h / (2 h_before). order = 3: the
    parabola through the last three. data_prediction=False (DPM-Solver, not ++) has (alpha_s / alpha_t) x - sigma_s expm1(h) D
    with D made of eps. multistep takes the other estimates from the steps before: one network call a step, but two for the first
    of order 3. Without it they are made inside each step, in order calls. Deterministic. The released third-order multistep halves
    the second derivative and starts at first order, which makes it second-order (diffusers copied it): published=True gives that.

    Raises:
        ValueError: when order is not 1, 2 or 3, or published is asked of any but the third-order multistep.

    Reference: Lu, Zhou, Bao, Chen, Li, Zhu, 2022, arXiv 2211.01095, Algorithms 1 (2S) and 2 (2M) and equation 9; 2022, arXiv
    2206.00927, Algorithms 1 and 2; Song, Meng, Ermon, 2021, arXiv 2010.02502, equation 12 (DDIM).

    >>> DPMSolver(order=3)
    DPMSolver(order=3, data_prediction=True, multistep=True, published=False)
    """

    order: int = 2  # type: ignore[misc]
    data_prediction: bool = True
    multistep: bool = True  # type: ignore[misc]
    published: bool = False
    requires = LinearSDE

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"DPMSolver has orders 1, 2 and 3, and got order={self.order}")
        if self.published and not (self.order == 3 and self.multistep):
            raise ValueError(f"{self!r}: only the third-order multistep was published with an error, so leave published out")

    @property
    def convergence(self) -> int:
        """order, but 2 for the published third."""
        return 2 if self.published else self.order

    def _estimate(self, rsde: ReverseSDE, x: Tensor, t: Tensor) -> Tensor:
        prediction = rsde.predict(x, t)
        return prediction.x0 if self.data_prediction else prediction.eps

    def step(self, rsde: ReverseSDE, x: Tensor, t: Tensor, s: Tensor, memory: Any, noise: Noise) -> Step:
        """One step. memory holds the estimates of the calls before and their log-SNRs, the last first."""
        value, from_, to = self._estimate(rsde, x, t), rsde.sde.at(t), rsde.sde.at(s)
        if not self.multistep or (self.order == 3 and memory is None and not self.published):
            x = self._by_stages(min(self.order, 2) if self.multistep else self.order, rsde, x, value, t, s)
        else:
            values, places = memory or ((), ())
            values, places = (value, *values), (from_.log_snr, *places)
            x = integrate_exponential(x, from_, to, values, places, data=self.data_prediction, halved=self.published)
            return Step(x, x, (values[: self.order - 1], places[: self.order - 1]) if self.order > 1 else None)
        return Step(x, x, ((value,), (from_.log_snr,)) if self.multistep else None)

    def _by_stages(self, order: int, rsde: ReverseSDE, x: Tensor, value: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """A single step: calls at 1/2, or at 1/3 and 2/3, of the way in log-SNR."""
        from_ = rsde.sde.at(t)
        values, places = [value], [from_.log_snr]
        for stage in range(1, order):
            r = rsde.sde.between(t, s, stage / order)
            level = rsde.sde.at(r)
            moved = integrate_exponential(x, from_, level, values, places, data=self.data_prediction, simple=False)
            values, places = [value, self._estimate(rsde, moved, r)], [from_.log_snr, level.log_snr]
        return integrate_exponential(x, from_, rsde.sde.at(s), values, places, data=self.data_prediction, simple=order == 2)
