"""Reverse-time algorithms: one loop, the steps it takes, the grids it walks, and the exact law of what it gives."""

from samplers.algorithm import Corrector, Predictor, Step
from samplers.constraints import Inpaint
from samplers.correctors import AnnealedLangevin, Langevin, Metropolis, Unadjusted
from samplers.impulse import ImpulseResponse, impulse_response
from samplers.latents import Guess, interpolate, progressive, slerp
from samplers.predictors import (
    DDIM,
    Ancestral,
    DPMSolver,
    EulerMaruyama,
    Heun,
    ReverseDiffusion,
    SDEDPMSolver,
    StochasticRungeKutta,
    UniPC,
)
from samplers.sampler import FlowSampler, Frame, Sampler, Samples
from samplers.thresholding import Threshold
from samplers.times import From, Karras, LogSNR, Quadratic, Respaced, Table, Uniform
from samplers.torch_sde import TorchSDE

__all__ = [
    "DDIM",
    "Ancestral",
    "AnnealedLangevin",
    "Corrector",
    "DPMSolver",
    "EulerMaruyama",
    "FlowSampler",
    "Frame",
    "From",
    "Guess",
    "Heun",
    "ImpulseResponse",
    "Inpaint",
    "Karras",
    "Langevin",
    "LogSNR",
    "Metropolis",
    "Predictor",
    "Quadratic",
    "Respaced",
    "ReverseDiffusion",
    "SDEDPMSolver",
    "Sampler",
    "Samples",
    "Step",
    "StochasticRungeKutta",
    "Table",
    "Threshold",
    "TorchSDE",
    "Unadjusted",
    "UniPC",
    "Uniform",
    "impulse_response",
    "interpolate",
    "progressive",
    "slerp",
]
