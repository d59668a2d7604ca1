"""CIFAR-10 from the archive of its authors."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sde_lib import Images

__all__ = ["CIFAR10"]

NAMES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
LARGEST = 1 << 26  # bytes of a file in the archive; the authors' have 31 MB
WHOLE = 1 << 29  # bytes of the unpacked archive; the authors' has 186 MB


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
        found = {name: folder / name for name in names if (folder / name).is_file()}
        for file in found.values():
            _require_size(file, file.stat().st_size, LARGEST)
        return {name: file.read_bytes() for name, file in found.items()}
    if not path.is_file():
        raise ValueError(f"there is no {path}: give cifar-10-python.tar.gz, or the folder cifar-10-batches-py")
    try:
        with _Unpacked(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
            return {
                Path(member.name).name: archive.extractfile(member).read()  # type: ignore[union-attr]
                for member in archive
                if member.isfile() and Path(member.name).name in names
            }
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path} is no archive of CIFAR-10, or damaged ({error})") from None


def _require_size(path: Path, size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"{path} unpacks to {size:,} bytes or more, and less than {most:,} were needed: get another copy")


class _Unpacked(io.RawIOBase):
    """The bytes of an archive, decompressed. A read of more than LARGEST bytes, or beyond WHOLE, is refused."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            head = file.read(2)
        opener: Any = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}.get(head, open)
        self._path, self._file = path, opener(path, "rb")

    def read(self, size: int = -1) -> bytes:
        _require_size(self._path, LARGEST + 1 if size < 0 else size, LARGEST)
        _require_size(self._path, self._file.tell() + size, WHOLE)
        content: bytes = self._file.read(size)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        _require_size(self._path, offset if whence == 0 else WHOLE + 1, WHOLE)
        return int(self._file.seek(offset))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


def _batch(path: str, name: str, files: dict[str, bytes]) -> tuple[Tensor, Tensor]:
    """The pictures of a batch and their classes."""
    try:
        content = _Unpickler(files[name]).load()
        pictures, labels = content[b"data"].pictures, content[b"labels"]
        if len(labels) != len(pictures) or not all(type(label) is int and 0 <= label < 10 for label in labels):
            raise ValueError(f"{len(pictures)} classes from 0 to 9 were needed")
        return pictures, torch.tensor(labels, dtype=torch.long)
    except Exception as error:  # whatever a damaged pickle raises
        raise ValueError(f"{path}: {name} is missing, damaged, or no batch of CIFAR-10 ({type(error).__name__}: {error})") from None


class _Type:
    """What stands for numpy.dtype in a batch. It accepts bytes alone."""

    def __init__(self, name: str | bytes, *_: Any) -> None:
        if name not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"its numbers are of type {name!r}, and bytes were needed")

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """What stands for numpy.ndarray in a batch. It accepts (N, 3072) bytes, and needs each of them to be in the file."""

    pictures: Tensor

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, columns, content = state
        rows, numbers = shape
        if not isinstance(dtype, _Type) or not isinstance(content, bytes) or numbers != 3072 or rows * numbers != len(content):
            raise pickle.UnpicklingError(f"it has an array {shape!r}, and (N, 3072) bytes of the file were needed")
        array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if columns else "C")
        self.pictures = torch.from_numpy(array.copy()).reshape(-1, 3, 32, 32)


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("it asks for an array of another kind")
    return _Array()


# What a pickle of an array names, and what stands for it here; anything else is refused.
STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
}


UNPICKLER: Any = pickle._Unpickler  # the one in C takes the memory that a pickle asks for


class _Unpickler(UNPICKLER):
    """Reads a batch of CIFAR-10. Nothing that a pickle names is imported."""

    dispatch = dict(UNPICKLER.dispatch)

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._left = len(content)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return STAND_INS[module, name]

    def _encode(self, text: str, encoding: str) -> bytes:
        """Bytes, as protocol 2 writes them: no more in all than the file has."""
        self._left -= len(text)
        if encoding not in ("latin1", b"latin1") or self._left < 0:
            raise pickle.UnpicklingError("it asks for more bytes than it has")
        return text.encode("latin1")

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], (_Array, _Type)):
            raise pickle.UnpicklingError("it changes what is no array")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build
    del dispatch[pickle.BYTEARRAY8[0]]  # it takes its memory before it reads
