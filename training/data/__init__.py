"""Data sets: each a class that says what its numbers mean."""

from training.data.arrays import Arrays
from training.data.cifar import CIFAR10
from training.data.digits import Digits
from training.data.folder import Folder
from training.data.idx import FashionMNIST, Idx
from training.data.toys import Toy

__all__ = ["CIFAR10", "Arrays", "Digits", "FashionMNIST", "Folder", "Idx", "Toy"]
