"""Moves that keep the law at one time."""

from samplers.correctors.langevin import Langevin

__all__ = ["Langevin"]
