"""The errors that tests must see, by what they are in."""

from tests.planted import data, likelihood, networks, predictors, processes, samplers, strangers, tables, training, truths
from tests.planted.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

FILES = (data, likelihood, networks, predictors, processes, samplers, strangers, tables, training, truths)
MUTANTS = [m for of in FILES for m in of.MUTANTS]
