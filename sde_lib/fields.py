"""Fields of dataclasses checked against their annotations: one of a few words, or a number."""

from __future__ import annotations

from dataclasses import fields
from numbers import Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor

__all__ = ["check_choice", "check_choices", "check_numbers"]


def check_choice(owner: Any, name: str, value: object, literal: Any) -> None:
    """Raise ValueError, naming owner and the words, when the value of a setting is none of the words of a Literal.

    >>> check_choice("plot", "axis", "x", Literal["x", "y"])
    """
    words = get_args(literal)
    if value not in words:
        *others, last = map(repr, words)
        raise ValueError(f"{owner!r}: {name} {', '.join(others)} or {last} is needed")


def check_choices(settings: Any) -> None:
    """The same for all fields of a dataclass that are declared as a Literal: to be called by its __post_init__."""
    for name, hint in get_type_hints(type(settings)).items():
        if get_origin(hint) is Literal:
            check_choice(settings, name, getattr(settings, name), hint)


def check_numbers(settings: Any) -> None:
    """Raise TypeError where a field that is declared as float or int holds no number: to be called by __post_init__.

    The values are not looked at, and None or other types that an annotation allows are not of these fields.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.type in ("float", "int", float, int) and not isinstance(value, Real | Tensor):
            raise TypeError(f"{type(settings).__name__} got {field.name}={value!r}, and a number was needed")
