"""The errors that tests must see: each file of this folder has those of one subject, in MUTANTS."""

import importlib
import pkgutil

from tests.planted.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

SUBJECTS = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "mutant"]
MUTANTS = [mutant for name in SUBJECTS for mutant in importlib.import_module(f"{__name__}.{name}").MUTANTS]
