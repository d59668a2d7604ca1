"""Work in batches that survives an interruption: each batch is a file, and processes share the batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.files import write_atomically
from score_sde.errors import UsageError
from score_sde.progress import progress_bar
from score_sde.training.ranks import Ranks

__all__ = ["do_batches", "read_batches", "save_npz"]


def do_batches(
    folder: Path, job: dict[str, Any], starts: range, make: Callable[[int], dict[str, Any]], ranks: Ranks, what: str
) -> None:
    """Call make(start) for each start without a readable file in folder, and write its arrays there.

    job describes, in JSON, what the results depend on. Ranks share the starts, and wait for each other at the end.

    Raises:
        UsageError: when the folder holds batches of another job.
        KeyboardInterrupt: when it is interrupted, with the number of batches that are kept.
    """
    folder = folder.resolve()
    _claim(folder, job)
    mine = starts[ranks.rank :: ranks.world]
    left = [start for start in mine if not _is_readable(_file(folder, start))]
    done_before, silent = len(mine) - len(left), ranks.rank > 0
    bar = progress_bar(left, total=len(mine), description=what, unit=" batches", initial=done_before, leave=False, disable=silent)
    try:
        for start in bar:
            save_npz(_file(folder, start), **make(start))
    except KeyboardInterrupt:
        done = sum(_file(folder, start).exists() for start in starts)
        raise KeyboardInterrupt(f"{done} of {len(starts)} batches are kept in {folder}") from None
    ranks.barrier()


def read_batches(folder: Path, starts: range) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of each batch, in the order of the starts."""
    for start in starts:
        with np.load(_file(folder, start)) as part:
            yield dict(part)


def save_npz(path: Path, **arrays: Any) -> None:
    """Write named arrays to a .npz file atomically."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)

    write_atomically(path, write)


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start:09d}.npz"


def _is_readable(path: Path) -> bool:
    """Whether the file of a batch exists and is undamaged."""
    try:
        with open(path, "rb") as file, np.load(file) as part:
            return all(part[name] is not None for name in part.files)  # reading an array verifies its checksum
    except Exception:  # numpy and zipfile raise many types for a damaged file
        return False


def _claim(folder: Path, job: dict[str, Any]) -> None:
    """Record the job in its folder, and refuse a folder that holds another job."""
    record = folder / "job.json"
    if record.exists():
        try:
            found = dict(json.loads(record.read_text()))
        except (TypeError, ValueError):
            raise UsageError(f"{record} is damaged: delete the folder {folder}, or name another --out") from None
        for key, value in job.items():
            if found.get(key) != value:
                raise UsageError(
                    f"{folder} holds a part of another job ({key} {found.get(key)}, and now {value}): "
                    "finish it with the command that began it, delete that folder, or name another --out"
                )
    write_atomically(record, lambda path: path.write_text(json.dumps(job, indent=2) + "\n"))
