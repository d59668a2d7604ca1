"""TorchSDE: the reverse SDE solved by torchsde."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from samplers.sampler import Samples
from samplers.start import Start
from sde_lib.base import SDE
from sde_lib.fields import check_choices
from sde_lib.noise import RowNoise, Stream
from sde_lib.ode import check_round_off
from sde_lib.reverse import ReverseSDE

__all__ = ["RowBrownian", "TorchSDE"]


@dataclass(frozen=True)
class TorchSDE:
    """torchsde's sdeint on the reverse SDE from T to t_min, with a Brownian path for each row that is the same for any steps.

    method is "srk" (strong order 3/2 where the noise is additive) or "euler", with steps equal steps in t. adaptive starts with
    these steps and then follows rtol and atol. It has one step size for the whole batch, so that a row depends on its neighbours.
    The path of a row depends on (seed, row): finer steps see more of the same path, down to (T - t_min) / 2^24. nfe counts the
    calls that torchsde makes, one to see the shapes included.

    Raises:
        ValueError: when method is another word, or steps is below 1.

    Reference: Li, Wong, Chen, Duvenaud, 2020, arXiv 2001.01328; Rossler, 2010, SIAM Journal on Numerical Analysis 48, 922-952.

    >>> TorchSDE(method="euler", steps=100)
    TorchSDE(method='euler', steps=100, adaptive=False, rtol=0.001, atol=0.001, t_min=None)
    """

    method: Literal["srk", "euler"] = "srk"
    steps: int = 200
    adaptive: bool = False
    rtol: float = 1e-3
    atol: float = 1e-3
    t_min: float | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        if self.steps < 1:
            raise ValueError(f"{self!r}: at least one step is needed")

    @torch.no_grad()
    def sample(
        self,
        sde: SDE,
        score_fn: Any,
        shape: Sequence[int],
        *,
        seed: int = 0,
        index: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        x_T: Tensor | None = None,
    ) -> Samples:
        """Samples of the given shape (B, *shape), rows index..index+B-1 of the seed; x_T replaces the start.

        Raises:
            ImportError: when torchsde is not installed.
            ValueError: when score_fn belongs to another process, or shape or x_T cannot be sampled.
            ValueError: when steps are adaptive, and rtol + atol is below the round-off of the dtype.
            TypeError: when dtype is not a floating-point one.
            RuntimeError: when a sample is not finite.
        """
        try:
            import torchsde
        except ImportError:
            raise ImportError("TorchSDE needs the package torchsde, which is not installed: pip install torchsde") from None
        rsde = ReverseSDE(sde, score_fn)
        start = Start(shape, seed, index, device, dtype, x_T)
        first, _ = start.begin(sde)
        if self.adaptive:
            check_round_off(self.rtol + self.atol, first.dtype, f"rtol + atol = {self.rtol + self.atol:.3g}")
        span = sde.T - sde.valid_t_min(self.t_min)
        equation = _Equation(rsde, first.shape)
        path = _brownian(torchsde, RowBrownian(seed, start.rows(len(first)), first.flatten(1), span))
        ts = torch.tensor([0.0, span], dtype=torch.float64)
        options: dict[str, Any] = {"dt": span / self.steps, "dt_min": span * 2.0**-24, "adaptive": self.adaptive}
        ys = torchsde.sdeint(equation, first.flatten(1), ts, bm=path, method=self.method, rtol=self.rtol, atol=self.atol, **options)
        x = ys[-1].reshape(first.shape)
        if not bool(x.isfinite().all()):
            raise RuntimeError(f"{self!r}: samples are NaN or infinite: take smaller steps, or check that the score is finite")
        return Samples(x, equation.rsde.calls)


class _Equation:
    """The reverse SDE in the clock T - t, on flat states."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, rsde: ReverseSDE, shape: torch.Size) -> None:
        self.rsde, self.shape = rsde, shape

    def _time(self, clock: Any) -> Tensor:
        return self.rsde.sde.T - torch.as_tensor(clock, dtype=torch.float64, device="cpu")

    def f(self, clock: Any, y: Tensor) -> Tensor:
        """The drift, whose sign is that of the clock."""
        return -self.rsde.drift(y.reshape(self.shape), self._time(clock)).to(y.dtype).flatten(1)

    def g(self, clock: Any, y: Tensor) -> Tensor:
        """The diffusion."""
        return self.rsde.diffusion(y.reshape(self.shape), self._time(clock)).expand(self.shape).to(y.dtype).flatten(1)


class RowBrownian:
    """A Brownian path for each row on [0, span] and its integral, from a binary tree whose draws are RowNoise's.

    An interval of length h has the increment W, and H = (1/h) int (W_r - W_s) dr - W/2. Given these, the halves have the
    increments W/2 +- (3/2 H + sqrt(h)/4 z_1). Their own H are H/4 - sqrt(h)/8 z_1 +- sqrt(h/48) z_2.

    Reference: Foster, Lyons, Oberhauser, 2020, arXiv 1904.06021, theorem 2.2 (the law of H).

    >>> path = RowBrownian(0, torch.arange(3), torch.zeros(3, 2), span=1.0)
    >>> torch.allclose(path.over(0.0, 0.5)[0] + path.over(0.5, 1.0)[0], path.over(0.0, 1.0)[0])
    True
    """

    def __init__(self, seed: int, rows: Tensor, like: Tensor, span: float, depth: int = 24) -> None:
        self.noise, self.like, self.span, self.depth = RowNoise(seed, rows, Stream.STEP), like, span, depth
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def _draw(self, node: int) -> tuple[Tensor, Tensor]:
        """Two draws of a node of the tree: 1 is the root's, 2n and 2n + 1 those of the halves of n; 0 the whole path's."""
        self.noise.draw = 2 * node
        return self.noise(self.like), self.noise(self.like)

    def _until(self, place: int) -> tuple[Tensor, Tensor]:
        """W and its integral from 0 to place / 2^depth of the span."""
        if place not in self._known:
            h, node, low = self.span, 1, 0
            z, other = self._draw(0)
            W, H = h**0.5 * z, (h / 12) ** 0.5 * other
            value, area = torch.zeros_like(W), torch.zeros_like(W)
            for level in range(self.depth - 1, -1, -1):
                if low == place:
                    break
                if place == low + (2 << level):
                    value, area = value + W, area + h * (value + H + 0.5 * W)
                    break
                z, other = self._draw(node)
                left, both, gap = 0.5 * W + 1.5 * H + (h**0.5 / 4) * z, 0.25 * H - (h**0.5 / 8) * z, (h / 48) ** 0.5 * other
                h = 0.5 * h
                if place >= low + (1 << level):
                    value, area = value + left, area + h * (value + both + gap + 0.5 * left)
                    low, node, W, H = low + (1 << level), 2 * node + 1, W - left, both - gap
                else:
                    node, W, H = 2 * node, left, both + gap
            if len(self._known) > 8:
                self._known.pop(next(iter(self._known)))
            self._known[place] = value, area
        return self._known[place]

    def over(self, a: Any, b: Any) -> tuple[Tensor, Tensor]:
        """The increment W_b - W_a, and the integral of W_r - W_a from a to b; ends are moved to the tree's nearest."""
        first, last = (round(float(end) / self.span * 2**self.depth) for end in (a, b))
        (before, area_before), (after, area) = self._until(first), self._until(last)
        return after - before, area - area_before - before * ((last - first) * self.span / 2**self.depth)


def _brownian(torchsde: Any, path: RowBrownian) -> Any:
    """The path as torchsde asks for it."""

    class Brownian(torchsde.BaseBrownian):
        shape, dtype, device = path.like.shape, path.like.dtype, path.like.device
        levy_area_approximation = "space-time"

        def __repr__(self) -> str:
            return f"Brownian{tuple(path.like.shape)}"

        def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
            W, U = path.over(*((0.0, ta) if tb is None else (ta, tb)))
            return (W, U) if return_U else W

    return Brownian()
