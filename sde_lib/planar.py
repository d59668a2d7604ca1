"""Oracles in the plane: a ring and a checkerboard."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.noise import RowNoise
from sde_lib.oracle import Oracle

__all__ = ["CheckerboardOracle", "RingOracle"]


def _check_plane(x: Tensor) -> None:
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"an oracle in the plane got states of shape {tuple(x.shape)}, and (rows, 2) was needed: reshape them")


@dataclass(frozen=True)
class RingOracle(Oracle):
    """A circle of the given radius around the origin of the plane, uniform in angle, blurred by N(0, width^2 I).

    With R = alpha radius, v = alpha^2 width^2 + sigma^2, r = |x| and Bessel's I0: p_t(x) = exp(-(r^2 + R^2) / 2v) I0(r R / v) /
    (2 pi v). States are (B, 2). The entropy has no closed form.

    Raises:
        ValueError: when radius or width is not positive, or states have another shape.

    >>> oracle = RingOracle(radius=1.0, width=0.1)
    >>> oracle.log_prob(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    tensor([ -0.4530, -47.2327], dtype=torch.float64)
    """

    radius: float
    width: float
    shape = (2,)

    def __post_init__(self) -> None:
        if not (self.radius > 0 and self.width > 0):
            raise ValueError(f"{self!r}: a positive radius and width are needed")

    def _polar(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """r, R and v: all (B,)."""
        _check_plane(x)
        return torch.linalg.vector_norm(x, dim=1), alpha * self.radius, (alpha * self.width) ** 2 + sigma**2

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """-(r - R)^2 / 2v + log(exp(-rR/v) I0(rR/v)) - log(2 pi v), (B,): scaled, so that nothing overflows."""
        r, radius, v = self._polar(x, alpha, sigma)
        return -((r - radius) ** 2) / (2 * v) + torch.special.i0e(r * radius / v).log() - (2 * math.pi * v).log()

    def score_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """x / v ((R^2 / v) A(k) / k - 1) with k = rR/v and A = I1 / I0, (B, 2)."""
        r, radius, v = self._polar(x, alpha, sigma)
        k = (r * radius / v).clamp_min(1e-150)  # A(k) / k is 1/2 at the centre
        pull = torch.special.i1e(k) / torch.special.i0e(k) / k
        return x * ((radius**2 / v * pull - 1) / v)[:, None]

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n data, (n, 2), float64."""
        noise = RowNoise(seed, n)
        angle = (2 * math.pi) * noise.uniform(torch.empty(n, 1, dtype=torch.float64))
        z = noise(torch.empty(n, 2, dtype=torch.float64))
        return self.radius * torch.cat([angle.cos(), angle.sin()], dim=1) + self.width * z


@dataclass(frozen=True)
class CheckerboardOracle(Oracle):
    """Uniform on the dark squares of a checkerboard around the origin of the plane.

    The board has cells x cells squares and the given side. The square in column i and row j is dark where i + j is even. Let
    D_i(u) be the probability of column i, scaled by alpha, under N(u, sigma^2), and A the dark area. Then p_t(x) = sum over dark
    (i, j) of D_i(x_1) D_j(x_2) / (A alpha^2). States are (B, 2). log p of the data is -inf off the dark squares.

    Raises:
        ValueError: when cells is below 2, side is not positive, or states have another shape.

    >>> oracle = CheckerboardOracle(cells=4, side=4.0)
    >>> oracle.log_prob(torch.tensor([[-1.5, -1.5], [-0.5, -1.5]])), oracle.entropy
    (tensor([-2.0794,    -inf], dtype=torch.float64), 2.0794415416798357)
    """

    cells: int = 4
    side: float = 4.0
    shape = (2,)

    def __post_init__(self) -> None:
        if self.cells < 2 or not self.side > 0:
            raise ValueError(f"{self!r}: at least 2 cells along an edge and a positive side are needed")

    @property
    def entropy(self) -> float:
        """Differential entropy of the data in nats: the log of the dark area."""
        dark = (self.cells**2 + 1) // 2
        return math.log(dark) + 2 * math.log(self.side / self.cells)

    def _columns(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """log D, and sigma times its derivative, for the columns at x_1 and the rows at x_2: (B, 2, cells)."""
        _check_plane(x)
        edges = self.side * (torch.arange(self.cells + 1, dtype=x.dtype, device=x.device) / self.cells - 0.5)
        # 1e-200 is a noise of 0: its squares overflow to infinity, and D is 1 inside, 0 outside.
        u = (alpha[:, None, None] * edges - x[..., None]) / sigma.clamp_min(1e-200)[:, None, None]
        return _log_interval(u[..., :-1], u[..., 1:])

    def _classes(self, log_d: Tensor) -> Tensor:
        """log of the two sums over dark squares: of even columns and rows, and of odd ones; (B, 2)."""
        return torch.stack([log_d[..., parity::2].logsumexp(2).sum(1) for parity in (0, 1)], dim=1)

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log of the sum over dark squares, (B,), from two products of sums: both indices are even, or both are odd."""
        classes = self._classes(self._columns(x, alpha, sigma)[0])
        return classes.logsumexp(1) - self.entropy - 2 * alpha.log()

    def score_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The mean, over the dark squares that x may come from, of the gradient of log D_i(x_1) D_j(x_2); (B, 2)."""
        log_d, slope = self._columns(x, alpha, sigma)
        share = self._classes(log_d).softmax(1)
        parts = [(log_d[..., p::2].softmax(2) * slope[..., p::2]).sum(2) * share[:, p, None] for p in (0, 1)]
        return (parts[0] + parts[1]) / sigma[:, None]

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n data, (n, 2), float64."""
        noise = RowNoise(seed, n)
        squares = torch.cartesian_prod(torch.arange(self.cells), torch.arange(self.cells))
        dark = squares[squares.sum(1) % 2 == 0]
        which = noise.uniform(torch.empty(n, 1, dtype=torch.float64))[:, 0]
        inside = noise.uniform(torch.empty(n, 2, dtype=torch.float64))
        return self.side * ((dark[(which * len(dark)).long()] + inside) / self.cells - 0.5)


def _log_interval(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """log D for D = Phi(high) - Phi(low), and (phi(low) - phi(high)) / D, its slope when both ends move down together.

    An interval above 0 is reflected, so that it lies below 0. There exp(-high^2 / 2) is a factor of both ends, and what is left
    are scaled complementary error functions, which do not underflow. An interval that holds 0 is a sum of two. The round-off is
    1e-16 over the interval's length: 1e-9 where sigma is ten million times the side of a square.
    """
    flip = low > 0
    a, b = torch.where(flip, -high, low), torch.where(flip, -low, high)
    tail = b <= 0
    # where() needs a value that is finite in the branch not taken, or its gradient is NaN.
    below, end = torch.where(tail, a, -1.0), torch.where(tail, b, 0.0)
    drop = 0.5 * (below - end) * (below + end)
    root = math.sqrt(0.5)
    mass = torch.special.erfcx(-root * end) - torch.exp(-drop) * torch.special.erfcx(-root * below)
    log_tail = -0.5 * end**2 + (0.5 * mass).log()
    slope_tail = math.sqrt(2 / math.pi) * torch.expm1(-drop) / mass
    left, right = torch.where(tail, -1.0, a), torch.where(tail, 1.0, b)
    middle = 0.5 * (torch.erf(root * right) - torch.erf(root * left))
    slope_middle = (torch.exp(-0.5 * left**2) - torch.exp(-0.5 * right**2)) / (math.sqrt(2 * math.pi) * middle)
    slope = torch.where(tail, slope_tail, slope_middle)
    return torch.where(tail, log_tail, middle.log()), torch.where(flip, -slope, slope)
