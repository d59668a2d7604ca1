"""The ranks of a torchrun job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

__all__ = ["Ranks", "torchrun_ranks", "world_size"]


class Ranks(NamedTuple):
    """The rank of this process among world processes. Rank 0 writes and prints. Every rank must call each method."""

    rank: int = 0
    world: int = 1

    def barrier(self) -> None:
        """Wait until every rank has reached this point."""
        if self.world > 1:
            distributed.barrier()

    def any(self, flag: bool) -> bool:
        """Whether the flag is True on at least one rank."""
        if self.world == 1:
            return flag
        flags = torch.tensor(float(flag))
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags > 0)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of the ranks' values."""
        if self.world == 1:
            return value
        total = value.clone()
        distributed.all_reduce(total)
        return total / self.world

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks in order, where this rank has rows rank, rank + world, ..."""
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0."""
        if self.world == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]


def world_size() -> int:
    """The number of ranks, from torchrun's environment variables, before the ranks have connected."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def torchrun_ranks() -> Iterator[Ranks]:
    """The ranks that torchrun started, connected; without torchrun, this process alone.

    >>> with torchrun_ranks() as ranks:
    ...     ranks.world
    1
    """
    if world_size() == 1:
        yield Ranks()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(days=7))  # one rank may have much more work than another
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
