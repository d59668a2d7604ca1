"""What is asked of networks and score functions: to leave their input alone, to carry its gradient, not to be in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

__all__ = ["ask", "check_conditions_kept", "check_evaluation_mode", "check_gradient", "versions"]


def ask(fn: Callable[..., Any], who: str, x: Tensor, *others: Any, **cond: Any) -> Any:
    """fn(x, *others, **cond). The state x belongs to the caller, so that fn must not change it in place.

    torch counts the changes of a tensor, except of those made under inference_mode: there fn gets a copy.

    Raises:
        ValueError: when fn has changed x.
    """
    if torch.compiler.is_compiling():  # the count cannot be traced
        return fn(x, *others, **cond)
    if x.is_inference():
        return fn(x.clone(), *others, **cond)
    before = x._version
    answer = fn(x, *others, **cond)
    if x._version != before:
        raise ValueError(_changed(who, "its input"))
    return answer


def versions(tensors: dict[str, Any]) -> dict[str, int]:
    """How often each tensor was changed in place so far. Other values, and tensors made under inference_mode, are left out."""
    if torch.compiler.is_compiling():
        return {}
    return {key: c._version for key, c in tensors.items() if isinstance(c, Tensor) and not c.is_inference()}


def check_conditions_kept(tensors: dict[str, Any], before: dict[str, int]) -> None:
    """Refuse a network that has changed its conditions in place: the next call would get others.

    Raises:
        ValueError: when the count of a tensor is not what it was before.
    """
    for key, version in before.items():
        if tensors[key]._version != version:
            raise ValueError(_changed("the network", f"the condition {key!r}"))


def _changed(who: str, what: str) -> str:
    return (
        f"{who} has changed {what} in place, which belongs to the caller and is used again: "
        "use operations that make a new tensor (clamp, not clamp_; SiLU(), not SiLU(inplace=True))"
    )


def check_gradient(answer: Tensor, x: Tensor, who: str) -> None:
    """Refuse an answer without a gradient with respect to x where one is wanted: a divergence of it would be silently wrong.

    The graph of the answer is searched for x. An answer of which only a part was detached still leads to x, and passes.

    Raises:
        ValueError: when autograd records, x requires a gradient, and the answer's graph does not lead to x.
    """
    if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and x.requires_grad):
        return
    if not (answer.requires_grad and _leads_to(answer, x)):
        raise ValueError(
            f"{who}'s answer carries no gradient with respect to x, and one is needed here: "
            "compute it with torch operations, without torch.no_grad, torch.inference_mode and detach"
        )


def _leads_to(answer: Tensor, x: Tensor) -> bool:
    """Whether the graph of an answer leads to x: a search in depth, which follows the states of a network down to x."""
    edge = get_gradient_edge(x)
    goal, start = (edge.node, edge.output_nr), get_gradient_edge(answer)
    waiting: list[Any] = [(start.node, start.output_nr)]
    seen = set()
    while waiting:
        place = waiting.pop()
        if place == goal:
            return True
        node = place[0]
        if node not in seen:
            seen.add(node)
            waiting.extend(reversed([to for to in node.next_functions if to[0] is not None]))
    return False


def check_evaluation_mode(network: Any) -> None:
    """Refuse a network in training mode in which a layer draws at random there, or goes by the batch and counts it.

    A network without such layers is the same in both modes, and passes. So does a network in evaluation mode with a layer that was
    put into training mode on its own, as for dropout that is meant.

    Raises:
        ValueError: when there is such a layer.
    """
    if not (isinstance(network, nn.Module) and network.training):
        return
    layers = sorted({type(layer).__name__ for layer in network.modules() if layer.training and _differs(layer)})
    if layers:
        raise ValueError(
            f"the network is in training mode, in which its layers {', '.join(layers)} draw at random or go by the batch, so that "
            "samples and likelihoods would be wrong: call model.eval() first"
        )


def _differs(layer: Any) -> bool:
    """Whether a layer gives other answers in training mode: dropout of any kind, random slopes, statistics of the batch."""
    if isinstance(layer, nn.modules.batchnorm._NormBase):  # batch and instance norms
        return layer.track_running_stats
    if isinstance(layer, nn.RReLU):
        return layer.lower < layer.upper
    chance = layer.p if isinstance(layer, nn.modules.dropout._DropoutNd) else getattr(layer, "dropout", 0.0)
    return isinstance(chance, (int, float)) and chance > 0  # dropout may also be a layer, which is asked itself
