"""Files that are written atomically, and whose checksums show damage."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["clear_dead", "commit", "read_metadata", "read_tensors", "write_atomically", "write_tensors"]

SUMS = "checksums"


@functools.cache
def commit() -> str | None:
    """The git commit of this code, with "-dirty" if files were changed since; None without a repository of its own."""
    root = Path(__file__).resolve().parent.parent
    options: Any = {"capture_output": True, "text": True, "timeout": 10}
    if not (root / ".git").exists():  # installed, perhaps somewhere below another repository
        return None
    try:
        said = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"], **options)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically, with a checksum of each tensor and of the metadata.

    The checksum is CRC-32, the fastest of Python's library. It is for accidents, and misses one in 2^32.
    """
    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    sums = _sums_of(own) | {"": _sum_of_text(metadata)}
    write_atomically(path, lambda temporary: save_file(own, temporary, metadata | {SUMS: json.dumps(sums)}))


def read_metadata(path: str | Path, file: Any) -> dict[str, str]:
    """The metadata of an open safetensors file, as given to write_tensors.

    Raises:
        ValueError: when the metadata do not have their checksum.
    """
    metadata: dict[str, str] = dict(file.metadata() or {})
    sums = _sums(path, metadata)
    metadata.pop(SUMS, None)
    if sums.get("", _sum_of_text(metadata)) != _sum_of_text(metadata):
        raise _damaged(path, "what it says of itself")
    return metadata


def read_tensors(path: str | Path, file: Any, names: Iterable[str]) -> dict[str, Tensor]:
    """Tensors of an open safetensors file, by name.

    A file without checksums, from another program or an older version, is read unchecked.

    Raises:
        ValueError: when a tensor does not have its checksum.
    """
    written = _sums(path, file.metadata() or {})
    tensors = {name: file.get_tensor(name) for name in names}
    for name, found in _sums_of(tensors).items() if written else ():
        if written.get(name) != found:
            raise _damaged(path, name)
    return tensors


def _sums(path: str | Path, metadata: Mapping[str, str]) -> dict[str, str]:
    try:
        return dict(json.loads(metadata.get(SUMS, "{}")))
    except (ValueError, TypeError):
        raise _damaged(path, "the list of checksums") from None


def _damaged(path: str | Path, what: str) -> ValueError:
    return ValueError(f"{path} is damaged: {what} has another checksum than when it was written; use another copy")


def _sums_of(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    with ThreadPoolExecutor() as pool:  # zlib lets go of the interpreter's lock
        return dict(zip(tensors, pool.map(_sum_of, tensors.values()), strict=True))


def _sum_of(tensor: Tensor) -> str:
    what = zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    return f"{zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, what):08x}"


def _sum_of_text(metadata: Mapping[str, str]) -> str:
    return f"{zlib.crc32(json.dumps(metadata, sort_keys=True).encode()):08x}"


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call write(temporary path), sync the file, and rename it to path: a crash leaves the old file or the new one.

    The temporary path is in a folder of its own, .<name>.<machine>.<process>.tmp. Safetensors makes temporary files too,
    under names of its own, and a killed process leaves them behind; clear_dead removes them with the folder.
    """
    path = Path(path)
    apart = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    apart.mkdir(parents=True, exist_ok=True)
    try:
        write(apart / path.name)
        with contextlib.suppress(PermissionError):  # of disks that keep none, such as FAT
            os.chmod(apart / path.name, apart.stat().st_mode & 0o666)  # as open does; safetensors' are for their owner alone
        _sync(apart / path.name)
        os.replace(apart / path.name, path)
        if os.name == "posix":
            _sync(path.parent)  # the renaming itself
    finally:
        shutil.rmtree(apart, ignore_errors=True)


def clear_dead(folder: Path) -> None:
    """Remove the unfinished files that write_atomically left in a folder, of processes of this machine that have ended."""
    for path in folder.glob(f".*.{platform.node()}.*.tmp"):
        process = path.name.split(".")[-2]
        if process.isdecimal() and not _alive(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    """Whether a process runs. On systems other than POSIX, where asking could end it, the answer is yes."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows syncs what can be written alone
    try:
        os.fsync(number)
    finally:
        os.close(number)
