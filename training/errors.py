"""Errors that end a command with one sentence."""

__all__ = ["Failure", "Usage"]


class Usage(Exception):  # noqa: N818  (it is what the user did, and reads as such)
    """The command cannot be carried out as it was given: exit code 2."""


class Failure(Exception):  # noqa: N818
    """The command was right and did not succeed: exit code 1."""
