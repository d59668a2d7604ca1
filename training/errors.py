"""Errors that end a command with one sentence."""

__all__ = ["Failure", "Usage"]


class Usage(Exception):
    """The command cannot be carried out as it was given: exit code 2."""


class Failure(Exception):
    """The command was right and did not succeed: exit code 1."""
