"""Images in the idx format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sde_lib import Images

__all__ = ["FashionMNIST", "Idx"]


class Idx:
    """Grey images in idx files, gzipped or not: uint8 (N, 1, height, width), 256 levels.

    Without a test file, the last tenth is the test set.

    Raises:
        ValueError: when a file is missing, damaged or of another kind. The message names the file.

    Reference: LeCun, Cortes, Burges, 1998, The MNIST database of handwritten digits (file format).

    >>> Idx(train="nowhere")
    Traceback (most recent call last):
    ...
    ValueError: there is no file nowhere
    """

    def __init__(self, train: str, test: str | None = None, low: float = -1.0, high: float = 1.0) -> None:
        self.transform = Images(256, low, high)
        data = _read(Path(train))
        held_out = max(len(data) // 10, 1)
        self.train, self.test = (data[:-held_out], data[-held_out:]) if test is None else (data, _read(Path(test)))
        if not len(self.train) or self.train.shape[1:] != self.test.shape[1:]:
            raise ValueError(f"{train} has images of shape {tuple(self.train.shape)}, and {test} of {tuple(self.test.shape)}")


class FashionMNIST(Idx):
    """70,000 pictures of clothes, 28x28 pixels, 256 grey levels, of which 10,000 are the test set, from four idx files in a folder.

    The folder is that of Debian's package dataset-fashion-mnist unless given. With classes=True, train_y and test_y are the
    classes, 0 to 9, from the two files of labels.

    Raises:
        ValueError: when a file is missing or damaged.

    Reference: Xiao, Rasul, Vollgraf, 2017, arXiv 1708.07747.

    >>> FashionMNIST(folder="nowhere")
    Traceback (most recent call last):
    ...
    ValueError: there is no nowhere/train-images-idx3-ubyte.gz: install dataset-fashion-mnist, or give folder='...'
    """

    def __init__(self, folder: str = "/usr/share/datasets/fashion-mnist", classes: bool = False) -> None:
        train, test = (Path(folder) / f"{which}-images-idx3-ubyte.gz" for which in ("train", "t10k"))
        for path in (train, test):
            if not path.is_file():
                raise ValueError(f"there is no {path}: install dataset-fashion-mnist, or give folder='...'")
        super().__init__(str(train), str(test))
        if classes:
            self.train_y, self.test_y = (
                _read_labels(Path(folder) / f"{which}-labels-idx1-ubyte.gz") for which in ("train", "t10k")
            )


def _read_labels(path: Path) -> Tensor:
    raw = _content(path)
    if raw[:4] != b"\x00\x00\x08\x01" or len(raw) != 8 + int.from_bytes(raw[4:8], "big"):
        raise ValueError(f"{path} is not an idx file of labels (bytes in one dimension), or a part of it is missing")
    return torch.from_numpy(np.frombuffer(raw[8:], dtype=np.uint8).astype(np.int64))


def _read(path: Path) -> Tensor:
    raw = _content(path)
    shape = tuple(np.frombuffer(raw[4:16], dtype=">u4").tolist())
    if raw[:4] != b"\x00\x00\x08\x03" or len(raw) != 16 + np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path} is not an idx file of images (bytes in three dimensions), or a part of it is missing")
    return torch.from_numpy(np.frombuffer(raw[16:], dtype=np.uint8).reshape(shape).copy())[:, None]


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    raw = path.read_bytes()
    try:
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is a damaged gzip file ({error}): use another copy") from None
