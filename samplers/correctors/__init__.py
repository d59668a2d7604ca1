"""Correctors: moves that keep the law at one time. One line below makes a corrector public, here and in samplers."""

from typing import TYPE_CHECKING

from samplers.correctors.annealed import AnnealedLangevin as AnnealedLangevin
from samplers.correctors.langevin import Langevin as Langevin
from samplers.correctors.metropolis import Metropolis as Metropolis
from samplers.correctors.unadjusted import Unadjusted as Unadjusted

if not TYPE_CHECKING:  # a type checker follows the lines above, and could not follow this one
    __all__ = [name for name, value in globals().items() if isinstance(value, type)]
