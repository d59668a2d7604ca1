"""Parameterizations: the quantity a x0 + b eps that a network is trained to predict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from sde_lib.fields import check_choices
from sde_lib.linear import Level, LinearSDE, posterior_coefficients
from sde_lib.prediction import Coefficient
from sde_lib.tabulated import require_table
from sde_lib.tensors import as_time

__all__ = [
    *("EDM", "LABELS", "Data", "Epsilon", "Parameterization", "PreviousMean", "ScaledScore", "Score"),
    *("V", "Velocity", "WithVariance"),
]


def _table(label: str, sde: LinearSDE) -> Any:
    return require_table(sde, f"label={label!r}", otherwise="label='time'")


def _index_of_1000(sde: Any, t: Tensor) -> Tensor:
    return _table("index_of_1000", sde).fractional_index(t) * (1000 / sde.full_length)


LABELS: dict[str, Callable[[LinearSDE, Tensor], Tensor]] = {
    "time": lambda sde, t: 999 * as_time(t) / sde.T,
    "index": lambda sde, t: _table("index", sde).index(t),
    "fractional_index": lambda sde, t: _table("fractional_index", sde).fractional_index(t),
    "index_of_1000": _index_of_1000,
    "sigma": lambda sde, t: sde.at(t).sigma,
    "log_sigma": lambda sde, t: -sde.at(t).log_snr / 8,
    "log_half_sigma": lambda sde, t: (0.5 * sde.at(t).sigma).log(),
}
"""The ways to tell a network how noisy its input is: 999 t/T; the index in a table, an integer; the same as a real number, which
is smooth between the levels, where adaptive solvers look; that rescaled to a table of 1000 (improved-diffusion's
rescale_timesteps); sigma; log(sigma/alpha)/4; or log(sigma/2) (EDM's for VE)."""


@dataclass(frozen=True)
class Parameterization(ABC):
    """The quantity that a network predicts. label names the noise label that the network is given, one of LABELS.

    The default, log(sigma/alpha)/4, tells all noise levels apart equally well. The label 999 t does not at small t. With it the
    adaptive solvers needed four times as many evaluations on the same network.

    Raises:
        ValueError: when the label is not known.
    """

    label: str = "log_sigma"
    outputs: ClassVar[int] = 1  # numbers that the network answers for each entry of the state

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise ValueError(f"label {self.label!r} is not known: use one of {', '.join(map(repr, LABELS))}")

    @abstractmethod
    def target(self, sde: LinearSDE, t: Tensor, level: Level) -> tuple[Coefficient, Coefficient]:
        """(a, b): the network is asked for a x0 + b eps. level is sde.at(t)."""

    def scale(self, level: Level) -> Coefficient:
        """The factor of x in the network's input."""
        return 1.0

    def noise_label(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """The time input of the network, shaped like t."""
        return LABELS[self.label](sde, t)

    def split(self, output: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The output of which target speaks, and the further arguments of Prediction: log_variance, or variance_fraction."""
        return output, {}


@dataclass(frozen=True)
class Epsilon(Parameterization):
    """The network predicts the noise eps. Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equation 12.

    >>> Epsilon(label="index")
    Epsilon(label='index')
    """

    def target(self, sde: LinearSDE, t: Tensor, level: Level) -> tuple[Coefficient, Coefficient]:
        """(0, 1)."""
        return 0.0, 1.0


@dataclass(frozen=True)
class Data(Parameterization):
    """The network predicts the data x0. Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, section 3.2.

    >>> Data().target(None, None, None)
    (1.0, 0.0)
    """

    def target(self, sde: LinearSDE, t: Tensor, level: Level) -> tuple[Coefficient, Coefficient]:
        """(1, 0)."""
        return 1.0, 0.0


@dataclass(frozen=True)
class Score(Parameterization):
    """The network predicts the score, -eps / sigma. Reference: Song and Ermon, 2019, arXiv 1907.05600, equation 5.

    >>> Score(label="sigma")
    Score(label='sigma')
    """

    def target(self, sde: LinearSDE, t: Tensor, level: Level) -> tuple[Coefficient, Coefficient]:
        """(0, -1/sigma)."""
        return 0.0, -1 / level.sigma


@dataclass(frozen=True)
class ScaledScore(Parameterization):
    """The network predicts sigma times the score, -eps. Reference: Karras et al., 2022, arXiv 2206.00364, table 1, column VE.

    >>> ScaledScore(label="log_half_sigma").target(None, None, None)
    (0.0, -1.0)
    """

    def target(self, sde: LinearSDE, t: Tensor, level: Level) -> tuple[Coefficient, Coefficient]:
        """(0, -1)."""
        return 0.0, -1.0


@dataclass(frozen=True)
class V(Parameterization):
    """The network predicts v = alpha eps - sigma x0. Reference: Salimans and Ho, 2022, arXiv 2202.00512, section 4.

    >>> V()
    V(label='log_sigma')
    """

    def target(self, sde: LinearSDE, t: Tensor, level: Level) -> tuple[Coefficient, Coefficient]:
        """(-sigma, alpha)."""
        return -level.sigma, level.alpha


@dataclass(frozen=True)
class Velocity(Parameterization):
    """The network predicts dx/dt along x = alpha x0 + sigma eps. Reference: Lipman et al., 2023, arXiv 2210.02747, equation 13.

    >>> Velocity()
    Velocity(label='log_sigma')
    """

    def target(self, sde: LinearSDE, t: Tensor, level: Level) -> tuple[Coefficient, Coefficient]:
        """(alpha', sigma')."""
        return sde.path_slopes(t)


@dataclass(frozen=True)
class EDM(Parameterization):
    """The preconditioning whose input and target have unit variance for data of standard deviation sigma_data.

    Written for any process by its noise-to-signal ratio sigma / alpha.
    Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, table 1 and equation 7.

    >>> EDM(sigma_data=0.5)
    EDM(label='log_sigma', sigma_data=0.5)
    """

    sigma_data: float = 0.5

    def _norm(self, level: Level) -> Tensor:
        return torch.sqrt(level.sigma**2 + (self.sigma_data * level.alpha) ** 2)

    def target(self, sde: LinearSDE, t: Tensor, level: Level) -> tuple[Coefficient, Coefficient]:
        """(sigma / sigma_data, -alpha sigma_data) / sqrt(sigma^2 + alpha^2 sigma_data^2)."""
        norm = self._norm(level)
        return level.sigma / (self.sigma_data * norm), -level.alpha * self.sigma_data / norm

    def scale(self, level: Level) -> Coefficient:
        """1 / sqrt(sigma^2 + alpha^2 sigma_data^2)."""
        return 1 / self._norm(level)


@dataclass(frozen=True)
class PreviousMean(Parameterization):
    """The network predicts the mean of the state one level before, given x_t and x0; the process is a table.

    The posterior's mean c1 x0 + c2 x_t is (c1 + c2 alpha) x0 + c2 sigma eps.
    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equations 7 and 8.

    >>> from sde_lib import Tabulated
    >>> PreviousMean().target(sde := Tabulated.from_betas([0.1, 0.2]), t := sde.times[:1], sde.at(t))
    (tensor([1.], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """

    def target(self, sde: LinearSDE, t: Tensor, level: Level) -> tuple[Coefficient, Coefficient]:
        """(c1 + c2 alpha, c2 sigma), with r = SNR_t / SNR_s, c1 = alpha_s (1 - r) and c2 = r alpha_s / alpha_t."""
        of_x, of_x0, _ = posterior_coefficients(level, require_table(sde, "PreviousMean").before(t))
        return of_x0 + of_x * level.alpha, of_x * level.sigma


@dataclass(frozen=True)
class WithVariance(Parameterization):
    """Another parameterization, whose network has twice the channels (axis 1): the second half is about the variance.

    kind="log": the second half is the log-variance of a step back. kind="fraction": the second half is 2 v - 1, where v is the
    place of the log-variance between that of the posterior given x0 (v = 0) and that of the transition (v = 1); v is not bounded.

    Raises:
        ValueError: when kind is another word.

    Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672, equation 15 (fraction) and section 3.1 (log).

    >>> WithVariance(Epsilon(label="index")).split(torch.zeros(2, 6, 8, 8))[1]["variance_fraction"].shape
    torch.Size([2, 3, 8, 8])
    """

    label: str = field(default="log_sigma", init=False, repr=False)
    of: Parameterization = Epsilon()
    kind: Literal["fraction", "log"] = "fraction"
    outputs = 2

    def __post_init__(self) -> None:
        check_choices(self)

    def target(self, sde: LinearSDE, t: Tensor, level: Level) -> tuple[Coefficient, Coefficient]:
        """(a, b) of the other parameterization."""
        return self.of.target(sde, t, level)

    def scale(self, level: Level) -> Coefficient:
        """The factor of x of the other parameterization."""
        return self.of.scale(level)

    def noise_label(self, sde: LinearSDE, t: Tensor) -> Tensor:
        """The noise label of the other parameterization."""
        return self.of.noise_label(sde, t)

    def split(self, output: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The two halves along axis 1.

        Raises:
            ValueError: when the length of that axis is odd.
        """
        if output.shape[1] % 2:
            raise ValueError(
                f"WithVariance got an output of shape {tuple(output.shape)}: "
                "axis 1 must hold the prediction and, after it, as many channels about its variance"
            )
        mean, variance = output.chunk(2, dim=1)
        return mean, {"log_variance": variance} if self.kind == "log" else {"variance_fraction": (variance + 1) / 2}
