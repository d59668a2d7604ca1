"""Versions of a run's files: the newest under its own name, older ones with their steps in their names."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from models.files import write_atomically

__all__ = ["newest_readable", "older_versions", "remove_partial_files", "replace_and_keep"]

T = TypeVar("T")


def replace_and_keep(path: Path, step: int | None, keep: int, write: Callable[[Path], object]) -> None:
    """Write a new version of a file, keep the old one as <name>-<step>.<ending>, and delete all but keep - 1 old versions.

    step is the step of the old file. When it is None, the old file is not kept. At every moment a whole file has the name itself.
    """
    if step is not None and keep > 1 and path.exists():
        aside = path.with_name(f"{path.stem}-{step}{path.suffix}")
        aside.unlink(missing_ok=True)
        try:
            os.link(path, aside)
        except OSError:  # a file system without hard links
            write_atomically(aside, lambda temporary: shutil.copy(path, temporary))
    write(path)
    for old in older_versions(path)[keep - 1 :]:
        old.unlink()


def older_versions(path: Path) -> list[Path]:
    """The older versions of a file, newest first, by the steps in their names: time stamps may be wrong."""
    found = {p.stem.removeprefix(f"{path.stem}-"): p for p in path.parent.glob(f"{path.stem}-*{path.suffix}")}
    return [found[step] for step in sorted(filter(str.isdecimal, found), key=int, reverse=True)]


def newest_readable(path: Path, read: Callable[[Path], T]) -> tuple[Path, T]:
    """The newest version of a file that read can read, and the result of read. A warning on stderr says when it is an older one.

    Raises:
        ValueError: when read raises it for every version; the error is that of the newest.
    """
    found = [p for p in (path, *older_versions(path)) if p.exists()]
    errors: list[ValueError] = []
    for candidate in found or [path]:
        try:
            result = read(candidate)
        except ValueError as error:
            errors.append(error)
            continue
        if candidate != path:
            why = str(errors[0]).split(";")[0] if errors else f"{path} is missing"
            print(f"{why}: {candidate.name}, the one before, is used", file=sys.stderr)
        return candidate, result
    raise errors[0]


def remove_partial_files(folder: Path, *names: str) -> None:
    """Remove the partial files of such names that a killed process left. The caller must hold the folder's lock."""
    for name in names:
        for path in folder.glob(f".{name}*.tmp"):
            shutil.rmtree(path, ignore_errors=True)
