"""The mathematics: processes, what networks predict, losses, integrators, randomness, and data whose truth is known."""

from sde_lib.base import SDE
from sde_lib.binomial import BinomialDiffusion
from sde_lib.data import Images, Standardize
from sde_lib.gaussian import Gaussian
from sde_lib.implicit import ImplicitScoreMatching, SlicedScoreMatching
from sde_lib.linear import LinearSDE
from sde_lib.losses import DenoisingScoreMatching, ImportanceTime, UniformTime
from sde_lib.noise import RowNoise
from sde_lib.oracles import GaussianOracle, MixtureOracle, PointsOracle
from sde_lib.planar import CheckerboardOracle, RingOracle
from sde_lib.prediction import EDM, Data, Epsilon, Prediction, Score, V, Velocity, WithVariance
from sde_lib.processes import VESDE, VPSDE, SubVPSDE
from sde_lib.reverse import ReverseSDE
from sde_lib.schedules import CosineBeta, LinearBeta
from sde_lib.score import ScoreModel
from sde_lib.tabulated import Tabulated

__all__ = [
    "EDM",
    "SDE",
    "VESDE",
    "VPSDE",
    "BinomialDiffusion",
    "CheckerboardOracle",
    "CosineBeta",
    "Data",
    "DenoisingScoreMatching",
    "Epsilon",
    "Gaussian",
    "GaussianOracle",
    "Images",
    "ImplicitScoreMatching",
    "ImportanceTime",
    "LinearBeta",
    "LinearSDE",
    "MixtureOracle",
    "PointsOracle",
    "Prediction",
    "ReverseSDE",
    "RingOracle",
    "RowNoise",
    "Score",
    "ScoreModel",
    "SlicedScoreMatching",
    "Standardize",
    "SubVPSDE",
    "Tabulated",
    "UniformTime",
    "V",
    "Velocity",
    "WithVariance",
]
