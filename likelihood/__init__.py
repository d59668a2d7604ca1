"""Densities: log p by the probability flow, its bounds, and bits/dim of images, with their errors."""

from likelihood.bits import BitsPerDim, bits_per_dim
from likelihood.bounds import VariationalBits, variational_bound
from likelihood.dequantize import Uniform
from likelihood.divergence import Exact, Hutchinson
from likelihood.flow import LogLikelihood, log_likelihood
from likelihood.sde_bound import SDEBits, SDEBound, sde_bits_per_dim, sde_bound
from sde_lib.data import Images

__all__ = [
    "BitsPerDim",
    "Exact",
    "Hutchinson",
    "Images",
    "LogLikelihood",
    "SDEBits",
    "SDEBound",
    "Uniform",
    "VariationalBits",
    "bits_per_dim",
    "log_likelihood",
    "sde_bits_per_dim",
    "sde_bound",
    "variational_bound",
]
