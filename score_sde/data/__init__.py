"""Data sets. Each is a class with train and test rows and a transform that says what their numbers mean."""

from score_sde.data.arrays import Arrays
from score_sde.data.cifar import CIFAR10
from score_sde.data.digits import Digits
from score_sde.data.folder import Folder
from score_sde.data.idx import FashionMNIST, Idx
from score_sde.data.toys import Toy

__all__ = ["CIFAR10", "Arrays", "Digits", "FashionMNIST", "Folder", "Idx", "Toy"]
