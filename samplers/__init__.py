"""Samplers: predictors, correctors, time grids and constraints, and the exact law of their output on Gaussian data."""

from samplers import correctors, predictors
from samplers.algorithm import Corrector, Predictor, Step
from samplers.constraints import Inpaint
from samplers.correctors import *  # noqa: F403
from samplers.grids import From, Grid, Karras, LogSNR, Quadratic, Respaced, Table, Uniform
from samplers.impulse import ImpulseResponse, impulse_response
from samplers.latents import ProgressiveFrame, interpolate, progressive, slerp
from samplers.predictors import *  # noqa: F403
from samplers.sampler import FlowSampler, Frame, Sampler, Samples
from samplers.thresholding import Threshold
from samplers.torch_sde import TorchSDE
from sde_lib.deprecated import renamed

__all__ = [
    *correctors.__all__,  # type: ignore[attr-defined]
    *predictors.__all__,  # type: ignore[attr-defined]
    "Corrector",
    "FlowSampler",
    "Frame",
    "From",
    "Grid",
    "ImpulseResponse",
    "Inpaint",
    "Karras",
    "LogSNR",
    "Predictor",
    "ProgressiveFrame",
    "Quadratic",
    "Respaced",
    "Sampler",
    "Samples",
    "Step",
    "Table",
    "Threshold",
    "TorchSDE",
    "Uniform",
    "impulse_response",
    "interpolate",
    "progressive",
    "slerp",
]

__getattr__ = renamed(__name__, {"Guess": "samplers:ProgressiveFrame"})
