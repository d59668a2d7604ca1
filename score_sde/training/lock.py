"""One training at a time in a folder, and one maker of a file."""

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
    """Hold the folder's lock; the kernel releases it when the process ends, however it ends, so that none is ever left behind.

    Where the file system has no locks there is none. Raises UsageError when another process holds it.
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
    """Hold the lock of a file, which is made if it is not there, after whoever holds it: as exclusive_lock, but waiting."""
    with open(path, "ab") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
