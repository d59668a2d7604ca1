"""Sharding: each rank keeps a part of the weights, gradients and moments of a network that does not fit on one device."""

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
    """Keep a part of each weight on each rank, and gather the weights of a block when the block is called.

    Weights outside of blocks are gathered when the network is called.

    Reference: Zhao et al., 2023, arXiv 2304.11277.
    """
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")  # no view is changed in place
    mesh = init_device_mesh(next(network.parameters()).device.type, (ranks.world,))
    for block in blocks_of(network):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def local_shard(value: Tensor) -> Tensor:
    """This rank's part of a tensor; a tensor that is not sharded as it is."""
    return value.to_local() if isinstance(value, DTensor) else value


def gather_full(value: Tensor) -> Tensor:
    """The full tensor, gathered from its shards if it is sharded. Every rank must call this."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shard_like(own: Tensor, value: Tensor) -> Tensor:
    """The shards of a full tensor that every rank has, if own is sharded; else the full tensor."""
    if not isinstance(own, DTensor):
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
