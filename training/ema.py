"""The exponential average of a network's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["average_of", "decay_after"]

Tensors = tuple[Tensor, ...] | list[Tensor]


def decay_after(updates: int, decay: float) -> float:
    """min(decay, n / (n + 10)) after n updates: the average is the weights themselves at first, and forgets the start fast."""
    return min(decay, updates / (updates + 10))


def average_of(network: nn.Module, decay: float) -> AveragedModel:
    """An average of a network, to be updated with update_parameters(network) after each step; its weights are in .module."""

    def blend(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        torch._foreach_lerp_(averaged, current, 1 - decay_after(int(updates), decay))

    return AveragedModel(network, multi_avg_fn=blend)
