"""Several processes at one job: who we are among those that torchrun started."""

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
    """This process among so many: rank 0 is the one that writes and speaks."""

    rank: int = 0
    world: int = 1

    def barrier(self) -> None:
        """Until every process has come here."""
        if self.world > 1:
            distributed.barrier()

    def any(self, flag: bool) -> bool:
        """Whether it is so in one of the processes at least; all must ask."""
        if self.world == 1:
            return flag
        flags = torch.tensor(float(flag))
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags > 0)

    def mean(self, value: Tensor) -> Tensor:
        """Of the values that the processes have; all must ask."""
        if self.world == 1:
            return value
        total = value.clone()
        distributed.all_reduce(total)
        return total / self.world

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, of which this one has rows rank, rank + world, ..., in order; all must ask."""
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    def broadcast(self, value: Any) -> Any:
        """What the first process says."""
        if self.world == 1:
            return value
        said = [value]
        distributed.broadcast_object_list(said)
        return said[0]


def world_size() -> int:
    """As torchrun says by its environment variables, before they have met."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def torchrun_ranks() -> Iterator[Ranks]:
    """The processes of torchrun, as its environment variables describe them; without it, this one alone.

    >>> with processes() as here:
    ...     here.world
    1
    """
    if world_size() == 1:
        yield Ranks()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(days=7))  # one may have much more to do than another
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
