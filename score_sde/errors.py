"""Errors that end a command with one sentence, and helpers that write such sentences."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["Interrupted", "RunError", "UsageError", "first_line", "nearest"]

ALIKE = 0.75  # the least similarity (difflib's ratio) at which one name counts as a misspelling of another


class UsageError(Exception):
    """The command cannot be carried out as it was given: exit code 2."""


class RunError(Exception):
    """The command was valid and failed: exit code 1."""


class Interrupted(Exception):
    """Training was interrupted and has saved: exit code 130. step is the number of steps taken."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def first_line(error: BaseException) -> str:
    """The first line of an error's message, preceded by the error's type unless the message is a sentence of its own.

    >>> first_line(ValueError("too long")), first_line(KeyError("x"))
    ('too long', "KeyError: 'x'")
    """
    first = str(error).strip().split("\n")[0]
    sentences = (UsageError, RunError, ValueError, TypeError, RuntimeError, OSError)
    readable = isinstance(error, sentences) and not isinstance(error, SyntaxError)
    return first if first and readable else f"{type(error).__name__}: {first}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known key that a misspelled name most likely means, or None.

    A key matches by its last part or by the initials of that part, then by one of its words, then by similar spelling.

    >>> nearest("train.lr", ["train.flip", "train.learning_rate"]), nearest("step", ["steps"]), nearest("momentum", ["clip"])
    ('train.learning_rate', 'steps', None)
    """
    *section, last = name.split(".")

    def likeness(key: str) -> tuple[float, bool, bool]:
        *own, leaf = key.split(".")
        words = leaf.split("_")
        if last == leaf or (len(words) > 1 and last == "".join(word[0] for word in words)):
            alike = 1.0
        else:
            alike = 0.95 if last in words else difflib.SequenceMatcher(None, last, leaf).ratio()
        return alike, own == section, own == ["train"]

    best = max(known, key=likeness)
    return best if likeness(best)[0] >= ALIKE else None
