"""Data sets: each a class that says what its numbers mean."""

from training.data.arrays import Arrays
from training.data.digits import Digits
from training.data.idx import FashionMNIST, Idx

__all__ = ["Arrays", "Digits", "FashionMNIST", "Idx"]
