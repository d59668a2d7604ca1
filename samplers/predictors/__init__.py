"""Steps back in time, a file for each algorithm that has a paper."""

from samplers.predictors.ancestral import Ancestral
from samplers.predictors.dpm_solver import DPMSolver
from samplers.predictors.euler_maruyama import EulerMaruyama
from samplers.predictors.reverse_diffusion import ReverseDiffusion

__all__ = ["Ancestral", "DPMSolver", "EulerMaruyama", "ReverseDiffusion"]
