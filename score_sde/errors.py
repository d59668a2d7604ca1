"""Errors that end a command with one sentence, and what their sentences are made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["Interrupted", "RunError", "UsageError", "first_line", "nearest"]

ALIKE = 0.75  # the part of two words' letters from which one is taken for the other misspelled


class UsageError(Exception):
    """The command cannot be carried out as it was given: exit code 2."""


class RunError(Exception):
    """The command was right and did not succeed: exit code 1."""


class Interrupted(Exception):
    """Training was asked to stop, and has saved; step is the last step that was taken: exit code 130."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def first_line(error: BaseException) -> str:
    """The first line of what an error says, with its kind before it where that is not one made to be read.

    >>> first_line(ValueError("too long")), first_line(KeyError("x"))
    ('too long', "KeyError: 'x'")
    """
    first = str(error).strip().split("\n")[0]
    sentences = (UsageError, RunError, ValueError, TypeError, RuntimeError, OSError)
    readable = isinstance(error, sentences) and not isinstance(error, SyntaxError)
    return first if first and readable else f"{type(error).__name__}: {first}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The key that a name is most likely meant for: of that last part or those initials, a word of it, or spelled alike; or None.

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
