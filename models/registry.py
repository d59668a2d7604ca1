"""The registry of networks: the names that checkpoints and configs have for a class, and the decorator that enters it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

__all__ = ["NETWORKS", "SHORT_NAMES", "network"]

N = TypeVar("N", bound=nn.Module)
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

NETWORKS: dict[str, type[nn.Module]] = {}
"""Registered classes by their class names, which checkpoints store."""

SHORT_NAMES: dict[str, str] = {}
"""Registered classes, each as "module:Class", by their short names, which configs store."""


def network(short_name: str | None = None) -> Callable[[type[N]], type[N]]:
    """A class decorator that registers a network: checkpoints store it by its class name, configs by its short name.

    Each instance keeps the arguments of its constructor in `arguments`: defaults too, and tuples and tensors as lists.
    `load` builds the network from these, once the module of its class is imported. No file makes `load` import a module.
    A class without a short name is for checkpoints alone.

    Raises:
        TypeError: when the constructor takes *args, **kwargs or an argument without a name.
        ValueError: when another class has one of the two names.

    >>> from models import MLP
    >>> MLP((2,), width=8).arguments["depth"]
    3
    """

    def register(cls: type[N]) -> type[N]:
        place = f"{cls.__module__}:{cls.__qualname__}"
        construct = cls.__init__
        signature = inspect.signature(construct)
        unnamed = [parameter for parameter in signature.parameters.values() if parameter.kind not in NAMED]
        if unnamed:
            raise TypeError(f"the constructor of {cls.__name__} takes '{unnamed[0]}': give each argument a name of its own")
        _refuse_taken(cls.__name__, _place(NETWORKS.get(cls.__name__)), place)
        _refuse_taken(short_name, SHORT_NAMES.get(short_name or ""), place)

        @functools.wraps(construct)
        def construct_and_keep(self: N, *args: Any, **kwargs: Any) -> None:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            arguments = {name: _as_json(value) for name, value in list(bound.arguments.items())[1:]}
            construct(self, *args, **kwargs)
            # Last, in place of those of a registered base class.
            self.arguments = arguments  # type: ignore[assignment]

        cls.__init__ = construct_and_keep  # type: ignore[assignment, method-assign]
        NETWORKS[cls.__name__] = cls
        if short_name is not None:
            SHORT_NAMES[short_name] = place
        return cls

    return register


def _place(cls: type | None) -> str | None:
    return None if cls is None else f"{cls.__module__}:{cls.__qualname__}"


def _refuse_taken(name: str | None, holder: str | None, place: str) -> None:
    """Refuse a name that another class holds. The same class may come again, as it does when a notebook's cell is run twice."""
    if holder not in (None, place):
        raise ValueError(
            f"the network {place} cannot be registered as {name!r}, which is the name of {holder}: choose another name"
        )


def _as_json(value: Any) -> Any:
    """A value as JSON gives it back: lists in place of tuples and tensors."""
    if isinstance(value, Tensor):
        return value.tolist()
    return [_as_json(item) for item in value] if isinstance(value, (list, tuple)) else value
