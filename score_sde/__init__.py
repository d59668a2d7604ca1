"""The application: from a config to a trained, sampled and scored model in a folder; and fit, training from Python."""

from __future__ import annotations

from typing import Any

__all__ = ["fit"]


def __getattr__(name: str) -> Any:
    """fit, imported when it is asked for: the command line's --help does not wait for torch."""
    if name != "fit":
        raise AttributeError(f"training has no {name!r}: it has fit, and its files")
    from score_sde.training.fitting import fit

    return fit
