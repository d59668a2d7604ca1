"""The files of a run that are kept: the newest under its own name, those before it under their steps."""

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
    """Have a file written anew, the old one kept as <name>-<step>.<ending>, and all but the newest keep - 1 of these dropped.

    A file whose step is None, not known, is not worth keeping. At every moment a whole file is there under the name itself.
    """
    if step is not None and keep > 1 and path.exists():
        aside = path.with_name(f"{path.stem}-{step}{path.suffix}")
        aside.unlink(missing_ok=True)
        try:
            os.link(path, aside)
        except OSError:  # a file system without second names
            write_atomically(aside, lambda temporary: shutil.copy(path, temporary))
    write(path)
    for old in older_versions(path)[keep - 1 :]:
        old.unlink()


def older_versions(path: Path) -> list[Path]:
    """What is kept of the times before of a file, the newest first: by the step in its name, never by a clock."""
    found = {p.stem.removeprefix(f"{path.stem}-"): p for p in path.parent.glob(f"{path.stem}-*{path.suffix}")}
    return [found[step] for step in sorted(filter(str.isdecimal, found), key=int, reverse=True)]


def newest_readable(path: Path, read: Callable[[Path], T]) -> tuple[Path, T]:
    """What read gives of a file, or, where that raises ValueError, of the newest before it that is sound, with a word on stderr.

    Raises the ValueError of the first when none is.
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
    """Remove what a killed process left half written of files with such names; the caller has to be alone in the folder."""
    for name in names:
        for path in folder.glob(f".{name}*.tmp"):
            shutil.rmtree(path, ignore_errors=True)
