"""Data sets from array files: integers, which are levels, or real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from score_sde.data.reading import read_array
from sde_lib import Images, Standardize
from sde_lib.data import chunks

__all__ = ["Arrays", "as_rows", "levels_of", "read_like", "transform_of"]

Channels = Literal["auto", "first", "last", "none"]


class Arrays:
    """The array (N, *shape) in a .npy, .npz, .pt, .h5 or .zarr file. Without a test file, its last tenth is the test set.

    Integers are levels 0..levels-1 (`Images`), and real numbers are scaled to mean 0 and standard deviation 1 (`Standardize`).

    levels: the number of levels; unless given, `levels_of` finds it from the data.
    key: the name of the array in a file that holds several.
    channels: the axis of the channels: "first" (N, C, *space), "last" (N, *space, C), or "none", which inserts an axis of length 1.
        "auto" is "none" for integers (N, height, width), "last" for integers (N, height, width, 1 to 4), else "first".
    low, high: the ends of the range of the levels, as in `Images`.
    shape: the shape that a row must have. Without a file, the data set has this shape and no rows: enough to build a model.
    train_y, test_y: files with the class of each row, integers (N,) from 0.

    Raises:
        ValueError: when a file cannot be read, has fewer than ten rows, NaN or values outside the levels, or the test set has
            another shape. The message names the file.

    >>> Arrays(train="nowhere.npy")
    Traceback (most recent call last):
    ...
    ValueError: there is no file nowhere.npy
    """

    def __init__(
        self,
        train: str | None = None,
        test: str | None = None,
        levels: int | None = None,
        key: str | None = None,
        channels: Channels = "auto",
        low: float = -1.0,
        high: float = 1.0,
        shape: Sequence[int] | None = None,
        train_y: str | None = None,
        test_y: str | None = None,
    ) -> None:
        if train is None:
            if shape is None:
                raise ValueError("a file is needed: give train='mine.npy'")
            self.train = self.test = torch.zeros(0, *shape, dtype=torch.uint8)
            self.transform: Images | Standardize = Images(256 if levels is None else levels, low, high)
            return
        data = as_rows(read_array(train, key), channels)
        if len(data) < 10:
            raise ValueError(f"{train} has {len(data)} rows, and at least ten were needed")
        held_out = len(data) // 10
        if test is None:
            self.train, self.test = data[:-held_out], data[-held_out:]
        else:
            self.train, self.test = data, as_rows(read_array(test, key), channels)
        if train_y is not None:
            y = _classes(train_y, len(data))
            if (test is None) != (test_y is None):
                raise ValueError(f"{train_y}: test_y and a test file belong together, and one of them was given: give both or none")
            own = None if test_y is None else _classes(test_y, len(self.test))
            self.train_y, self.test_y = (y[:-held_out], y[-held_out:]) if own is None else (y, own)
        if not self.train[0].numel() or not len(self.test):
            raise ValueError(
                f"{train if len(self.test) else test} has shape {tuple(self.test.shape)}, "
                "and at least one row with an entry was needed"
            )
        if self.train.shape[1:] != self.test.shape[1:]:
            raise ValueError(f"{train} has data of shape {tuple(self.train.shape[1:])}, and {test} of {tuple(self.test.shape[1:])}")
        if shape is not None and self.train.shape[1:] != tuple(shape):
            raise ValueError(
                f"{train} has data of shape {tuple(self.train.shape[1:])}, and {tuple(shape)} was needed: "
                "resize them, say where their channels are, or give no shape"
            )
        try:
            others = () if test is None else (self.test,)
            self.transform = transform_of(data, *others, levels=levels, low=low, high=high)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{train}: {error}") from None


def _classes(path: str, rows: int) -> Tensor:
    y = read_array(path, axes=1)
    if y.is_floating_point() or y.shape != (rows,) or int(y.min()) < 0:
        raise ValueError(f"{path} holds {y.dtype} of shape {tuple(y.shape)}, and classes 0, 1, ... of ({rows},) rows were needed")
    return y.long()


def read_like(path: str, transform: Images | Standardize, shape: tuple[int, ...]) -> Tensor:
    """The rows of a file, in the layout in which a row has the given shape. transform says what their numbers mean.

    Raises:
        ValueError: when no layout gives the shape, or transform refuses the values. The message names the file.
    """
    raw = read_array(path)
    layouts: tuple[Channels, ...] = ("first", "none", "last")
    fitting = [rows for rows in (as_rows(raw, layout) for layout in layouts) if tuple(rows.shape[1:]) == shape]
    if not fitting:
        raise ValueError(f"{path} has shape {tuple(raw.shape)}, and the model's data are {shape}")
    try:
        _checked(fitting[0], transform)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return fitting[0]


def as_rows(data: Tensor, channels: Channels = "auto") -> Tensor:
    """Data (N, C, *space) from data in any layout that `Arrays` knows.

    Raises:
        ValueError: when channels is not a layout.
    """
    if channels not in ("auto", "first", "last", "none"):
        raise ValueError(f"{channels=} is not known: use 'auto', 'first', 'last' or 'none'")
    integers = not data.is_floating_point()
    if channels == "none" or (channels == "auto" and integers and data.ndim == 3):
        return data[:, None]
    grows = channels == "auto" and integers and data.ndim == 4 and data.shape[3] <= 4 < data.shape[1]
    return data.movedim(-1, 1) if channels == "last" or grows else data


def levels_of(largest: int, dtype: torch.dtype) -> int:
    """The number of levels of integers with a largest value: 256 or 65,536 when its upper half is used, else one more than largest.

    >>> levels_of(1, torch.int64), levels_of(16, torch.uint8), levels_of(250, torch.uint8), levels_of(60000, torch.int32)
    (2, 17, 256, 65536)
    """
    whole = 256 if dtype == torch.uint8 else 65536
    return whole if whole // 2 <= largest < whole else max(largest + 1, 2)


def transform_of(
    data: Tensor, *more: Tensor, levels: int | None = None, low: float = -1.0, high: float = 1.0
) -> Images | Standardize:
    """The transform of data and of more rows: `Images` for integers, `Standardize` for real numbers, with the moments of data.

    Raises:
        TypeError: when levels are given for real numbers, or data and more rows have different kinds of numbers.
        ValueError: when a value is not finite or not a level.
    """
    transform: Images | Standardize
    if data.is_floating_point():
        if levels is not None:
            raise TypeError(
                f"its values are of type {data.dtype}, and integers 0..{levels - 1} were needed: round and convert them, "
                "or leave levels out, for a density in nats"
            )
        transform = Standardize.of(data)
    else:
        transform = Images(_levels(data, *more) if levels is None else levels, low, high)
        _checked(data, transform)
    for rows in more:
        _checked(rows, transform)
    return transform


def _levels(*sets: Tensor) -> int:
    """The number of levels of integers. Reading bytes stops at the first value in the upper half, which decides it."""
    largest = 0
    for part in (part for data in sets for part in chunks(data)):
        largest = max(largest, int(part.max()))
        if part.dtype == torch.uint8 and largest >= 128:
            break
    return levels_of(largest, sets[0].dtype)


def _checked(data: Tensor, transform: Images | Standardize) -> None:
    if data.dtype == torch.uint8 and transform.levels == 256:
        return  # every byte is a level
    for part in chunks(data):
        transform.check(part)
