"""Several processes at one job: who we are among those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

from torch import distributed

__all__ = ["Processes", "processes"]


class Processes(NamedTuple):
    """This process among so many: rank 0 is the one that writes and speaks."""

    rank: int = 0
    world: int = 1

    def wait(self) -> None:
        """Until every process has come here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def processes() -> Iterator[Processes]:
    """The processes of torchrun, as its environment variables describe them; without it, this one alone.

    >>> with processes() as here:
    ...     here.world
    1
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    distributed.init_process_group("gloo", timeout=timedelta(days=7))  # one may have much more to do than another
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
