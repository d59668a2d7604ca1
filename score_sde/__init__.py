"""The application: `fit` trains from Python, and the program `score-sde` trains, samples and scores models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from score_sde.training.fitting import fit

__all__ = ["fit"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import `fit` when it is first used, so that --help does not wait for torch."""
    if name != "fit":
        raise AttributeError(f"score_sde has no {name!r}: it has fit, and its sub-packages")
    from score_sde.program import foreign_package

    message = foreign_package()
    if message is not None:
        raise ImportError(message)
    from score_sde.training.fitting import fit

    return fit
