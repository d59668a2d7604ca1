"""Work in batches that survives an interruption: each batch is a file, and processes share the batches."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from models.files import write_atomically
from score_sde.errors import UsageError
from score_sde.progress import progress_bar
from score_sde.training.lock import passing_lock
from score_sde.training.ranks import Ranks

__all__ = ["do_batches", "kept_batches", "on_rank_zero", "read_batches", "refuse_another_job", "save_npz"]

RECORD, DIGEST = "job.json", "job"  # the description of a job in its folder, and the array with its digest in each batch


@contextmanager
def kept_batches(stem: Path, ranks: Ranks) -> Iterator[Path]:
    """The folder stem.parts for the batches of a command, which alone may write the files that are named after stem.

    The folder is removed when the command has succeeded, or has failed before its first batch. Ranks share it.

    Raises:
        UsageError: when another command writes files of that name.
    """
    parts = stem.with_name(f"{stem.name}.parts")
    refusal = f"another command is writing {stem.resolve()}: wait for its end, or name another --out"
    with ExitStack() as held:

        def enter() -> None:
            new = [folder for folder in stem.parents if not folder.exists()]
            held.callback(_remove_empty, new)
            stem.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(passing_lock(stem.with_name(f".{stem.name}.lock"), refusal))

        on_rank_zero(ranks, enter)
        try:
            yield parts
        except BaseException:
            if ranks.rank == 0 and not any(_batches(parts, "**/")):
                _delete(parts)
            raise
        ranks.barrier()
        if ranks.rank == 0:
            _delete(parts)


def do_batches(
    folder: Path, job: dict[str, Any], starts: range, make: Callable[[int], dict[str, Any]], ranks: Ranks, what: str
) -> None:
    """Call make(start) for each start without a batch of this job in folder, and write its arrays there.

    job describes, in JSON, what the results depend on. A digest of job, what and start is in each file. Ranks share the starts,
    and wait for each other at the end.

    Raises:
        UsageError: when the folder holds batches of another job.
        KeyboardInterrupt: when it is interrupted, with the number of batches that are kept.
    """
    folder = folder.resolve()
    on_rank_zero(ranks, lambda: _claim(folder, job))
    mine = starts[ranks.rank :: ranks.world]
    digests = {start: _digest(job, what, start) for start in mine}
    left = [start for start in mine if not _is_of(_file(folder, start), digests[start])]
    done_before, silent = len(mine) - len(left), ranks.rank > 0
    bar = progress_bar(left, total=len(mine), description=what, unit=" batches", initial=done_before, leave=False, disable=silent)
    try:
        for start in bar:
            save_npz(_file(folder, start), **make(start), **{DIGEST: digests[start]})
    except KeyboardInterrupt:
        done = sum(_file(folder, start).exists() for start in starts)
        raise KeyboardInterrupt(f"{done} of {len(starts)} batches are kept in {folder}") from None
    ranks.barrier()


def read_batches(folder: Path, starts: range) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of each batch, in the order of the starts."""
    for start in starts:
        with np.load(_file(folder, start)) as part:
            yield {name: part[name] for name in part.files if name != DIGEST}


def refuse_another_job(parts: Path, job: dict[str, Any]) -> None:
    """Refuse a folder when another job has left batches in it or in a folder inside it. Keys that a record lacks are not compared.

    Raises:
        UsageError: when there are batches of another job, or their record is damaged.
    """
    for record in sorted(parts.rglob(RECORD)):
        folder = record.parent
        if not any(_batches(folder)):
            continue
        try:
            found = dict(json.loads(record.read_text()))
        except (TypeError, ValueError, RecursionError):
            raise UsageError(f"{record} is damaged: delete the folder {folder}, or name another --out") from None
        for key, value in found.items():
            if job.get(key) != value:
                raise UsageError(
                    f"{folder} holds a part of another job ({key} {value}, and now {job.get(key)}): "
                    "finish it with the command that began it, delete that folder, or name another --out"
                )


def save_npz(path: Path, **arrays: Any) -> None:
    """Write named arrays to a .npz file atomically."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)

    write_atomically(path, write)


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start:09d}.npz"


def _batches(folder: Path, below: str = "") -> Iterator[Path]:
    """The files of batches in a folder."""
    found = folder.glob(f"{below}{'[0-9]' * 9}*.npz")
    return (path for path in found if path.stem.isdecimal() and path.parent.suffix != ".tmp")


def _digest(job: dict[str, Any], what: str, start: int) -> str:
    return hashlib.sha256(json.dumps([job, what, start], sort_keys=True).encode()).hexdigest()


def _is_of(path: Path, digest: str) -> bool:
    """Whether the file of a batch exists, is undamaged, and holds the digest."""
    try:
        with open(path, "rb") as file, np.load(file) as part:
            arrays = {name: part[name] for name in part.files}  # reading an array verifies its checksum
        return str(arrays[DIGEST]) == digest
    except Exception:  # numpy and zipfile raise many types for a damaged file
        return False


def _claim(folder: Path, job: dict[str, Any]) -> None:
    """Record the job in its folder, and refuse a folder that holds another job. Batches without a record are removed."""
    refuse_another_job(folder, job)
    if not (folder / RECORD).exists():
        for path in _batches(folder):
            path.unlink()
    write_atomically(folder / RECORD, lambda path: path.write_text(json.dumps(job, indent=2) + "\n"))


def _delete(parts: Path) -> None:
    """Remove a folder of batches. The records go last, so that a kill leaves no batches without a record."""
    for path in parts.rglob("*"):
        if path.name != RECORD and not path.is_dir():
            path.unlink(missing_ok=True)
    shutil.rmtree(parts, ignore_errors=True)


def _remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders that are empty, the innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def on_rank_zero(ranks: Ranks, call: Callable[[], None]) -> None:
    """Call a function on rank 0, and raise its error on every rank."""
    error: Exception | None = None
    if ranks.rank == 0:
        try:
            call()
        except Exception as raised:
            error = raised
    error = ranks.broadcast(error)
    if error is not None:
        raise error
