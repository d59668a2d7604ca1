"""From integers to densities: points inside the bins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.data import Images
from sde_lib.noise import RowNoise

__all__ = ["Uniform"]


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
        if not isinstance(self.draws, int) or self.draws < 1:
            raise ValueError(f"{self!r}: a whole number of draws, at least one, is needed")

    def sample(self, images: Images, codes: Tensor, noise: RowNoise) -> tuple[Tensor, float]:
        """States for integers (B, *shape), new at each call, and the nats to add to their log-density.

        Raises as Images.check does for what are not integers of these levels.
        """
        images.check(codes)
        u = noise.uniform(torch.empty(codes.shape, dtype=torch.get_default_dtype(), device=codes.device))
        return images.dequantize(codes, u), images.log_det(codes[0].numel())
