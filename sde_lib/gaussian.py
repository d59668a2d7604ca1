"""Gaussian laws with independent entries: the kernel, transition, posterior and prior of a linear SDE."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from sde_lib.tensors import sum_over_state

__all__ = ["Gaussian"]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A Gaussian law with independent entries, N(mean, std^2).

    mean is (B, *shape); std broadcasts to it (a 0-d tensor, or (B, 1, ..., 1), or as mean) and is positive.

    >>> import torch
    >>> law = Gaussian(torch.zeros(3, 2), torch.tensor(2.0))
    >>> law.log_prob(torch.zeros(3, 2))
    tensor([-3.2242, -3.2242, -3.2242])
    """

    mean: Tensor
    std: Tensor

    def sample(self, z: Tensor) -> Tensor:
        """Carry a standard normal draw z, shaped like mean, to this law: mean + std z."""
        return self.mean + self.std * z

    def score(self, x: Tensor) -> Tensor:
        """Gradient of log_prob: -(x - mean) / std^2, shaped like x."""
        return (self.mean - x) / self.std**2

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each row, in nats, shape (B,): -|x - mean|^2 / (2 std^2) - d log(std sqrt(2 pi))."""
        z = (x - self.mean) / self.std
        return sum_over_state(-0.5 * z**2 - (self.std.log() + 0.5 * math.log(2 * math.pi)))
