"""Arrays from files, memory-mapped wherever the format allows it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.files import clear_dead, write_atomically
from score_sde.errors import RunError, first_line
from score_sde.training.faults import WRITING
from score_sde.training.lock import wait_for_lock
from sde_lib.data import chunk_rows, chunks

__all__ = ["ENDINGS", "as_tensor", "cached", "new_array", "read_array", "type_of"]

CACHE = Path("runs/data")
SMALL = 1 << 30  # an array of fewer bytes that must be converted is held in memory
UNLIKE = {torch.bool, torch.uint16, torch.uint32, torch.uint64}  # types for which torch has no maximum
DAMAGE = (OSError, EOFError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error)


def cached(what: Any, write: Callable[[Path], object]) -> np.ndarray:
    """The array in the .npy file that write makes, memory-mapped. The file is in runs/data/, and its name is a digest of what.

    When several processes ask at the same time, on one machine or on a shared disk, one writes the file and the others wait.
    Partial files of dead processes are removed before.

    Raises:
        RunError: when the disk is full or cannot be written.
    """
    path = CACHE / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        try:
            CACHE.mkdir(parents=True, exist_ok=True)
            with wait_for_lock(path.with_name(f".{path.stem}.lock")):
                if not path.exists():
                    clear_dead(CACHE)
                    write_atomically(path, write)
        except OSError as error:
            if error.errno not in WRITING:
                raise
            said = f"{CACHE.resolve()} cannot be written ({first_line(error)}), and data are unpacked there"
            raise RunError(f"{said}: make room, or begin in another folder") from error
    return np.load(path, mmap_mode="r")


def new_array(file: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file, mapped for writing. Its disk space is allocated: writing to a full disk through a map kills the process."""
    array = np.lib.format.open_memmap(file, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with open(file, "r+b") as taken:
            os.posix_fallocate(taken.fileno(), 0, file.stat().st_size)
    return array


def read_array(path: str | Path, key: str | None = None, axes: int = 2) -> Tensor:
    """The array (N, *shape) in a .npy, .npz, .pt, .h5 or .zarr file, with at least so many axes. key names one of several arrays.

    .npy, .pt and uncompressed .h5 are memory-mapped. A compressed array, or one of a type that torch does not have, is converted
    in memory; above 1 GiB it is converted once, in parts, to a file in runs/data/.

    Raises:
        ValueError: when the file does not exist, cannot be read without running code, or holds no array of numbers. The message
            names the file.
        RunError: when the converted array cannot be written.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path} has an unknown ending: give a file with {', '.join(ENDINGS)}, or a folder of pictures")
    try:
        found = ENDINGS[path.suffix](path)
        name, array = _one(path, found, key) if isinstance(found, Mapping) or hasattr(found, "keys") else ("", found)
        if not hasattr(array, "shape"):
            raise ValueError(f"{path} holds a {type(array).__name__}, and an array was needed")
        if len(array.shape) < axes:
            raise ValueError(f"{path} holds an array of shape {tuple(array.shape)}, and (rows, *shape) was needed")
        return _numbers(path, name, array)
    except ImportError as error:
        raise ValueError(f"{path} needs the package {error.name}: pip install {error.name}") from None
    except DAMAGE as error:
        said = first_line(error)
        if str(path) in said:
            raise ValueError(said) from None
        # numpy and torch advise to have the file's code run
        why = "" if any(word in said for word in ("pickle", "weights_only", "Python objects")) else f" ({said[:200]})"
        raise ValueError(f"{path} is damaged, or holds no array that can be read without running code{why}") from None


def _one(path: Path, found: Any, key: str | None) -> tuple[str, Any]:
    """The name and the array of a key, or of the only array."""
    names = sorted(found.keys())
    if key is None and len(names) != 1:
        raise ValueError(f"{path} holds {', '.join(names) or 'nothing'}: say which, as in arrays(train='{path}', key='...')")
    if key is not None and key not in names:
        raise ValueError(f"{path} holds no {key!r}: it has {', '.join(names)}")
    return (names[0], found[names[0]]) if key is None else (key, found[key])


def _numbers(path: Path, name: str, array: Any) -> Tensor:
    """An array of numpy, torch, h5py, zarr or an archive as a tensor. It is converted only when torch does not have its type."""
    if isinstance(array, Tensor):
        if not array.is_complex() and array.dtype not in UNLIKE:
            return array
        array = array.resolve_conj().numpy()
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path} holds values of type {array.dtype}, and real numbers were needed")
    offset = array.id.get_offset() if getattr(array, "chunks", None) is None and hasattr(array, "id") else None
    if offset is not None:
        array = np.memmap(path, array.dtype, "r", offset, array.shape)
    held = type_of(array.dtype)
    if isinstance(array, np.ndarray) and (array.dtype == held or (array.dtype == bool and _of_0_and_1(array))):
        return as_tensor(array)
    if math.prod(array.shape) * held.itemsize <= SMALL:
        return as_tensor(np.asarray(array[:]).astype(held))
    step = chunk_rows(array.shape)

    def write(file: Path) -> None:
        out = new_array(file, held, tuple(array.shape))
        for start in range(0, len(out), step):
            out[start : start + step] = array[start : start + step]
        out.flush()

    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    facts = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return as_tensor(cached([str(path.resolve()), name, facts, held.name], write))


def _of_0_and_1(bits: np.ndarray) -> bool:
    """Whether the bytes of booleans are 0 and 1. Pillow stores True as 255."""
    return bits.size == 0 or max(int(part.max()) for part in chunks(as_tensor(bits))) <= 1


def type_of(dtype: np.dtype) -> np.dtype:
    """The numpy type in which torch can hold values of a type and find their maximum."""
    wide = {"bool": "uint8", "uint16": "int32", "uint32": "int64", "uint64": "int64", np.dtype("longdouble").name: "float64"}
    return np.dtype(wide.get(dtype.name, dtype.newbyteorder("=")))


def as_tensor(array: np.ndarray) -> Tensor:
    """A numpy array as a tensor that shares its memory, also when it is not writable. Booleans become bytes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # mapped arrays are never written
        return torch.from_numpy(array.view(np.uint8) if array.dtype == bool else array)


class _Archive:
    """The arrays in a .npz file by name. No array is read yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            self._names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]

    def keys(self) -> list[str]:
        return self._names

    def __getitem__(self, name: str) -> _Member:
        return _Member(self.path, f"{name}.npy")


class _Member:
    """An array (N, *shape) in a .npz file. Its rows are read on demand, and in order, because it may be compressed."""

    def __init__(self, path: Path, name: str) -> None:
        self._stream = zipfile.ZipFile(path).open(name)  # noqa: SIM115  (open as long as rows are read)
        version = np.lib.format.read_magic(self._stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, columns, self.dtype = read(self._stream)
        if columns and math.prod(self.shape) * type_of(self.dtype).itemsize > SMALL:  # `_numbers` would read it in parts of rows
            raise ValueError(f"{path} holds {name} column by column, and rows were needed: save numpy.ascontiguousarray of it")
        self._order: Any = "F" if columns else "C"
        self._start = self._stream.tell()

    def __getitem__(self, rows: slice) -> np.ndarray:
        first, last, _ = rows.indices(self.shape[0])
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._stream.seek(self._start + first * size)
        content = self._stream.read((last - first) * size)
        return np.frombuffer(content, self.dtype).reshape(last - first, *self.shape[1:], order=self._order)


def _hdf5(path: Path) -> Any:
    import h5py

    found: dict[str, Any] = {}
    h5py.File(path, "r").visititems(lambda name, item: found.update({name: item} if hasattr(item, "shape") else {}))
    return found


def _zarr(path: Path) -> Any:
    import zarr

    found = zarr.open(str(path), mode="r")
    return dict(found.arrays()) if hasattr(found, "arrays") else found


ENDINGS: dict[str, Callable[[Path], Any]] = {
    ".npy": lambda path: np.load(path, mmap_mode="r", allow_pickle=False),
    ".npz": _Archive,
    ".pt": lambda path: torch.load(path, map_location="cpu", weights_only=True, mmap=True),
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".zarr": _zarr,
}
