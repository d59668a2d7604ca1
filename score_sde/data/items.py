"""A data set from a map-style Dataset of torch."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from score_sde.data import reading
from score_sde.data.arrays import as_rows, transform_of
from score_sde.data.folder import on_white
from score_sde.data.reading import as_tensor, cached, new_array, type_of

__all__ = ["Items"]


class Items:
    """The items of a map-style Dataset of torch: arrays, tensors or Pillow pictures, or tuples that begin with one of these.

    The rest of a tuple, such as a label, is left out. Grey pictures keep their depth, and transparent pictures are placed on white.
    Levels and channels are found as in `Arrays`, and the last tenth is the test set. The rows are in memory; above 1 GiB they are
    decoded once into runs/data/, in a file identified by the name, the number of items and a checksum of some items.

    Raises:
        ValueError: when there are fewer than ten items, items of another kind or of different shapes, or items that change.

    >>> Items([(np.full((1, 2, 3), i), "label") for i in range(30)], "mine").test.shape
    torch.Size([3, 1, 2, 3])
    """

    def __init__(self, items: Any, name: str) -> None:
        number = len(items)
        if number < 10:
            raise ValueError(f"it has {number} items, and at least ten were needed")
        first = _array(items[0])
        if not np.array_equal(first, _array(items[0]), equal_nan=first.dtype.kind == "f"):
            raise ValueError(
                "its first item changes each time it is read: "
                "leave out random transforms, such as a mirroring, which train.flip does"
            )
        shape, dtype = (number, *first.shape), type_of(first.dtype)

        def fill(out: np.ndarray) -> None:
            for i in range(number):
                row = _array(items[i])
                if row.shape != first.shape or row.dtype != first.dtype:
                    raise ValueError(
                        f"item {i} has shape {row.shape} and type {row.dtype}, and item 0 {first.shape} and {first.dtype}: "
                        "make them alike"
                    )
                out[i] = row

        def write(file: Path) -> None:
            out = new_array(file, dtype, shape)
            fill(out)
            out.flush()

        if number * first.size * dtype.itemsize <= reading.SMALL:
            array = np.empty(shape, dtype)
            fill(array)
        else:
            some = [zlib.crc32(_array(items[i]).tobytes()) for i in range(0, number, -(-number // 16))]
            array = cached([name, shape, dtype.name, some], write)
        data = as_rows(as_tensor(array))
        held_out = number // 10
        self.train, self.test = data[:-held_out], data[-held_out:]
        self.transform = transform_of(data)


def _array(item: Any) -> np.ndarray:
    """The array of an item."""
    thing = item[0] if isinstance(item, (tuple, list)) and len(item) else item
    if isinstance(thing, Image.Image):
        whole = thing.mode in ("1", "L") or thing.mode.startswith(("I", "F"))  # Pillow's RGB would clip deep greys at 255
        picture = thing if whole and "transparency" not in thing.info else on_white(thing).convert("RGB")
        array = np.asarray(picture)
        return array.transpose(2, 0, 1) if array.ndim == 3 else array[None]
    if isinstance(thing, Tensor):
        return np.asarray(thing.detach().cpu())
    if not isinstance(thing, np.ndarray) or not thing.ndim or thing.dtype.kind not in "biuf":
        raise ValueError(
            f"an item is a {type(thing).__name__}, and a tensor, an array or a picture was needed, or a tuple with one first"
        )
    return thing
