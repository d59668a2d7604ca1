"""ReverseSDE: the reverse SDE and the probability-flow ODE of a process under a score."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sde_lib.asking import check_evaluation_mode
from sde_lib.base import SDE, require_kind
from sde_lib.counting import NetworkCalls, counting_network_calls
from sde_lib.prediction import Prediction
from sde_lib.score import check_score_fn, prediction_of, score_of

__all__ = ["ReverseSDE"]


class ReverseSDE:
    """The reverse of a process under a score: dx = [f - (1 + eta^2)/2 g^2 score] dt + eta g dw, backward in time.

    eta = 1 is the reverse SDE, eta = 0 the probability-flow ODE, and every eta in between has the same laws p_t. score_fn is any
    callable (x, t) -> score. If it has predict(x, t), predict is asked. calls and rows count the batched calls of the networks in
    it, and the rows in all of them. Guidance by two ScoreModels makes two calls an evaluation. A score function without a
    ScoreModel counts as one network.

    Raises:
        ValueError: when score_fn carries another process than sde.
        ValueError: when score_fn is, or has, a network in training mode with layers that behave otherwise there.
        TypeError: when the two are swapped.

    Reference: Anderson, 1982; Song et al., 2021, arXiv 2011.13456, equations 6 and 13; Huang, Lim, Courville, 2021, arXiv
    2106.02808, theorem 4 (eta).

    >>> import torch
    >>> from sde_lib import VPSDE
    >>> reverse = ReverseSDE(VPSDE(), lambda x, t: -x)
    >>> reverse.flow(torch.ones(1, 2), 0.5), reverse.calls
    (tensor([[0., 0.]]), 1)
    """

    def __init__(self, sde: SDE, score_fn: Any) -> None:
        check_score_fn(sde, score_fn)
        for part in (score_fn, *getattr(score_fn, "__dict__", {}).values()):
            check_evaluation_mode(part)
        self.sde: Any = sde
        self.score_fn = score_fn
        self._total = NetworkCalls()

    @property
    def calls(self) -> int:
        """Batched network calls so far."""
        return self._total.calls

    @property
    def rows(self) -> int:
        """Rows in all network calls so far."""
        return self._total.rows

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """The score at x and t, shaped like x: one evaluation of the score function.

        An answer without a gradient, where one is wanted, is refused: a divergence computed from it would be silently wrong.

        Raises:
            TypeError: when the answer is no tensor.
            ValueError: when the answer has another shape than x.
            ValueError: when x requires a gradient, and the answer carries none.
        """
        with counting_network_calls(self._total, len(x)):
            return score_of(self.score_fn, x, t)

    def predict(self, x: Tensor, t: Tensor) -> Prediction:
        """The model's prediction at x and t: one evaluation of the score function."""
        with counting_network_calls(self._total, len(x)):
            return prediction_of(self.score_fn, self.sde, x, t)

    def drift(self, x: Tensor, t: Tensor, eta: float = 1.0) -> Tensor:
        """f - (1 + eta^2)/2 g^2 score, shaped like x: one evaluation of the score function."""
        forward, g = self.sde.drift(x, t), self.sde.diffusion(x, t)
        return forward - (0.5 * (1 + eta**2) * g**2) * self.score(x, t)

    def diffusion(self, x: Tensor, t: Tensor, eta: float = 1.0) -> Tensor:
        """eta g; broadcasts to x."""
        return eta * self.sde.diffusion(x, t)

    def flow(self, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt of the probability-flow ODE: the drift at eta = 0."""
        return self.drift(x, t, eta=0.0)

    def take(self, rows: Tensor) -> ReverseSDE:
        """The equation for the given rows alone, where score_fn has take. Both count into the same counters."""
        part = ReverseSDE(self.sde, self.score_fn.take(rows))
        part._total = self._total
        return part

    def require(self, kind: type[SDE], who: str) -> Any:
        """The process, if it is of the kind that an algorithm needs.

        Raises:
            TypeError: when it is of another kind.
        """
        return require_kind(self.sde, kind, who)
