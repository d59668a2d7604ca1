"""Networks by name: what a checkpoint stores instead of an import path."""

from __future__ import annotations

from typing import Any

__all__ = ["arguments_of"]


def arguments_of(scope: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor, from locals() on its first line, as JSON can keep them."""
    return {
        name: list(value) if isinstance(value, tuple) or hasattr(value, "numel") else value
        for name, value in scope.items()
        if name != "self" and not name.startswith("__")
    }
