"""ScoreModel: a network with its process and its parameterization. ScoreFn: the contract of a score function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sde_lib.asking import ask, check_conditions_kept, check_evaluation_mode, check_gradient, versions
from sde_lib.base import SDE, require_kind
from sde_lib.counting import count_network_call, is_counting
from sde_lib.data import DataTransform
from sde_lib.grid_cache import cached_at
from sde_lib.linear import Level, LinearSDE
from sde_lib.parameterizations import Parameterization, Score
from sde_lib.prediction import Coefficient, Prediction, Readings, solve
from sde_lib.tensors import Time, as_time, check_same_shape, check_tensor, check_time, expand

__all__ = [
    *("Conditioned", "ScoreFn", "ScoreFunction", "ScoreModel"),
    *("can_take", "check_score_fn", "has_density", "prediction_of", "process_of", "score_of"),
]

_PLAIN = Score()


class ScoreFn(Protocol):
    """Any callable that gives the score of the law of x_t: (x (B, *shape), t () or (B,)) -> (B, *shape).

    A score function may have more. sde is its process. predict(x, t) gives a Prediction. take(rows) is the same function for these
    rows of the batch alone. log_prob(x, t), (B,), is the log-density up to a constant. A bare callable has none of the four, so
    that the functions of this module ask for them, and nothing else does.
    """

    def __call__(self, x: Tensor, t: Tensor, /) -> Tensor: ...


class ScoreFunction(ABC):
    """A score function given by its predictions. A subclass writes predict(x, t), and has the process sde.

    If its rows are independent, it also has take(rows), the same function for the given rows alone. Adaptive solvers then drop
    the rows that are done. Without take they keep them, which is slower.

    >>> from sde_lib import Data, ScoreModel, VPSDE
    >>> class Halved(ScoreFunction):
    ...     model = ScoreModel(lambda x, label: x, VPSDE(), Data())
    ...     sde = model.sde
    ...     def predict(self, x, t):
    ...         said = self.model.predict(x, t)
    ...         return Prediction(x, 0.5 * said.x0, said.level, 1.0, 0.0)
    >>> Halved().predict(torch.ones(1, 2), 0.5).x0
    tensor([[0.5000, 0.5000]])
    """

    sde: LinearSDE

    @abstractmethod
    def predict(self, x: Tensor, t: Time) -> Prediction:
        """The prediction at the state x, (B, *shape), and time t, () or (B,)."""

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        """The score at x and t, shaped like x."""
        return self.predict(x, t).score


def check_score_fn(sde: SDE, score_fn: Any) -> None:
    """Check that the process comes first and the score function second, and that they belong together.

    Raises:
        TypeError: when the two are swapped.
        ValueError: when the score function carries another process.
    """
    if not hasattr(sde, "prior") or not callable(score_fn):
        raise TypeError(
            f"the process was given as {type(sde).__name__} and the score function as {type(score_fn).__name__}: "
            "give the process first and then a function (x, t) -> score, as in sample(model.sde, model, ...)"
        )
    theirs = process_of(score_fn, sde)
    if theirs != sde:
        raise ValueError(f"the score function belongs to {theirs!r} and was used with {sde!r}: pass its own process")


def process_of(score_fn: Any, otherwise: Any) -> Any:
    """The process that a score function carries, or the given one where it carries none."""
    return getattr(score_fn, "sde", otherwise)


def can_take(score_fn: Any) -> bool:
    """Whether a score function has take(rows), so that rows may leave the batch. The rows of a bare callable must stay."""
    return hasattr(score_fn, "take")


def has_density(score_fn: Any) -> bool:
    """Whether a score function has log_prob(x, t), as the exact score of an oracle has it."""
    return hasattr(score_fn, "log_prob")


def score_of(score_fn: ScoreFn, x: Tensor, t: Time) -> Tensor:
    """The score function's answer at x and t.

    Raises:
        TypeError: when the answer is no tensor.
        ValueError: when its shape is not that of x, or the score function has changed x in place.
        ValueError: when x requires a gradient, autograd records it, and the answer carries none.
    """
    score = ask(score_fn, "the score function", x, t)
    check_tensor(score, "the score function's answer")
    advice = "the two must agree; where they only broadcast, the result would be silently wrong"
    check_same_shape(score, x, "the score function", advice)
    check_gradient(score, x, "the score function")
    return score


def prediction_of(score_fn: Any, sde: SDE, x: Tensor, t: Time) -> Prediction:
    """The prediction of a score function at x and t: its own predict, or the one that follows from a bare score.

    Raises:
        TypeError: when a bare score belongs to a process that is not linear.
        TypeError, ValueError: as score_of does.
    """
    if hasattr(score_fn, "predict"):
        return ask(score_fn.predict, "the score function", x, t)
    linear: LinearSDE = require_kind(sde, LinearSDE, "a prediction of x0 from a bare score")
    t = as_time(t)
    level = linear.at(t)
    return Prediction(x, score_of(score_fn, x, t), level, *_PLAIN.target(linear, t, level))


class ScoreModel(nn.Module):
    """A network with its process and parameterization: a score function that carries all that is needed to use it.

    network(scale * x, noise_label, **cond) -> output, with noise_label (B,), is a module or any callable. data is the transform
    between data and states (Images or Standardize), or None. The network may be autocast: what follows is float32 or better.

    >>> from sde_lib import Epsilon, VPSDE
    >>> model = ScoreModel(lambda x, label: 0.1 * x, VPSDE(), Epsilon())
    >>> model(torch.ones(2, 3), 0.5).shape
    torch.Size([2, 3])
    """

    network: Any
    data: Any

    def __init__(
        self,
        network: Callable[..., Tensor],
        sde: LinearSDE,
        parameterization: Parameterization,
        data: DataTransform | None = None,
    ) -> None:
        super().__init__()
        self.network, self.sde, self.parameterization, self.data = network, sde, parameterization, data

    def forward(self, x: Tensor, t: Time, **cond: Any) -> Tensor:
        """The score at x, (B, *shape), and time t, () or (B,)."""
        return self.predict(x, t, **cond).score

    def predict(self, x: Tensor, t: Time, **cond: Any) -> Prediction:
        """The network's prediction at x, (B, *shape), and time t, () or (B,).

        Raises:
            ValueError: when the network answers in another shape, or t has another.
        ValueError: when the network has changed x in place.
        ValueError: when a sampler or a likelihood asks, and the network has layers that behave otherwise in training mode.
        ValueError: when x requires a gradient, autograd records it, and the network's answer carries none.
            ValueError: when the network fails on a state whose shape, dtype or device is not its own.
            TypeError: when the network answers with no tensor.
        """
        t = as_time(t)
        check_time(t, x)
        level, scale, label, (a, b), readings = cached_at(self, self._of_time, t)
        told = x.dtype if label.is_floating_point() else label.dtype
        label = label.to(x.device, told, copy=True).expand(x.shape[0])  # the network may change its own copy in place
        inputs = x if isinstance(scale, float) and scale == 1 else expand(torch.as_tensor(scale), x) * x
        count_network_call(len(x))
        if is_counting():
            check_evaluation_mode(self.network)
        try:
            answer = ask(self.network, "the network", x, label, **cond) if inputs is x else self.network(inputs, label, **cond)
        except RuntimeError as error:
            refuse_misfit(self.network, x, error)
            raise
        check_tensor(answer, "the network's answer")
        output, variance = self.parameterization.split(answer)
        advice = "the two must agree; check its number of output channels, or wrap the parameterization in WithVariance"
        check_same_shape(output, x, "the network", advice)
        check_gradient(output, x, "the network")
        output = output.to(torch.promote_types(output.dtype, x.dtype))
        return Prediction(x, output, level, a, b, readings=readings, **variance)

    def _of_time(self, t: Tensor) -> tuple[Level, Coefficient, Tensor, tuple[Coefficient, Coefficient], Readings]:
        """Everything that depends on the time alone: level, scale of the input, noise label, target (a, b), and readings."""
        level = self.sde.at(t)
        of = self.parameterization
        a, b = of.target(self.sde, t, level)
        return level, of.scale(level), of.noise_label(self.sde, t), (a, b), solve(level, a, b)

    def bind(self, **cond: Any) -> Conditioned:
        """A score function with conditions fixed; each is a tensor with a row for each sample, or one value for all."""
        return Conditioned(self, cond)

    def take(self, rows: Tensor) -> ScoreModel:
        """The score function itself, since nothing in it belongs to a row."""
        return self

    def extra_repr(self) -> str:
        """The process, the parameterization and the meaning of the data."""
        return f"sde={self.sde!r}, parameterization={self.parameterization!r}, data={self.data!r}"


def refuse_misfit(network: Any, x: Tensor, error: RuntimeError) -> None:
    """Find why a network has failed on the state x: another shape, dtype or device than the network's.

    This is asked after a failure alone, since networks of convolutions take images of other sizes, and those under autocast other
    dtypes.

    Raises:
        ValueError: when one of the three differs.
    """
    modules: list[Any] = list(network.modules()) if isinstance(network, nn.Module) else []
    shape = next((tuple(m.arguments["shape"]) for m in modules if "shape" in getattr(m, "arguments", ())), x.shape[1:])
    weight = next((p for m in modules for p in m.parameters() if p.is_floating_point()), x)
    pairs = {
        "shape": ((*x.shape,), (x.shape[0], *shape)),
        "dtype": (x.dtype, weight.dtype),
        "device": (x.device, weight.device),
    }
    for what, (given, needed) in pairs.items():
        if given != needed and "memory" not in str(error):
            raise ValueError(
                f"a state of {what} {given} met a network made for {needed} ({str(error).splitlines()[0]}): "
                f"give the network states of the {what} that it was made for, or convert it"
            ) from error  # which may have another cause: where it was raised is to be seen


class Conditioned(ScoreFunction):
    """A ScoreModel with its conditions: what samplers and solvers are given.

    Raises:
        ValueError: when a condition, a tensor that is not 0-d, has another number of rows than the state.

    >>> from sde_lib import Epsilon, VPSDE
    >>> model = ScoreModel(lambda x, label, y: y[:, None] * x, VPSDE(), Epsilon())
    >>> model.bind(y=torch.tensor([0.0, 1.0, 2.0])).take(torch.tensor([2])).cond
    {'y': tensor([2.])}
    """

    def __init__(self, model: ScoreModel, cond: dict[str, Any]) -> None:
        self.model, self.cond, self.sde = model, cond, model.sde

    def predict(self, x: Tensor, t: Time) -> Prediction:
        """The network's prediction under the conditions."""
        for key, c in self.cond.items():
            if isinstance(c, Tensor) and c.ndim > 0 and len(c) != len(x):
                raise ValueError(
                    f"condition {key!r} of shape {tuple(c.shape)} meets a state of shape {tuple(x.shape)}: "
                    "give it a row for each sample, or one value for all as a 0-d tensor or a number"
                )
        before = versions(self.cond)
        prediction = self.model.predict(x, t, **self.cond)
        check_conditions_kept(self.cond, before)
        return prediction

    def take(self, rows: Tensor) -> Conditioned:
        """The score function for the given rows alone, with their conditions."""
        taken = {key: c[rows.to(c.device)] if isinstance(c, Tensor) and c.ndim > 0 else c for key, c in self.cond.items()}
        return Conditioned(self.model, taken)
