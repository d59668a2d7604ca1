"""The form that every data set has for the rest of the program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["DataSet"]


@dataclass(frozen=True, eq=False)
class DataSet:
    """Rows to train on and to test with, and what their numbers mean.

    train (N, *shape) and test (M, *shape) are integers or real numbers. transform, `Images` or `Standardize`, says what
    they mean. train_y (N,) and test_y (M,) are the classes of the rows if they have any, and class_names the names of these
    classes. truth is the oracle of data whose density is known.
    """

    train: Tensor
    test: Tensor
    transform: Any
    train_y: Tensor | None = None
    test_y: Tensor | None = None
    class_names: tuple[str, ...] | None = None
    truth: Any = None

    @classmethod
    def of(cls, source: Any) -> DataSet:
        """The data set of a source, an object with train, test and transform, and perhaps the optional attributes.

        Raises:
            TypeError: when the source lacks train, test or transform, or transform is no `DataTransform`.
        """
        missing = [name for name in ("train", "test", "transform") if not hasattr(source, name)]
        if missing or not all(hasattr(source.transform, name) for name in ("dequantize", "levels")):
            raise TypeError("a data set with train, test, and Images or Standardize as its transform was needed")
        optional = {name: getattr(source, name, None) for name in ("train_y", "test_y", "class_names", "truth")}
        return cls(source.train, source.test, source.transform, **optional)

    def part(self, split: str) -> tuple[Tensor, Tensor | None]:
        """The rows of "train" or "test", and their classes."""
        return (self.train, self.train_y) if split == "train" else (self.test, self.test_y)

    @property
    def classes(self) -> int:
        """How many classes the rows have; 0 for a set without classes."""
        return 0 if self.train_y is None else int(self.train_y.max()) + 1
