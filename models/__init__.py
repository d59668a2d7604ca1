"""Score networks, and the files that they are kept in."""

from .adm import ADM, ADMClassifier
from .checkpoint import load, save
from .edm import DhariwalUNet, SongUNet
from .exporting import export_diffusers
from .importers import import_checkpoint, import_classifier
from .mlp import MLP
from .ncsn import NCSN, NCSNv2
from .ncsnpp import DDPM, NCSNpp
from .registry import network
from .speed import autocast, channels_last, recompute
from .unet import UNet

__all__ = [
    "ADM",
    "DDPM",
    "MLP",
    "NCSN",
    "ADMClassifier",
    "DhariwalUNet",
    "NCSNpp",
    "NCSNv2",
    "SongUNet",
    "UNet",
    "autocast",
    "channels_last",
    "export_diffusers",
    "import_checkpoint",
    "import_classifier",
    "load",
    "network",
    "recompute",
    "save",
]
