"""Densities: log p by the probability flow, and bits/dim of images, with their errors."""

from likelihood.bits import BitsPerDim, bits_per_dim
from likelihood.bounds import RateDistortion, VariationalBits, variational_bound
from likelihood.dequantize import Uniform
from likelihood.divergence import Exact, Hutchinson
from likelihood.flow import LogLikelihood, log_likelihood
from sde_lib.data import Images

__all__ = [
    "BitsPerDim",
    "Exact",
    "Hutchinson",
    "Images",
    "LogLikelihood",
    "RateDistortion",
    "Uniform",
    "VariationalBits",
    "bits_per_dim",
    "log_likelihood",
    "variational_bound",
]
