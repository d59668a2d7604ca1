"""A score model under another linear process, by a change of time and of scale."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from sde_lib.grid_cache import cached_at
from sde_lib.linear import LinearSDE
from sde_lib.prediction import Prediction
from sde_lib.tensors import Time, as_time, expand

__all__ = ["Moved"]


class Moved(nn.Module):
    """A score model under another linear process: at equal log-SNR, the states differ by a factor alone, x0 and eps not at all.

    At time t of the new process the model is asked at its own time t' of the same log-SNR, about (alpha' / alpha) x. It is a
    score function of the new process, for every sampler and solver. Outside the log-SNR of its own process the model was never
    trained, so that such a process is refused, with the t_min and T that are safe.

    Raises:
        ValueError: when the new process has less noise than the model's at t_min, or more at T.

    Reference: Kingma, Salimans, Poole, Ho, 2021, arXiv 2107.00630, section 5.1 (diffusions that differ by time and scale).

    >>> from sde_lib import Epsilon, RectifiedFlow, ScoreModel, VPSDE
    >>> model = ScoreModel(lambda x, label: 0.1 * x, VPSDE(), Epsilon())
    >>> Moved(model, RectifiedFlow(t_min=0.002, T=0.99))(torch.ones(2, 3), 0.5).shape
    torch.Size([2, 3])
    """

    def __init__(self, model: Any, to: LinearSDE) -> None:
        super().__init__()
        self.model, self.sde = model, to
        own: LinearSDE = model.sde
        high, low = own.at(own.t_min).log_snr, own.at(own.T).log_snr
        if float(to.at(to.t_min).log_snr - high) > 1e-9 or float(low - to.at(to.T).log_snr) > 1e-9:
            safe = to.t_of_log_snr(torch.stack([high, low])).tolist()
            raise ValueError(
                f"{to!r} has log-SNR {to.at(to.t_min).log_snr:.2f} to {to.at(to.T).log_snr:.2f}, and the model knows "
                f"{high:.2f} to {low:.2f}: give the process t_min >= {safe[0]:.6g} and T <= {safe[1]:.6g}"
            )

    def forward(self, x: Tensor, t: Time, **cond: Any) -> Tensor:
        """The score at x, (B, *shape), and time t, () or (B,), of the new process."""
        return self.predict(x, t, **cond).score

    def predict(self, x: Tensor, t: Time, **cond: Any) -> Prediction:
        """The model's prediction at x and time t of the new process."""
        own_t, scale = cached_at(self, self._of_time, as_time(t))
        prediction = self.model.predict(expand(scale, x) * x, own_t, **cond)
        return dataclasses.replace(prediction, x=x, level=self.sde.at(t), readings=None)

    def _of_time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The model's own time, and the factor from the new states to its own."""
        level = self.sde.at(t)
        own_t = self.model.sde.t_of_log_snr(level.log_snr)
        return own_t, self.model.sde.at(own_t).alpha / level.alpha

    def take(self, rows: Tensor) -> Moved:
        """The score function for the given rows alone."""
        return Moved(self.model.take(rows), self.sde)
