"""Weights in shards, one in each process, for networks that do not fit into one: their gradients and moments are too."""

from __future__ import annotations

import warnings

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from models.speed import blocks_of
from score_sde.training.ranks import Ranks

__all__ = ["gather_full", "local_shard", "shard", "shard_like"]


def shard(network: nn.Module, ranks: Ranks) -> None:
    """Have each process keep its part of each weight, and gather the rest of a block's when the block is called.

    What is outside of blocks is gathered with the network.
    Reference: Zhao et al., 2023, arXiv 2304.11277.
    """
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")  # none is changed in place
    mesh = init_device_mesh(next(network.parameters()).device.type, (ranks.world,))
    for block in blocks_of(network):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def local_shard(value: Tensor) -> Tensor:
    """This process's part of a tensor; all of one that is not in shards."""
    return value.to_local() if isinstance(value, DTensor) else value


def gather_full(value: Tensor) -> Tensor:
    """A tensor, put together from its shards if it is in some; all processes must ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shard_like(own: Tensor, value: Tensor) -> Tensor:
    """A whole tensor, which every process has, in shards if one's own is."""
    if not isinstance(own, DTensor):
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
