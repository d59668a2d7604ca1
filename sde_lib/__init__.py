"""Processes, parameterizations, score models, losses, integrators, random numbers, and data whose exact law is known."""

from sde_lib.base import SDE
from sde_lib.binomial import BinomialDiffusion
from sde_lib.data import Images, Standardize
from sde_lib.gaussian import Gaussian
from sde_lib.implicit import ImplicitScoreMatching, SlicedScoreMatching
from sde_lib.linear import LinearSDE
from sde_lib.losses import DenoisingScoreMatching
from sde_lib.moved import Moved
from sde_lib.noise import RowNoise
from sde_lib.oracles import GaussianOracle, MixtureOracle, PointsOracle
from sde_lib.parameterizations import EDM, Data, Epsilon, PreviousMean, ScaledScore, Score, V, Velocity, WithVariance
from sde_lib.planar import CheckerboardOracle, RingOracle
from sde_lib.prediction import Prediction
from sde_lib.processes import VESDE, VPSDE, GeometricVPSDE, KarrasSDE, RectifiedFlow, SubVPSDE
from sde_lib.reverse import ReverseSDE
from sde_lib.schedules import CosineBeta, LinearBeta
from sde_lib.score import ScoreModel
from sde_lib.solution import Unfinished
from sde_lib.tabulated import Tabulated
from sde_lib.training_times import ImportanceTime, LogNormalTime, LossAwareTime, LowDiscrepancy, UniformTime
from sde_lib.variational import Hybrid, VariationalBound
from sde_lib.weightings import EDMWeighting, MinSNR

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
    "EDMWeighting",
    "Epsilon",
    "Gaussian",
    "GaussianOracle",
    "GeometricVPSDE",
    "Hybrid",
    "Images",
    "ImplicitScoreMatching",
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
    "PointsOracle",
    "Prediction",
    "PreviousMean",
    "RectifiedFlow",
    "ReverseSDE",
    "RingOracle",
    "RowNoise",
    "ScaledScore",
    "Score",
    "ScoreModel",
    "SlicedScoreMatching",
    "Standardize",
    "SubVPSDE",
    "Tabulated",
    "Unfinished",
    "UniformTime",
    "V",
    "VariationalBound",
    "Velocity",
    "WithVariance",
]
