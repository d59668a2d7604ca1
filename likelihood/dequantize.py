"""From integers to densities: points inside the bins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sde_lib.data import Images
from sde_lib.linear import Level
from sde_lib.noise import RowNoise

__all__ = ["Dequantizer", "TruncatedNormal", "Uniform"]


class Dequantizer(Protocol):
    """A law q(x | k) on the bin of a level: log P(k) >= E log p(x) - log q(x | k), and more with several draws."""

    @property
    def draws(self) -> int: ...  # noqa: D102
    def sample(self, images: Images, codes: Tensor, noise: RowNoise, level: Level) -> tuple[Tensor, Tensor | float]: ...  # noqa: D102


@dataclass(frozen=True)
class Uniform:
    """Points uniform in the bins, draws of them for each image: log P(k) >= E log p(x) + d log(bin width).

    With more draws the bound is log of the mean of p(x) over them, which is tighter.
    Raises ValueError for no draw.

    Reference: Theis, van den Oord, Bethge, 2016, arXiv 1511.01844, section 3.1; Burda, Grosse, Salakhutdinov, 2016, arXiv
    1509.00519 (several draws).

    >>> Uniform(draws=4)
    Uniform(draws=4)
    """

    draws: int = 1

    def __post_init__(self) -> None:
        _require_draws(self)

    def sample(self, images: Images, codes: Tensor, noise: RowNoise, level: Level) -> tuple[Tensor, float]:
        """States for integers (B, *shape), new at each call, and -log q, the nats to add to their log-density.

        Raises as Images.check does for what are not integers of these levels.
        """
        images.check(codes)
        u = noise.uniform(torch.empty(codes.shape, dtype=torch.get_default_dtype(), device=codes.device))
        return images.dequantize(codes, u), images.log_det(codes[0].numel())


@dataclass(frozen=True)
class TruncatedNormal:
    """The law of x at t_min around the bin's centre c, cut at the bin's edges: x = alpha c + sigma z, |z| < alpha w / (2 sigma).

    For a model trained on the centres (train.dequantize=False): the noise that it knows takes the place of uniform noise, and
    where data saturate (black and white pixels) nothing is lost as long as sigma is less than 0.15 of a bin. With more draws
    the bound is tighter. Raises ValueError for no draw.

    Reference: Zheng, Lu, Chen, Zhu, 2023, arXiv 2305.03935 (truncated-normal dequantization).

    >>> TruncatedNormal(draws=4)
    TruncatedNormal(draws=4)
    """

    draws: int = 1

    def __post_init__(self) -> None:
        _require_draws(self)

    def sample(self, images: Images, codes: Tensor, noise: RowNoise, level: Level) -> tuple[Tensor, Tensor]:
        """States at t_min for integers (B, *shape), new at each call, and -log q of each row; errors as in Uniform."""
        centre = images.encode(codes).double()
        reach = level.alpha * images.bin_width / (2 * level.sigma)
        below = torch.special.ndtr(-reach)
        u = noise.uniform(torch.empty_like(centre))
        z = torch.special.ndtri(below + u * (1 - 2 * below)).clamp(-reach, reach)
        log_q = -0.5 * z**2 - torch.log(level.sigma * math.sqrt(2 * math.pi) * (1 - 2 * below))
        return (level.alpha * centre + level.sigma * z).to(torch.get_default_dtype()), -log_q.flatten(1).sum(1)


def _require_draws(dequantizer: Uniform | TruncatedNormal) -> None:
    if not isinstance(dequantizer.draws, int) or dequantizer.draws < 1:
        raise ValueError(f"{dequantizer!r}: a whole number of draws, at least one, is needed")
