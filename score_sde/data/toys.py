"""Points of the plane whose density is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sde_lib import CheckerboardOracle, MixtureOracle, RingOracle, Standardize

__all__ = ["Toy"]

TOYS: dict[str, Any] = {
    "checkerboard": lambda: CheckerboardOracle(),
    "ring": lambda: RingOracle(radius=1.0, width=0.1),
    "mixture": lambda: MixtureOracle([0.5, 0.3, 0.2], torch.tensor([[-1.0, -0.5], [1.0, 0.0], [0.0, 1.0]]), [0.15, 0.25, 0.1]),
}


class Toy:
    """Points (N, 2) of a checkerboard, a ring or a mixture of three Gaussians. The test set has a tenth as many points.

    truth is their oracle: truth.log_prob(x) is the log-density in nats.

    Raises:
        ValueError: when the name is another, or rows is less than ten.

    >>> Toy("ring", rows=100).test.shape
    torch.Size([10, 2])
    """

    def __init__(self, name: str = "checkerboard", rows: int = 20000, seed: int = 0) -> None:
        if name not in TOYS or rows < 10:
            raise ValueError(f"toy {name!r} with {rows} rows: use one of {', '.join(TOYS)}, and ten rows or more")
        self.truth = TOYS[name]()
        points: Tensor = self.truth.sample(rows + rows // 10, seed)
        self.train, self.test = points[:rows], points[rows:]
        self.transform = Standardize.of(self.train)
