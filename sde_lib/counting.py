"""Counting network calls where the network is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

__all__ = ["NetworkCalls", "count_network_call", "counting_network_calls", "is_counting"]


@dataclass(eq=False)
class NetworkCalls:
    """Batched calls of networks, and the rows in all of them."""

    calls: int = 0
    rows: int = 0

    def add(self, calls: int, rows: int) -> None:
        """Count some more."""
        self.calls += calls
        self.rows += rows


_counter: ContextVar[NetworkCalls | None] = ContextVar("network_calls", default=None)


def count_network_call(rows: int) -> None:
    """Count one call of a network with this many rows, where somebody counts.

    Inside a graph of torch.compile nothing is counted: what compiles a whole score function makes one network of it.
    """
    if torch.compiler.is_compiling():  # a context variable cannot be traced
        return
    counter = _counter.get()
    if counter is not None:
        counter.add(1, rows)


def is_counting() -> bool:
    """Whether somebody counts: a sampler, a likelihood or a bound is asking, and not training. Never inside a compiled graph."""
    return not torch.compiler.is_compiling() and _counter.get() is not None


@contextmanager
def counting_network_calls(total: NetworkCalls, rows: int) -> Iterator[None]:
    """Add to total the network calls of one evaluation of a score function on this many rows.

    Guidance by two networks makes two calls. A score function counts as one where no ScoreModel is called in it, and inside a
    graph of torch.compile.
    Open it around the evaluation alone, never around a yield: what a generator sets is set for its caller, too.

    >>> total = NetworkCalls()
    >>> with counting_network_calls(total, rows=4):
    ...     count_network_call(4)
    ...     count_network_call(4)
    >>> total
    NetworkCalls(calls=2, rows=8)
    """
    if torch.compiler.is_compiling():  # of a graph, too, one evaluation counts as one call
        total.add(1, rows)
        yield
        return
    own, outer = NetworkCalls(), _counter.get()
    token = _counter.set(own)
    try:
        yield
    finally:
        _counter.reset(token)
        if not own.calls:
            own.add(1, rows)
        for counter in (total, outer):
            if counter is not None:
                counter.add(own.calls, own.rows)
