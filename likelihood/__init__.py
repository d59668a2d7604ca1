"""Densities: log p by the probability flow, its bounds, and bits/dim of images, with their errors."""

from likelihood.bits import BitsPerDim, bits_per_dim
from likelihood.bounds import RateDistortion, VariationalBits, variational_bound
from likelihood.dequantize import TruncatedNormal, UniformDequantizer, Variational
from likelihood.divergence import Exact, Hutchinson, Probing
from likelihood.flow import LogLikelihood, log_likelihood
from likelihood.planning import Budget, plan
from likelihood.sde_bound import SDEBits, SDEBound, sde_bits_per_dim, sde_bound
from sde_lib.data import Images
from sde_lib.deprecated import renamed

__all__ = [
    "BitsPerDim",
    "Budget",
    "Exact",
    "Hutchinson",
    "Images",
    "LogLikelihood",
    "Probing",
    "RateDistortion",
    "SDEBits",
    "SDEBound",
    "TruncatedNormal",
    "UniformDequantizer",
    "Variational",
    "VariationalBits",
    "bits_per_dim",
    "log_likelihood",
    "plan",
    "sde_bits_per_dim",
    "sde_bound",
    "variational_bound",
]

__getattr__ = renamed(__name__, {"Uniform": "likelihood:UniformDequantizer"})
