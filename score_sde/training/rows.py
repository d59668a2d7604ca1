"""The rows of each training step, in an order that depends on the seed alone, read one step ahead."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from score_sde.training.ranks import Ranks
from sde_lib import RowNoise
from sde_lib.noise import Stream

__all__ = ["Rows"]

SMALL = 1 << 31  # a data set of fewer bytes is moved to the device as a whole


class Rows:
    """Batches of data (N, *shape), which may be mapped from a file. Every epoch is a new order of the whole set.

    Each rank gets rows rank, rank + world, ... of a batch.

    >>> rows = Rows(torch.arange(10)[:, None], seed=0, batch_size=5, device="cpu")
    >>> sorted(torch.cat([rows.take(0), rows.take(1)]).flatten().tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(
        self,
        data: Tensor,
        seed: int,
        batch_size: int,
        device: torch.device | str,
        ranks: Ranks = Ranks(),  # noqa: B008
    ) -> None:
        self.device = torch.device(device)
        whole = data.numel() * data.element_size() < SMALL
        self.data = data.to(self.device) if whole else data
        self.seed, self.batch_size, self.ranks = seed, batch_size, ranks
        self._orders: dict[int, Tensor] = {}
        self._reader = ThreadPoolExecutor(1, "rows")
        self._ahead: tuple[int, Future[Tensor]] | None = None

    def take(self, step: int) -> Tensor:
        """The rows of a step, on the device."""
        ahead = self._ahead
        rows = ahead[1].result() if ahead is not None and ahead[0] == step else self._read(step)
        if self.data.device.type == "cpu":
            self._ahead = step + 1, self._reader.submit(self._read, step + 1)
        return rows.to(self.device, non_blocking=True)

    def _read(self, step: int) -> Tensor:
        n, B = len(self.data), self.batch_size
        first, last = step * B, (step + 1) * B
        epochs = range(first // n, (last - 1) // n + 1)
        order = torch.cat([self._order(epoch) for epoch in epochs])[first - epochs[0] * n :][:B]
        rows = self.data[order[self.ranks.rank :: self.ranks.world]]
        return rows.pin_memory() if self.device.type == "cuda" and rows.device.type == "cpu" else rows

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            recent = {e: order for e, order in self._orders.items() if e == epoch - 1}
            order = RowNoise(self.seed, 1, Stream.DATA, draw=epoch).permutation(len(self.data))
            self._orders = recent | {epoch: order.to(self.data.device)}
        return self._orders[epoch]
