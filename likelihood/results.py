"""What results of many rows have in common: their mean, its standard error, and how they are numbered and joined."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

__all__ = ["PerRowResult", "count_of", "join", "numbered", "standard_error", "with_error"]

Result = TypeVar("Result")


class PerRowResult:
    """A result with one value per row, per_image (N,), in unit; mean and standard_error are computed from it."""

    per_image: Tensor
    unit: ClassVar[str] = "bits_per_dim"

    @property
    def mean(self) -> float:
        """Mean of per_image."""
        return self.per_image.mean().item()

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the rows: it contains their own spread and the noise of what was drawn for each."""
        return standard_error(self.per_image).item()


def numbered(batches: Iterable[Tensor] | Tensor, index: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Each batch that has rows, or the one that was given, with the numbers of its rows, (b,), which go on from index.

    >>> [rows.tolist() for _, rows in numbered([torch.zeros(2, 1), torch.zeros(0, 1), torch.zeros(1, 1)], 5)]
    [[5, 6], [7]]
    """
    for batch in [batches] if isinstance(batches, Tensor) else batches:
        if len(batch):
            yield batch, torch.arange(index, index + len(batch))
            index += len(batch)


def join(results: Sequence[Result]) -> Result:
    """Results of parts of a set, dataclasses of one kind, as one: rows one after another, and the sum of the network calls.

    Raises:
        ValueError: when there is none.
    """
    if not results:
        raise ValueError("there are no images: batches is empty")
    columns: dict[str, Any] = {}
    for name in (field.name for field in fields(results[0])):  # type: ignore[arg-type]
        values = [getattr(result, name) for result in results]
        columns[name] = torch.cat(values) if isinstance(values[0], Tensor) else values[0]
    columns["nfe"] = sum(result.nfe for result in results)  # type: ignore[attr-defined]
    return type(results[0])(**columns)


def standard_error(values: Tensor) -> Tensor:
    """Standard error of the mean over the first axis of values, (N, ...), shaped like one row: NaN for a single row."""
    n = len(values)
    return values.std(0) / n**0.5 if n > 1 else values.new_full(values.shape[1:], math.nan)


def with_error(mean: float, error: float, digits: int = 4) -> str:
    """A mean and its standard error, or the mean alone where there is none (NaN)."""
    return f"{mean:.{digits}f}" + ("" if math.isnan(error) else f" +- {error:.{digits}f}")


def count_of(n: int, one: str = "image", many: str | None = None) -> str:
    """The number of rows of a mean, in words, and that a single row has no standard error."""
    return f"{n} {many or one + 's'}, standard error" if n > 1 else f"1 {one}, which has no standard error"
