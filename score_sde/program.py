"""How this program was started, so that its messages recommend commands that work."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path

__all__ = ["command", "foreign_package", "program"]


def program() -> str:
    """The text before a command's name: `python run.py --mode`, `python -m score_sde` or `score-sde`."""
    called = Path(sys.argv[0])
    if called.name == "run.py":
        return "python run.py --mode"
    return "python -m score_sde" if called.parts[-2:] == ("score_sde", "__main__.py") else "score-sde"


def command(name: str, *, sde: str | None = None, workdir: Path | None = None, trust: bool = False) -> str:
    """The command line that runs a command, quoted for the shell.

    >>> command("sample", sde="vp(beta_max=10.0)", workdir=Path("runs/vp digits"))
    "score-sde sample --sde 'vp(beta_max=10.0)' --workdir 'runs/vp digits'"
    """
    process = f" --sde {shlex.quote(sde)}" if sde else ""
    folder = f" --workdir {shlex.quote(str(workdir))}" if workdir else ""
    folder += " --trust" if trust else ""
    if program() == "python run.py --mode":  # as the README has it: the process first
        return f"python run.py{process} --mode {name}{folder}"
    return f"{program()} {name}{process}{folder}"


def foreign_package() -> str | None:
    """An error message when Python finds another project's `models` or `configs` before ours; else None."""
    here = Path(__file__).resolve().parents[1]
    for name in ("models", "configs"):
        spec = importlib.util.find_spec(name)
        if spec is None:
            return f"Python does not find {name!r}, which is part of this project: install it again"
        found = Path(spec.origin or next(iter(spec.submodule_search_locations or ["nowhere"]))).resolve()
        if not found.is_relative_to(here):
            return f"{name!r} was found at {found}, which is not part of this project: run from another folder"
    return None
