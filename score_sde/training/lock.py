"""Locks: one training at a time in a folder, one command at a time that writes a file, one process that makes a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from score_sde.errors import UsageError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK_NAME", "exclusive_lock", "passing_lock", "wait_for_lock"]

LOCK_NAME = ".lock"


@contextlib.contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel releases it when the process ends, also when it is killed.

    A file system without locks gives no protection.

    Raises:
        UsageError: when another process holds the lock.
    """
    with open(folder / LOCK_NAME, "ab") as file:
        _take(file, f"another process is training in {folder}: wait for its end, or name another folder")
        yield


@contextlib.contextmanager
def passing_lock(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of a file that is there only while the lock is held. A killed process leaves the file, and no lock.

    Raises:
        UsageError: with the message refusal, when another process holds the lock.
    """
    with _open_locked(path, refusal):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows removes no open file
                path.unlink()  # before the lock is released, so that nobody holds the lock of a file that is gone


def _open_locked(path: Path, refusal: str) -> IO[bytes]:
    """The file of a lock, opened and locked. The last holder may have removed it in between: then it is made again."""
    while True:
        file = open(path, "ab")  # noqa: SIM115  (closed by the caller)
        try:
            _take(file, refusal)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        except UsageError:
            file.close()
            raise
        file.close()


def _take(file: IO[bytes], refusal: str) -> None:
    """Lock an open file, and refuse when another process holds its lock. A file system without locks gives no protection."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(refusal) from None
        except OSError:
            pass


@contextlib.contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Wait for the lock of a file, and hold it. The file is created if it does not exist."""
    with open(path, "ab") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
