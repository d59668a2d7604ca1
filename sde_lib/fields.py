"""Checks of the fields of a dataclass against their annotations: a word of a Literal, or a number."""

from __future__ import annotations

from dataclasses import fields
from numbers import Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor

__all__ = ["check_choice", "check_choices", "check_numbers"]


def check_choice(owner: str, name: str, value: object, literal: Any) -> None:
    """Check that the value of a setting is one of the words of a Literal. The error names the owner and the words.

    Raises:
        ValueError: when the value is another.

    >>> check_choice("plot", "axis", "x", Literal["x", "y"])
    """
    words = get_args(literal)
    if value not in words:
        raise ValueError(f"{owner} got {name}={value!r}, which is not known: use one of {', '.join(map(repr, words))}")


def check_choices(settings: Any) -> None:
    """Check every field of a dataclass that is declared as a Literal. Its __post_init__ calls this.

    Raises:
        ValueError: when a field holds another word.
    """
    for name, hint in get_type_hints(type(settings)).items():
        if get_origin(hint) is Literal:
            check_choice(type(settings).__name__, name, getattr(settings, name), hint)


def check_numbers(settings: Any) -> None:
    """Check that every field declared as exactly float or int holds a number. The dataclass's __post_init__ calls this.

    Raises:
        TypeError: when a field holds something else. The size of the number is not checked.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.type in ("float", "int", float, int) and not isinstance(value, Real | Tensor):
            raise TypeError(f"{type(settings).__name__} got {field.name}={value!r}, and a number was needed")
