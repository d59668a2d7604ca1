"""The application: from a config to a trained, sampled and scored model in a folder; and fit, training from Python."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = ["fit"]


class _Training(ModuleType):
    """A package whose fit is the function, though a file has that name too; torch is imported when it is asked for."""

    @property
    def fit(self) -> Any:
        from training.fit import fit

        return fit

    @fit.setter
    def fit(self, module: ModuleType) -> None:
        """Python puts the module of the file here when it is imported, and the function stays."""


sys.modules[__name__].__class__ = _Training
