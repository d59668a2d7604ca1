"""Thresholding: the estimate of x0 is clipped to the range of the data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sde_lib.linear import LinearSDE
from sde_lib.prediction import Prediction
from sde_lib.score import ScoreFunction, can_take, check_score_fn, prediction_of, process_of
from sde_lib.tensors import Time, as_time, by_row

__all__ = ["Threshold"]


class Threshold(ScoreFunction):
    """A score function whose estimate of x0 stays within low and high: ScoreFn -> ScoreFn.

    Let m be the middle of the range, w half its width and r = x0 - m. Static, for quantile=None: m + clip(r, -w, w). Dynamic:
    m + (w / c) clip(r, -c, c), with c = max(w, the quantile of |r| over the entries of the row). eps and the score follow from it.
    A bare score function needs the process, sde. Images(...) says what low and high are.

    Raises:
        ValueError: when the range is empty, or the quantile is outside (0, 1).
        TypeError: when neither score_fn nor sde gives a process.

    Reference: Saharia et al., 2022, arXiv 2205.11487, section 2.3 and appendix C.

    >>> from sde_lib import VPSDE
    >>> score = Threshold(lambda x, t: 0 * x, sde=VPSDE())
    >>> score.predict(torch.tensor([[3.0, -0.1]]), 0.1).x0.shape
    torch.Size([1, 2])
    """

    def __init__(
        self, score_fn: Any, *, quantile: float | None = None, low: float = -1.0, high: float = 1.0, sde: LinearSDE | None = None
    ) -> None:
        if not low < high or (quantile is not None and not 0 < quantile < 1):
            raise ValueError(
                f"Threshold got low={low}, high={high}, quantile={quantile}: low < high and 0 < quantile < 1 are needed"
            )
        process = process_of(score_fn, sde)
        if process is None:
            raise TypeError("Threshold got a score function that carries no process, and needs one: give sde=")
        self.quantile, self.low, self.high, self.sde = quantile, low, high, process
        check_score_fn(process, score_fn)
        self.score_fn = score_fn
        if can_take(score_fn):
            self.take = self._take

    def predict(self, x: Tensor, t: Time) -> Prediction:
        """The prediction with its x0 brought into the range; what was learned of the variance stays."""
        said = prediction_of(self.score_fn, self.sde, x, as_time(t))
        x0 = self._within(said.x0)
        return Prediction(x, x0, said.level, 1.0, 0.0, said.log_variance, said.variance_fraction)

    def _within(self, x0: Tensor) -> Tensor:
        if self.quantile is None:
            return x0.clamp(self.low, self.high)
        middle, half = 0.5 * (self.low + self.high), 0.5 * (self.high - self.low)
        away = x0 - middle
        edge = torch.quantile(away.flatten(1).abs(), self.quantile, dim=1).clamp_min(half)
        edge = by_row(edge, x0)
        return middle + (half / edge) * torch.minimum(torch.maximum(away, -edge), edge)

    def _take(self, rows: Tensor) -> Threshold:
        return Threshold(self.score_fn.take(rows), quantile=self.quantile, low=self.low, high=self.high, sde=self.sde)
