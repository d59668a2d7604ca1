"""The application: training from Python by `fit`, and the program `score-sde`, which trains, samples and scores models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from score_sde.training.fitting import fit

__all__ = ["fit"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """`fit`, imported when it is first used, so that --help does not wait for torch."""
    if name != "fit":
        raise AttributeError(f"score_sde has no {name!r}: it has fit, and its sub-packages")
    from score_sde.program import stranger

    found = stranger()
    if found is not None:
        raise ImportError(found)
    from score_sde.training.fitting import fit

    return fit
