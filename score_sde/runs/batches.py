"""Work in batches that outlives a kill: each batch a file, done by one process or several, read again when all are there."""

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
    """Have make(start) called for each start whose file is not in folder yet, and its arrays written there.

    job says, in JSON, on what the results depend: a folder that holds a part of another job is refused with UsageError. Processes
    share the starts, and leave together when all are done. A KeyboardInterrupt on the way says what is kept.
    """
    folder = folder.resolve()
    _claim(folder, job)
    mine = starts[ranks.rank :: ranks.world]
    left = [start for start in mine if not _is_whole(_file(folder, start))]
    options: Any = {"initial": len(mine) - len(left), "leave": False, "disable": ranks.rank > 0}
    try:
        for start in progress_bar(left, total=len(mine), description=what, unit=" batches", **options):
            save_npz(_file(folder, start), **make(start))
    except KeyboardInterrupt:
        done = sum(_file(folder, start).exists() for start in starts)
        raise KeyboardInterrupt(f"{done} of {len(starts)} batches are kept in {folder}") from None
    ranks.barrier()


def read_batches(folder: Path, starts: range) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of each start, in order."""
    for start in starts:
        with np.load(_file(folder, start)) as part:
            yield dict(part)


def save_npz(path: Path, **arrays: Any) -> None:
    """Write named arrays, whole or not at all."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)

    write_atomically(path, write)


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start:09d}.npz"


def _is_whole(path: Path) -> bool:
    """Whether a batch is there to be read; one that was damaged is done again."""
    try:
        with open(path, "rb") as file, np.load(file) as part:
            return all(part[name] is not None for name in part.files)  # each with its checksum
    except Exception:  # whatever damage makes numpy and zipfile say
        return False


def _claim(folder: Path, job: dict[str, Any]) -> None:
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
