"""Densities: log p by the probability flow, and bits/dim of images, with their errors."""

from likelihood.bits import BitsPerDim, bits_per_dim
from likelihood.bounds import RateDistortion, VariationalBits, variational_bound
from likelihood.budget import Budget, plan
from likelihood.dequantize import TruncatedNormal, Uniform, Variational
from likelihood.divergence import Exact, Hutchinson, Probing
from likelihood.flow import LogLikelihood, log_likelihood
from sde_lib.data import Images

__all__ = [
    "BitsPerDim",
    "Budget",
    "Exact",
    "Hutchinson",
    "Images",
    "LogLikelihood",
    "Probing",
    "RateDistortion",
    "TruncatedNormal",
    "Uniform",
    "Variational",
    "VariationalBits",
    "bits_per_dim",
    "log_likelihood",
    "plan",
    "variational_bound",
]
