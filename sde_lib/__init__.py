"""The mathematics: processes, what networks predict, losses, integrators, randomness, and data whose truth is known."""

from sde_lib.base import SDE
from sde_lib.data import Images, Standardize
from sde_lib.gaussian import Gaussian
from sde_lib.linear import LinearSDE
from sde_lib.losses import DenoisingScoreMatching
from sde_lib.moved import Moved
from sde_lib.noise import RowNoise
from sde_lib.oracles import GaussianOracle, MixtureOracle
from sde_lib.parameterizations import EDM, Data, Epsilon, PreviousMean, Score, V, Velocity, WithVariance
from sde_lib.prediction import Prediction
from sde_lib.processes import VESDE, VPSDE, GeometricVPSDE, KarrasSDE, RectifiedFlow, SubVPSDE
from sde_lib.reverse import ReverseSDE
from sde_lib.schedules import CosineBeta, LinearBeta
from sde_lib.score import ScoreModel
from sde_lib.tabulated import Tabulated
from sde_lib.times import ImportanceTime, LogNormalTime, LossAwareTime, LowDiscrepancy, UniformTime
from sde_lib.variational import Hybrid, VariationalBound
from sde_lib.weightings import EDMWeighting, MinSNR

__all__ = [
    "EDM",
    "SDE",
    "V",
    "VESDE",
    "VPSDE",
    "CosineBeta",
    "Data",
    "DenoisingScoreMatching",
    "EDMWeighting",
    "Epsilon",
    "Gaussian",
    "GaussianOracle",
    "GeometricVPSDE",
    "Hybrid",
    "Images",
    "ImportanceTime",
    "KarrasSDE",
    "LinearBeta",
    "LinearSDE",
    "LogNormalTime",
    "LossAwareTime",
    "LowDiscrepancy",
    "MinSNR",
    "MixtureOracle",
    "Moved",
    "Prediction",
    "PreviousMean",
    "RectifiedFlow",
    "ReverseSDE",
    "RowNoise",
    "Score",
    "ScoreModel",
    "Standardize",
    "SubVPSDE",
    "Tabulated",
    "UniformTime",
    "VariationalBound",
    "Velocity",
    "WithVariance",
]
