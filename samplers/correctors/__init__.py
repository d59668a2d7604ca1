"""Moves that keep the law at one time."""

from samplers.correctors.annealed import AnnealedLangevin
from samplers.correctors.langevin import Langevin
from samplers.correctors.metropolis import Metropolis
from samplers.correctors.unadjusted import Unadjusted

__all__ = ["AnnealedLangevin", "Langevin", "Metropolis", "Unadjusted"]
