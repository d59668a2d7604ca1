"""Integer images of one's own, from .npy files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sde_lib import Images

__all__ = ["Arrays"]


class Arrays:
    """An array of integers 0..levels-1, (N, *shape), in a .npy file; without a file of its own the last tenth is the test set.

    (N, height, width) becomes (N, 1, height, width). low and high are the ends of what the levels mean, as in Images. shape is
    what a row must have; where it is known the file may be left out, and there are no rows: enough to build and count, no more.
    Raises ValueError, naming the file, for anything else: files that are not there or not .npy, floats, values outside the
    levels, fewer than ten rows, a test set that is empty or of another shape.

    >>> Arrays(train="nowhere.npy")
    Traceback (most recent call last):
    ...
    ValueError: there is no file nowhere.npy
    """

    def __init__(
        self,
        train: str | None = None,
        test: str | None = None,
        levels: int = 256,
        low: float = -1.0,
        high: float = 1.0,
        shape: Sequence[int] | None = None,
    ) -> None:
        self.transform = Images(levels, low, high)
        if train is None:
            if shape is None or test is not None:
                raise ValueError("a file is needed: give train='mine.npy'")
            self.train = self.test = torch.zeros(0, *shape, dtype=torch.uint8)
            return
        data = self.read(train, self.transform)
        if len(data) < 10:
            raise ValueError(f"{train} has {len(data)} rows, and at least ten were needed")
        held_out = len(data) // 10
        self.train, self.test = (data[:-held_out], data[-held_out:]) if test is None else (data, self.read(test, self.transform))
        if not self.train[0].numel() or not len(self.test):
            raise ValueError(f"{train if len(self.test) else test} has shape {tuple(self.test.shape)}, and holds nothing")
        if self.train.shape[1:] != self.test.shape[1:]:
            raise ValueError(f"{train} has data of shape {tuple(self.train.shape[1:])}, and {test} of {tuple(self.test.shape[1:])}")
        if shape is not None and self.train.shape[1:] != tuple(shape):
            raise ValueError(
                f"{train} has data of shape {tuple(self.train.shape[1:])}, and {tuple(shape)} was needed: "
                "resize them or move their axes, or set config.data without shape"
            )

    @staticmethod
    def read(path: str, images: Images) -> Tensor:
        """The integers in a .npy file, (N, *shape). Raises ValueError, naming the file, for anything else."""
        if not Path(path).is_file():
            raise ValueError(f"there is no file {path}")
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, OSError, EOFError):
            raise ValueError(f"{path} is not an array of numbers that numpy.load can read without pickle") from None
        if not isinstance(array, np.ndarray) or array.ndim < 2:
            raise ValueError(f"{path} does not hold one array of shape (rows, *shape)")
        if array.dtype.kind not in "iu":
            bad = int(np.size(array) - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0
            also = f", {bad} of them NaN or infinite" if bad else ""
            raise ValueError(
                f"{path} has values of dtype {array.dtype}{also}, and integers 0..{images.levels - 1} were needed: "
                "round and convert them, or use Standardize and log_likelihood, in nats, in Python"
            )
        data = torch.from_numpy(array.astype(np.int64))
        try:
            images.check(data)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        data = data.to(torch.uint8 if images.levels <= 256 else torch.int64)
        return data[:, None] if data.ndim == 3 else data
