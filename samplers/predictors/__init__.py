"""Predictors: steps back in time, one file for each paper. One line below makes a predictor public, here and in samplers."""

from typing import TYPE_CHECKING

from samplers.predictors.ancestral import Ancestral as Ancestral
from samplers.predictors.ddim import DDIM as DDIM
from samplers.predictors.dpm_solver import DPMSolver as DPMSolver
from samplers.predictors.euler_maruyama import EulerMaruyama as EulerMaruyama
from samplers.predictors.heun import Heun as Heun
from samplers.predictors.reverse_diffusion import ReverseDiffusion as ReverseDiffusion
from samplers.predictors.runge_kutta import StochasticRungeKutta as StochasticRungeKutta
from samplers.predictors.sde_dpm_solver import SDEDPMSolver as SDEDPMSolver
from samplers.predictors.unipc import UniPC as UniPC

if not TYPE_CHECKING:  # a type checker follows the lines above, and could not follow this one
    __all__ = [name for name, value in globals().items() if isinstance(value, type)]
