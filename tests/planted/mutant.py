"""What an error is that is planted to see a test fail."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A name, the file, the text that occurs there exactly once, what it becomes, and the tests that see it."""

    name: str
    file: str
    text: str
    becomes: str
    tests: str
