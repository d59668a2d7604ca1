"""The old place of samplers.grids: each name still works for one minor version, with a DeprecationWarning."""

from samplers import grids
from sde_lib.deprecated import renamed

__getattr__ = renamed(__name__, {name: f"samplers.grids:{name}" for name in grids.__all__})
