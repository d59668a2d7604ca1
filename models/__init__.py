"""Score networks, and the files that they are kept in."""

from .checkpoint import load, save
from .mlp import MLP
from .ncsn import NCSN, NCSNv2
from .ncsnpp import DDPM, NCSNpp
from .unet import UNet

__all__ = ["DDPM", "MLP", "NCSN", "NCSNpp", "NCSNv2", "UNet", "load", "save"]
