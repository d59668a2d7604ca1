"""The folders of runs: runs/<process>-<name>, with -2, -3, ... appended when the name is taken."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ml_collections import ConfigDict

from models.checkpoint import FILE_NAME
from score_sde.config.config import restore
from score_sde.errors import UsageError
from score_sde.program import command
from score_sde.training.store import CONFIG_NAME

__all__ = ["existing_run", "new_run"]


def new_run(name: str, workdir: Path | None) -> Path:
    """The folder for a new run: the given one, or a new one in runs/.

    The new folder is made here, so that two trainings that start at the same time get different folders.

    Raises:
        UsageError: when the given folder holds a run, or is a file.
    """
    if workdir is not None:
        if workdir.exists() and not workdir.is_dir():
            raise UsageError(f"--workdir {workdir} is a file, and a folder was needed")
        if (workdir / CONFIG_NAME).exists():
            raise UsageError(f"--workdir {workdir} holds a run: add --resume to go on with it, or name another folder")
        return workdir
    number = 1
    while True:
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def existing_run(sde: str | None, workdir: Path | None, holding: str = FILE_NAME) -> Path:
    """The folder of the given run, or of the newest run in runs/.

    sde is the name of a process, perhaps with arguments: runs of other processes are left out. holding is a file that the run
    must have. The newest run is the one whose checkpoint or config was written last. A warning on stderr says when its time
    stamp lies in the future.

    Raises:
        UsageError: when there is no such run, or the given run is of another process.
    """
    if workdir is not None:
        if not (workdir / CONFIG_NAME).is_file():
            raise UsageError(f"--workdir {workdir} is not the folder of a run: it has no {CONFIG_NAME}")
        if sde is not None and not _is_of(restore(workdir / CONFIG_NAME), sde):
            raise UsageError(f"--workdir {workdir} holds no run of process {sde!r}: leave --sde out, or name another folder")
        return workdir
    runs = [path.parent for path in Path("runs").glob(f"*/{holding}") if (path.parent / CONFIG_NAME).is_file()]
    if sde is not None:
        runs = [run for run in runs if _is_of(_readable(run), sde)]
    if not runs:
        which = "" if sde is None else f" of process {sde!r}"
        train = command("train", sde=sde or "vp")
        raise UsageError(f"there is no run{which} in {Path('runs').resolve()}: train one with {train}, or name one with --workdir")
    newest = max(runs, key=_written)
    if _written(newest) > time.time() + 60:
        print(f"{newest} was written in the future by this machine's clock: name another with --workdir", file=sys.stderr)
    return newest


def _written(run: Path) -> float:
    return max((run / name).stat().st_mtime for name in (FILE_NAME, CONFIG_NAME) if (run / name).exists())


def _readable(run: Path) -> ConfigDict:
    """The config of a run; empty when it is damaged, so that the other runs can still be found."""
    try:
        return restore(run / CONFIG_NAME)
    except UsageError:
        return ConfigDict()


def _is_of(config: ConfigDict, sde: str) -> bool:
    own, asked = ("".join(str(text).split()) for text in (config.get("sde", ""), sde))
    return own == asked if "(" in asked else own.split("(")[0] == asked
