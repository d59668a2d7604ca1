"""Dequantization: laws of a point inside the bin of an integer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sde_lib.data import Images
from sde_lib.linear import Level
from sde_lib.noise import RowNoise

__all__ = ["Dequantizer", "TruncatedNormal", "UniformDequantizer", "Variational"]


class Dequantizer(Protocol):
    """A law q(x | k) on the bin of a level: log P(k) >= E log p(x) - log q(x | k), and more with several draws."""

    @property
    def draws(self) -> int: ...  # noqa: D102
    def sample(self, images: Images, codes: Tensor, noise: RowNoise, level: Level) -> tuple[Tensor, Tensor | float]: ...  # noqa: D102


@dataclass(frozen=True)
class UniformDequantizer:
    """Points uniform in the bins, draws of them for each image: log P(k) >= E log p(x) + d log(bin width).

    With more draws the bound is log of the mean of p(x) over them, which is tighter.

    Raises:
        ValueError: when draws is not a whole number of at least 1.

    Reference: Theis, van den Oord, Bethge, 2016, arXiv 1511.01844, section 3.1; Burda, Grosse, Salakhutdinov, 2016, arXiv
    1509.00519 (several draws).

    >>> UniformDequantizer(draws=4)
    UniformDequantizer(draws=4)
    """

    draws: int = 1

    def __post_init__(self) -> None:
        _require_draws(self)

    def sample(self, images: Images, codes: Tensor, noise: RowNoise, level: Level) -> tuple[Tensor, float]:
        """States for integers (B, *shape), new at each call, and -log q, the nats to add to their log-density.

        Raises:
            TypeError, ValueError: when codes are not integers of these levels, as Images.check says.
        """
        images.check(codes)
        u = noise.uniform(torch.empty(codes.shape, dtype=torch.get_default_dtype(), device=codes.device))
        return images.dequantize(codes, u), images.log_det(codes[0].numel())


@dataclass(frozen=True)
class TruncatedNormal:
    """The law of x at t_min around the bin's centre c, cut at the bin's edges: x = alpha c + sigma z, |z| < alpha w / (2 sigma).

    It is for a model trained on the centres (train.dequantize=False): the noise that the model knows takes the place of uniform
    noise. Where data saturate (black and white pixels) nothing is lost as long as sigma is less than 0.15 of a bin. With more
    draws the bound is tighter.

    Raises:
        ValueError: when draws is not a whole number of at least 1.

    Reference: Zheng, Lu, Chen, Zhu, 2023, arXiv 2305.03935 (truncated-normal dequantization).

    >>> TruncatedNormal(draws=4)
    TruncatedNormal(draws=4)
    """

    draws: int = 1

    def __post_init__(self) -> None:
        _require_draws(self)

    def sample(self, images: Images, codes: Tensor, noise: RowNoise, level: Level) -> tuple[Tensor, Tensor]:
        """States at t_min for integers (B, *shape), new at each call, and -log q of each row; errors as in UniformDequantizer."""
        centre = images.encode(codes).double()
        reach = level.alpha * images.bin_width / (2 * level.sigma)
        below = torch.special.ndtr(-reach)
        u = noise.uniform(torch.empty_like(centre))
        z = torch.special.ndtri(below + u * (1 - 2 * below)).clamp(-reach, reach)
        log_q = -0.5 * z**2 - torch.log(level.sigma * math.sqrt(2 * math.pi) * (1 - 2 * below))
        return (level.alpha * centre + level.sigma * z).to(torch.get_default_dtype()), -log_q.flatten(1).sum(1)


@dataclass(frozen=True, eq=False)
class Variational:
    """Points that a network chooses in the bins: u = sigmoid(m + e^s eps), with (m, s) = network(centres of the bins).

    network takes states (B, *shape) and labels (B,), which are 0, and answers with m and s along axis 1, (B, 2 C, ...): any
    network of models with outputs=2. It is trained to lower the bound E[log q(x | k) - log p(x)]. The same network serves one draw
    and several, with which the bound is tighter. name says in repr where the network is from.

    Raises:
        ValueError: when draws is not a whole number of at least 1.

    Reference: Ho, Chen, Srinivas, Duan, Abbeel, 2019, arXiv 1902.00275, section 3.1 (with a diagonal q, not a flow); Song,
    Durkan, Murray, Ermon, 2021, arXiv 2101.09258, appendix C.

    >>> flat = Variational(lambda x, label: torch.zeros(len(x), 2 * x.shape[1]), name="zeros")
    >>> flat
    Variational(name='zeros', draws=1)
    """

    network: Callable[[Tensor, Tensor], Tensor] = field(repr=False)
    name: str = ""
    draws: int = 1

    def __post_init__(self) -> None:
        _require_draws(self)

    def sample(self, images: Images, codes: Tensor, noise: RowNoise, level: Level) -> tuple[Tensor, Tensor]:
        """States for integers (B, *shape), new at each call, and -log q of each row; errors as in UniformDequantizer."""
        centre = images.encode(codes).to(torch.get_default_dtype())
        m, s = self.network(centre, centre.new_zeros(len(centre))).chunk(2, dim=1)
        eps = noise(centre)
        logit = m + s.exp() * eps
        log_u, log_rest = logsigmoid(logit), logsigmoid(-logit)
        nats = 0.5 * eps**2 + 0.5 * math.log(2 * math.pi) + s + log_u + log_rest
        log_det = images.log_det(codes[0].numel())
        return images.dequantize(codes, log_u.exp()), nats.double().flatten(1).sum(1) + log_det


def _require_draws(dequantizer: UniformDequantizer | TruncatedNormal | Variational) -> None:
    if not isinstance(dequantizer.draws, int) or dequantizer.draws < 1:
        raise ValueError(f"{dequantizer!r}: a whole number of draws, at least one, is needed")
