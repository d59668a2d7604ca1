"""Old public names, which still work for one minor version with a DeprecationWarning."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["renamed"]


def renamed(module: str, names: dict[str, str]) -> Callable[[str], Any]:
    """The __getattr__ of a module in which names have changed: names has "module:name" for each old name.

    Raises:
        AttributeError: when the returned function is asked for any other name.

    >>> __getattr__ = renamed("sde_lib", {"Normal": "sde_lib.gaussian:Gaussian"})
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     print(__getattr__("Normal").__name__, len(caught))
    Gaussian 1
    """

    def getattribute(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        where, new = names[name].split(":")
        warnings.warn(
            f"{module}.{name} is now {where}.{new}, and the old name goes with the next minor version: use the new one",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(where), new)

    return getattribute
