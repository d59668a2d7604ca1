"""Layers that networks share."""

from .attention import AttentionPool, SelfAttention
from .embedding import (
    Condition,
    Embedding,
    Fourier,
    LabelFeatures,
    NoiseEmbedding,
    Octaves,
    Sinusoid,
    conditions,
    refuse_unknown,
)
from .initial import fan_average, zero_init
from .instance_norm import InstanceNormPlus
from .pyramids import COMBINE, EMITTERS, JOINS
from .refine import NormedBlock, RefineBlock, Unnormed
from .resampling import FIRDown, FIRUp, Untold, conv_down, conv_up
from .residual import ResidualBlock
from .style import Style, group_norm

__all__ = [
    "COMBINE",
    "EMITTERS",
    "JOINS",
    "AttentionPool",
    "Condition",
    "Embedding",
    "FIRDown",
    "FIRUp",
    "Fourier",
    "InstanceNormPlus",
    "LabelFeatures",
    "NoiseEmbedding",
    "NormedBlock",
    "Octaves",
    "RefineBlock",
    "ResidualBlock",
    "SelfAttention",
    "Sinusoid",
    "Style",
    "Unnormed",
    "Untold",
    "conditions",
    "conv_down",
    "conv_up",
    "fan_average",
    "group_norm",
    "refuse_unknown",
    "zero_init",
]
