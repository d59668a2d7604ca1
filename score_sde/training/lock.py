"""Locks: one training at a time in a folder, and one process at a time that makes a file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from score_sde.errors import UsageError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK_NAME", "exclusive_lock", "wait_for_lock"]

LOCK_NAME = ".lock"


@contextlib.contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel releases it when the process ends, also when it is killed.

    A file system without locks gives no protection.

    Raises:
        UsageError: when another process holds the lock.
    """
    with open(folder / LOCK_NAME, "ab") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"another process is training in {folder}: wait for its end, or name another folder") from None
            except OSError:
                pass
        yield


@contextlib.contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Wait for the lock of a file, and hold it. The file is created if it does not exist."""
    with open(path, "ab") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
