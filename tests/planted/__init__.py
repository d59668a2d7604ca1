"""The errors that tests must see, by what they are in."""

from tests.planted import data, faulty_networks, likelihood, networks, predictors, processes, samplers, tables, training, truths
from tests.planted.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

MUTANTS = [
    m
    for of in (data, faulty_networks, likelihood, networks, predictors, processes, samplers, tables, training, truths)
    for m in of.MUTANTS
]
