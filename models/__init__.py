"""Score networks, and the files that they are kept in."""

from .checkpoint import load, save
from .mlp import MLP
from .unet import UNet

__all__ = ["MLP", "UNet", "load", "save"]
