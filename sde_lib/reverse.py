"""ReverseSDE: the equation that samplers and solvers integrate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sde_lib.base import SDE
from sde_lib.linear import LinearSDE
from sde_lib.parameterizations import Score
from sde_lib.prediction import Prediction
from sde_lib.tensors import as_time, check_tensor

__all__ = ["ReverseSDE"]

_PLAIN = Score()


class ReverseSDE:
    """The reverse of a process under a score: dx = [f - (1 + eta^2)/2 g^2 score] dt + eta g dw, backward in time.

    eta = 1 is the reverse SDE, eta = 0 the probability-flow ODE, and every eta in between has the same laws p_t.
    score_fn is any callable (x, t) -> score; if it has predict(x, t), that is what is asked. calls and rows count what the
    network was asked: batched calls, and rows in all. Raises ValueError when score_fn carries another process than sde, and
    TypeError where the two are swapped.

    Reference: Anderson, 1982; Song et al., 2021, arXiv 2011.13456, equations 6 and 13; Huang, Lim, Courville, 2021, arXiv
    2106.02808, theorem 4 (eta).

    >>> from sde_lib import VPSDE
    >>> reverse = ReverseSDE(VPSDE(), lambda x, t: -x)
    >>> reverse.flow(torch.ones(1, 2), 0.5), reverse.calls
    (tensor([[0., 0.]]), 1)
    """

    def __init__(self, sde: SDE, score_fn: Any) -> None:
        if not hasattr(sde, "prior") or not callable(score_fn):
            raise TypeError(
                f"the process was given as {type(sde).__name__} and the score function as {type(score_fn).__name__}: "
                "give the process first and then a function (x, t) -> score, as in sample(model.sde, model, ...)"
            )
        theirs = getattr(score_fn, "sde", sde)
        if theirs != sde:
            raise ValueError(f"the score function belongs to {theirs!r} and was used with {sde!r}: pass its own process")
        self.sde: Any = sde
        self.score_fn = score_fn
        self.calls = self.rows = 0

    def _count(self, x: Tensor) -> None:
        self.calls += 1
        self.rows += x.shape[0]

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """The score at x and t, shaped like x: one network call.

        Raises TypeError when the answer is no tensor, ValueError when it has another shape, and when a gradient with respect to
        x is wanted and the score carries none: what is computed from it, such as a divergence, would be silently wrong.
        """
        self._count(x)
        score = self._answer(x, t)
        if x.requires_grad and torch.is_grad_enabled() and not score.requires_grad:
            raise ValueError(
                "the score function's answer carries no gradient with respect to x, and one is needed here: "
                "compute it with torch operations, without torch.no_grad and detach"
            )
        return score

    def predict(self, x: Tensor, t: Tensor) -> Prediction:
        """Everything the model says at x and t: one network call."""
        self._count(x)
        if hasattr(self.score_fn, "predict"):
            return self.score_fn.predict(x, t)
        sde = self.require(LinearSDE, "a prediction of x0 from a bare score")
        t = as_time(t)
        level = sde.at(t)
        return Prediction(x, self._answer(x, t), level, *_PLAIN.target(sde, t, level))

    def _answer(self, x: Tensor, t: Tensor) -> Tensor:
        score = self.score_fn(x, t)
        check_tensor(score, "the score function's answer")
        if score.shape != x.shape:
            raise ValueError(
                f"the score function answered with shape {tuple(score.shape)} to a state of shape {tuple(x.shape)}: "
                "the two must agree; where they only broadcast, the result would be silently wrong"
            )
        return score

    def drift(self, x: Tensor, t: Tensor, eta: float = 1.0) -> Tensor:
        """f - (1 + eta^2)/2 g^2 score, shaped like x: one network call."""
        forward, g = self.sde.drift(x, t), self.sde.diffusion(x, t)
        return forward - (0.5 * (1 + eta**2) * g**2) * self.score(x, t)

    def diffusion(self, x: Tensor, t: Tensor, eta: float = 1.0) -> Tensor:
        """eta g; broadcasts to x."""
        return eta * self.sde.diffusion(x, t)

    def flow(self, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt of the probability-flow ODE: the drift at eta = 0."""
        return self.drift(x, t, eta=0.0)

    def take(self, rows: Tensor) -> ReverseSDE:
        """The same equation for the given rows alone, where score_fn has take; with counters of its own."""
        return ReverseSDE(self.sde, self.score_fn.take(rows))

    def require(self, kind: type[SDE], who: str) -> Any:
        """The process, if it is of the kind that an algorithm needs; else TypeError."""
        if not isinstance(self.sde, kind):
            raise TypeError(
                f"{who} needs a process that is a {kind.__name__}, and got {self.sde!r}: "
                "use EulerMaruyama, or FlowSampler, which serve every process"
            )
        return self.sde
