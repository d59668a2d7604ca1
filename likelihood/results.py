"""What results image by image have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["PerRowResult", "count_of", "join", "standard_error", "with_error"]

Result = TypeVar("Result")


class PerRowResult:
    """A result that has a value for each image or datum, per_image (N,), of which mean and standard error are."""

    per_image: Tensor

    @property
    def mean(self) -> float:
        """Of per_image."""
        return self.per_image.mean().item()

    @property
    def standard_error(self) -> float:
        """Of the mean, over the rows: it contains their own spread and the noise of whatever was drawn for each."""
        return standard_error(self.per_image)


def join(results: Sequence[Result]) -> Result:
    """Results of parts of a set, dataclasses of one kind, as one: rows one after another, and the sum of the network calls.

    Raises ValueError where there is none.
    """
    if not results:
        raise ValueError("there are no images: batches is empty")
    columns: dict[str, Any] = {}
    for name in (field.name for field in fields(results[0])):  # type: ignore[arg-type]
        values = [getattr(result, name) for result in results]
        columns[name] = torch.cat(values) if isinstance(values[0], Tensor) else values[0]
    columns["nfe"] = sum(result.nfe for result in results)  # type: ignore[attr-defined]
    return type(results[0])(**columns)


def standard_error(values: Tensor) -> float:
    """Of the mean over the images, (N,): NaN for a single one."""
    n = len(values)
    return (values.std() / n**0.5).item() if n > 1 else math.nan


def with_error(mean: float, error: float, digits: int = 4) -> str:
    """A mean and its standard error, or the mean alone where there is none (NaN)."""
    return f"{mean:.{digits}f}" + ("" if math.isnan(error) else f" +- {error:.{digits}f}")


def count_of(n: int, one: str = "image", many: str | None = None) -> str:
    """How many a mean is of, and that a single one has no standard error."""
    return f"{n} {many or one + 's'}, standard error" if n > 1 else f"1 {one}, which has no standard error"
