"""What a command may import: every class that its command line names, and of a run's folder the registered names alone."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Trust", "current_trust", "reading_a_folder", "trust_of_command"]

# Flags that are components, each with its kind.
KINDS = {
    "sde": "sde",
    "data": "data",
    "objective": "objective",
    "parameterization": "parameterization",
    "sampler": "sampler",
    "predictor": "sampler.predictor",
    "corrector": "sampler.corrector",
    "times": "sampler.times",
}


@dataclass(frozen=True)
class Trust:
    """What the command line says: everything is trusted, or the classes in texts, which are pairs (kind, component)."""

    everything: bool = False
    texts: tuple[tuple[str, str], ...] = ()


_TRUST: ContextVar[Trust] = ContextVar("_TRUST", default=Trust())  # noqa: B039  (frozen)
_FOLDER: ContextVar[bool] = ContextVar("_FOLDER", default=False)


@contextmanager
def trust_of_command(arguments: argparse.Namespace, overrides: Sequence[tuple[str, str]]) -> Iterator[None]:
    """A context in which one command runs, with the trust that its flags and overrides give."""
    given = {flag: text for flag in KINDS if (text := getattr(arguments, flag, None))}
    if Path(given.get("data", ".")).exists():  # a file's name is not the user's word
        given.pop("data", None)
    flags = tuple((KINDS[flag], text) for flag, text in given.items())
    keys = tuple((key.rpartition(".")[2], text) for key, text in overrides)
    trust, folder = _TRUST.set(Trust(getattr(arguments, "trust", False), flags + keys)), _FOLDER.set(False)
    try:
        yield
    finally:
        _TRUST.reset(trust)
        _FOLDER.reset(folder)


def reading_a_folder() -> None:
    """Say that from here on texts may come from a run's folder."""
    _FOLDER.set(True)


def current_trust() -> Trust:
    """The trust of the command that runs. Before it reads a run's folder, everything comes from the user."""
    return _TRUST.get() if _FOLDER.get() else Trust(everything=True)
