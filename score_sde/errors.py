"""Errors that end a command with one sentence."""

__all__ = ["Failure", "Usage", "in_a_line"]


class Usage(Exception):
    """The command cannot be carried out as it was given: exit code 2."""


class Failure(Exception):
    """The command was right and did not succeed: exit code 1."""


def in_a_line(error: BaseException) -> str:
    """The first line of what an error says, with its kind before it where that is not one made to be read.

    >>> in_a_line(ValueError("too long")), in_a_line(KeyError("x"))
    ('too long', "KeyError: 'x'")
    """
    first = str(error).strip().split("\n")[0]
    ours = isinstance(error, (Usage, Failure, ValueError, TypeError, RuntimeError, OSError)) and not isinstance(error, SyntaxError)
    return first if first and ours else f"{type(error).__name__}: {first}"
