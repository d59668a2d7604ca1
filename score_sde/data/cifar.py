"""CIFAR-10 from the archive of its authors."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sde_lib import Images

__all__ = ["CIFAR10"]

NAMES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
# The globals that a pickle of an array needs; any other is refused.
SAFE = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class CIFAR10:
    """60,000 colour pictures, uint8 (N, 3, 32, 32), of which 10,000 are the test set, from cifar-10-python.tar.gz or its folder.

    With classes=True, train_y and test_y are the classes, 0 to 9. The pickles of the archive are read without running their code.

    Raises:
        ValueError: when a file is missing or damaged. The message names the file.

    Reference: Krizhevsky, 2009, Learning multiple layers of features from tiny images.

    >>> CIFAR10("nowhere")
    Traceback (most recent call last):
    ...
    ValueError: there is no nowhere: give cifar-10-python.tar.gz, or the folder cifar-10-batches-py
    """

    def __init__(self, path: str, low: float = -1.0, high: float = 1.0, classes: bool = False) -> None:
        self.transform = Images(256, low, high)
        files = _files(Path(path))
        batches = {part: [_batch(path, name, files) for name in NAMES[part]] for part in NAMES}
        self.train, self.test = (torch.cat([pictures for pictures, _ in batches[part]]) for part in ("train", "test"))
        if classes:
            self.train_y, self.test_y = (torch.cat([y for _, y in batches[part]]) for part in ("train", "test"))


def _files(path: Path) -> dict[str, bytes]:
    """The contents of the batch files by name."""
    names = [name for part in NAMES.values() for name in part]
    if path.is_dir():
        inner = path / "cifar-10-batches-py"
        folder = inner if inner.is_dir() else path
        return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    if not path.is_file():
        raise ValueError(f"there is no {path}: give cifar-10-python.tar.gz, or the folder cifar-10-batches-py")
    try:
        with tarfile.open(path) as archive:
            members = {Path(member.name).name: member for member in archive if member.isfile()}
            return {name: archive.extractfile(members[name]).read() for name in names if name in members}  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{path} is no archive of CIFAR-10, or damaged ({error})") from None


def _batch(path: str, name: str, files: dict[str, bytes]) -> tuple[Tensor, Tensor]:
    """The pictures of a batch and their classes."""
    try:
        content = _Unpickler(io.BytesIO(files[name]), encoding="bytes").load()
        pictures = torch.from_numpy(np.array(content[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32))
        return pictures, torch.tensor(content[b"labels"], dtype=torch.long)
    except Exception as error:  # whatever a damaged pickle raises
        raise ValueError(f"{path}: {name} is missing, damaged, or no batch of CIFAR-10 ({type(error).__name__}: {error})") from None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in SAFE:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return super().find_class(module, name)
