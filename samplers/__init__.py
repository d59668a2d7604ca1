"""Reverse-time algorithms: one loop, the steps it takes, the grids it walks, and the exact law of what it gives."""

from samplers.algorithm import Corrector, Predictor, Step
from samplers.constraints import Inpaint
from samplers.correctors import Langevin
from samplers.impulse import ImpulseResponse, impulse_response
from samplers.predictors import Ancestral, DPMSolver, EulerMaruyama, ReverseDiffusion
from samplers.sampler import FlowSampler, Frame, Sampler, Samples
from samplers.times import LogSNR, Quadratic, Uniform

__all__ = [
    "Ancestral",
    "Corrector",
    "DPMSolver",
    "EulerMaruyama",
    "FlowSampler",
    "Frame",
    "ImpulseResponse",
    "Inpaint",
    "Langevin",
    "LogSNR",
    "Predictor",
    "Quadratic",
    "ReverseDiffusion",
    "Sampler",
    "Samples",
    "Step",
    "Uniform",
    "impulse_response",
]
