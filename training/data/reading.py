"""Arrays from files, mapped into memory rather than read wherever the format allows it."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.files import write_atomically
from training.errors import in_a_line

__all__ = ["ENDINGS", "cached", "chunks", "read_array"]

CACHE = Path("runs/data")
SMALL = 1 << 30  # bytes of a compressed array that are simply held in memory
WIDENED = {torch.bool, torch.uint16, torch.uint32, torch.uint64}  # of which torch knows no maximum
CHUNK = 1 << 24  # entries that are looked at at once


def chunks(data: Tensor) -> list[Tensor]:
    """Rows of data in parts of about 2^24 entries, so that what is mapped from a file need not fit into memory."""
    return list(data.split(max(1, CHUNK // max(1, math.prod(data.shape[1:])))))


def cached(what: Any, shape: tuple[int, ...], dtype: Any, fill: Callable[[np.ndarray], object]) -> Tensor:
    """The array that fill writes, made once: kept in runs/data/ under a name that is a digest of what it is, and mapped."""
    digest = hashlib.sha256(json.dumps([what, shape, str(np.dtype(dtype))]).encode()).hexdigest()[:16]
    path = CACHE / f"{digest}.npy"

    def write(temporary: Path) -> None:
        array = np.lib.format.open_memmap(temporary, "w+", dtype, shape)
        fill(array)
        array.flush()

    if not path.exists():
        write_atomically(path, write)
    return _tensor(np.load(path, mmap_mode="r"))


def read_array(path: str | Path, key: str | None = None, axes: int = 2) -> Tensor:
    """The array in a .npy, .npz, .pt, .h5 or .zarr file, (N, *shape), of so many axes at least; key names one of several.

    .npy, .pt and uncompressed .h5 are mapped; of others more than 1 GiB is unpacked once, into runs/data/. Raises ValueError,
    naming the file, for what is not there, cannot be read without running code, or is no array of numbers.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path} is of no kind that is known here: give {', '.join(ENDINGS)}, or a folder of pictures")
    try:
        found = ENDINGS[path.suffix](path)
        array = _one(path, found, key) if isinstance(found, Mapping) or hasattr(found, "keys") else found
        data = array if isinstance(array, Tensor) and array.dtype not in WIDENED else _mapped(path, array)
    except ImportError as error:
        raise ValueError(f"{path} needs the package {error.name}: pip install {error.name}") from None
    except (OSError, EOFError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        if str(path) in str(error):
            raise ValueError(str(error)) from None
        raise ValueError(
            f"{path} is damaged, or holds no array that can be read without running code ({in_a_line(error)[:200]})"
        ) from None
    if data.ndim < axes:
        raise ValueError(f"{path} holds an array of shape {tuple(data.shape)}, and (rows, *shape) was needed")
    return data


def _one(path: Path, found: Any, key: str | None) -> Any:
    names = sorted(found.keys())
    if key is None and len(names) != 1:
        raise ValueError(f"{path} holds {', '.join(names) or 'nothing'}: say which, as in arrays(train='{path}', key='...')")
    if key is not None and key not in names:
        raise ValueError(f"{path} holds no {key!r}: it has {', '.join(names)}")
    return found[names[0] if key is None else key]


def _mapped(path: Path, array: Any) -> Tensor:
    """A numpy array as it is; one of h5py or zarr mapped, read, or unpacked into a file that is."""
    if isinstance(array, (np.ndarray, Tensor)):
        return _tensor(np.asarray(array))
    if not hasattr(array, "shape"):
        raise TypeError(f"it holds a {type(array).__name__}, and an array was needed")
    offset = array.id.get_offset() if getattr(array, "chunks", None) is None and hasattr(array, "id") else None
    if offset is not None:
        return _tensor(np.memmap(path, array.dtype, "r", offset, array.shape))
    if math.prod(array.shape) * array.dtype.itemsize <= SMALL:
        return _tensor(np.asarray(array[:]))
    facts = path.stat()
    step = max(1, CHUNK // math.prod(array.shape[1:]))

    def fill(out: np.ndarray) -> None:
        for start in range(0, len(out), step):
            out[start : start + step] = array[start : start + step]

    what = [str(path.resolve()), getattr(array, "name", ""), facts.st_size, facts.st_mtime_ns]
    return cached(what, array.shape, array.dtype.newbyteorder("="), fill)


def _tensor(array: np.ndarray) -> Tensor:
    """A numpy array as a tensor, without a copy where torch has the type and the order of bytes."""
    if array.dtype.kind not in "biuf":
        raise TypeError(f"its values are of type {array.dtype}, and numbers were needed")
    if not array.dtype.isnative or array.dtype.kind == "b" or array.dtype.name in ("uint16", "uint32", "uint64", "longdouble"):
        wide = {"b": "uint8", "u": "int64", "f": "float64", "i": array.dtype.newbyteorder("=").name}
        array = array.astype("int32" if array.dtype.name == "uint16" else wide[array.dtype.kind])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # what is mapped is read, and never written
        return torch.from_numpy(array)


def _npz(path: Path) -> Any:
    with open(path, "rb") as file:  # of a damaged file numpy leaves its own open
        return dict(np.load(file, allow_pickle=False))


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
    ".npz": _npz,
    ".pt": lambda path: torch.load(path, map_location="cpu", weights_only=True, mmap=True),
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".zarr": _zarr,
}
