"""Steps back in time, a file for each algorithm that has a paper."""

from samplers.predictors.ancestral import Ancestral
from samplers.predictors.ddim import DDIM
from samplers.predictors.dpm_solver import DPMSolver
from samplers.predictors.euler_maruyama import EulerMaruyama
from samplers.predictors.heun import Heun
from samplers.predictors.reverse_diffusion import ReverseDiffusion
from samplers.predictors.runge_kutta import StochasticRungeKutta
from samplers.predictors.sde_dpm_solver import SDEDPMSolver
from samplers.predictors.unipc import UniPC

__all__ = [
    "DDIM",
    "Ancestral",
    "DPMSolver",
    "EulerMaruyama",
    "Heun",
    "ReverseDiffusion",
    "SDEDPMSolver",
    "StochasticRungeKutta",
    "UniPC",
]
