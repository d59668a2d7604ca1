"""Faster networks with less memory, whose weights keep their names and their meaning."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["autocast", "blocks_of", "channels_last", "recompute"]

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def autocast(network: Callable[..., Tensor], dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """The network as a module whose convolutions and matrix products are in bfloat16, or in float16.

    The weights stay the network's own, in float32. The loss and the steps of a process stay in float32 or better.
    The relative round-off of a layer is 2^-8 in bfloat16, 2^-11 in float16 and 2^-24 in float32.
    The largest number of float16 is 65504, and gradients below 6e-8 vanish in it.

    Raises:
        ValueError: when dtype is another one.

    Reference: Micikevicius et al., 2018, arXiv 1710.03740; Kalamkar et al., 2019, arXiv 1905.12322 (bfloat16).
    """
    if dtype not in (torch.bfloat16, torch.float16):
        raise ValueError(f"autocast to {dtype} was asked for: give torch.bfloat16 or torch.float16")
    return _Autocast(network, dtype)


class _Autocast(nn.Module):
    """network(x, label, **cond) under torch.autocast."""

    def __init__(self, network: Callable[..., Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.network: Any = network
        self.dtype = dtype

    def forward(self, x: Tensor, noise_label: Tensor, **cond: Any) -> Tensor:
        with torch.autocast(x.device.type, self.dtype):
            return self.network(x, noise_label, **cond)


def channels_last(network: nn.Module) -> nn.Module:
    """The network itself, with the weights of its convolutions in channels-last order, which its feature maps then have too.

    Tensors keep their shapes, and outputs differ by round-off.
    """
    for parameter in network.parameters():
        if parameter.ndim in FORMATS:
            parameter.data = parameter.data.contiguous(memory_format=FORMATS[parameter.ndim])
    return network


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The modules of the innermost nn.ModuleLists: those that contain no nn.ModuleList themselves."""
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    return [block for blocks in lists for block in blocks if not any(isinstance(m, nn.ModuleList) for m in block.modules())]


def recompute(network: nn.Module) -> nn.Module:
    """The network itself, whose blocks keep only their inputs in training, and are computed again for the gradient.

    Outputs and gradients stay the same, with dropout too. A step takes about a third longer. The blocks are those of blocks_of.

    Raises:
        ValueError: when the network has no blocks.

    Reference: Chen et al., 2016, arXiv 1604.06174.
    """
    blocks = blocks_of(network)
    if not blocks:
        raise ValueError(f"{type(network).__name__} has no blocks to compute again: keep its layers in an nn.ModuleList")
    for block in blocks:
        block.forward = partial(_again, block.forward)
    return network


def _again(forward: Callable[..., Any], *inputs: Any, **cond: Any) -> Any:
    """forward(*inputs), without its activations in memory if it is in training and a gradient is needed."""
    module: nn.Module = forward.__self__  # type: ignore[attr-defined]
    if module.training and torch.is_grad_enabled():
        return checkpoint(forward, *inputs, use_reentrant=False, **cond)
    return forward(*inputs, **cond)
