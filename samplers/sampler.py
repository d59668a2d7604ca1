"""Sampler: the predictor-corrector loop. FlowSampler: the adaptive probability-flow ODE."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from samplers.algorithm import Corrector, Predictor
from samplers.constraints import Constraint
from samplers.grids import Uniform, times_of
from samplers.start import Start
from sde_lib.base import SDE
from sde_lib.fields import check_choices
from sde_lib.grid_cache import with_grid_cache
from sde_lib.noise import Noise, Stream
from sde_lib.ode import check_options, integrate_on_clock
from sde_lib.reverse import ReverseSDE
from sde_lib.score import can_take, check_score_fn
from sde_lib.solution import Solution
from sde_lib.tensors import check_state

__all__ = ["FlowSampler", "Frame", "Sampler", "Samples"]

UNSOLVED = "the probability flow could not be solved"


class Frame(NamedTuple):
    """The state of a sampler after step i (0: the start): its time t, x and mean (B, *shape), network calls so far."""

    i: int
    t: float
    x: Tensor
    mean: Tensor
    nfe: int


class Samples(NamedTuple):
    """Samples x, (B, *shape), and the number of batched network calls that they took, counted."""

    x: Tensor
    nfe: int


@dataclass(frozen=True)
class Sampler:
    """Predictor-corrector sampling: at each time of the grid the corrector, then the predictor on to the next time.

    last says what the result is: "mean" drops the last noise, "denoise" spends one more evaluation on E[x0 | x], "sample" is
    the state itself. Sample i depends on (seed, i) alone: its draws to the bit, its value to round-off. Without a predictor the
    corrector moves at every time, the last one too, and the state goes on to the next as it is (annealed Langevin dynamics).
    times is a grid, or any function that gives falling times in [0, T] for a process.

    Raises:
        ValueError: when last is another word.
        TypeError: when the parts are not objects of their kind, or there is neither a predictor nor a corrector.

    Reference: Song et al., 2021, arXiv 2011.13456, Algorithm 1 (the order is that of the authors' code: corrector first).

    >>> from samplers import EulerMaruyama, Uniform
    >>> from sde_lib import GaussianOracle, VPSDE
    >>> sampler = Sampler(EulerMaruyama(), times=Uniform(100))
    >>> sampler.sample(VPSDE(), GaussianOracle(torch.zeros(2), 1.0).score(VPSDE()), (4, 2)).nfe
    100
    """

    predictor: Predictor | None
    corrector: Corrector | None = None
    times: Callable[[SDE], Tensor] = Uniform(1000)
    last: Literal["mean", "denoise", "sample"] = "mean"

    def __post_init__(self) -> None:
        check_choices(self)
        steps = isinstance(self.predictor, Predictor | None) and isinstance(self.corrector, Corrector | None)
        if not steps or self.predictor is self.corrector is None or isinstance(self.times, type) or not callable(self.times):
            raise TypeError(f"{self!r}: objects were needed, as in Sampler(EulerMaruyama(), Langevin(), times=Uniform(100))")

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
        constraint: Constraint | None = None,
        noise: Noise | None = None,
    ) -> Samples:
        """Samples of the given shape (B, *shape), rows index..index+B-1 of the seed.

        x_T replaces the start, which is otherwise drawn from the prior. constraint is, for example, Inpaint(known, mask). noise
        replaces every draw, in this order: start, corrector, predictor, and the constraint after each of them.

        Raises:
            TypeError: when an algorithm cannot use the process, or dtype is not a floating-point one.
            ValueError: when score_fn belongs to another process, or shape or x_T cannot be sampled.
            ValueError: when the times rise, leave [0, T], or are not finite.
            RuntimeError: when a sample is not finite.
        """
        check_score_fn(sde, score_fn)
        frame, times = None, times_of(self.times, sde)
        start = Start(shape, seed, index, device, dtype, x_T, noise)
        for frame in self._frames(sde, score_fn, start, times, constraint):  # noqa: B007
            pass
        assert frame is not None
        x, nfe = (frame.mean if self.last == "mean" else frame.x), frame.nfe
        if self.last == "denoise":
            rsde = ReverseSDE(sde, score_fn)
            with torch.no_grad():
                x, nfe = rsde.predict(x, times[-1]).x0.to(x.dtype), nfe + rsde.calls
        lost = int((~x.isfinite()).flatten(1).any(1).sum())
        if lost:
            raise RuntimeError(
                f"{lost} of {len(x)} samples are NaN or infinite: take smaller steps, or check that the score is finite on the grid"
            )
        return Samples(x if constraint is None else constraint.finish(x), nfe)

    def stream(
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
        constraint: Constraint | None = None,
        noise: Noise | None = None,
    ) -> Iterator[Frame]:
        """The states on the way, as sample makes them: a Frame for the start and one after each step."""
        check_score_fn(sde, score_fn)
        start = Start(shape, seed, index, device, dtype, x_T, noise)
        return self._frames(sde, score_fn, start, times_of(self.times, sde), constraint)

    @torch.no_grad()  # a decorator: opened inside the body of a generator, it would leak into the caller between frames
    def _frames(self, sde: SDE, score_fn: Any, start: Start, grid: Tensor, constraint: Constraint | None = None) -> Iterator[Frame]:
        rsde = ReverseSDE(sde, score_fn)
        for algorithm in (self.predictor, self.corrector):
            if algorithm is not None:
                rsde.require(algorithm.requires, type(algorithm).__name__)
                algorithm.check(rsde)
        times = with_grid_cache(grid)
        x, source = start.begin(sde)
        mean, dtype = x, x.dtype
        if constraint is not None:
            x, mean, _ = constraint(sde, x, mean, times[0], source[Stream.CONSTRAINT])
        x, mean = x.to(dtype), mean.to(dtype)
        yield Frame(0, times[0].item(), x, mean, rsde.calls)
        predictor, memory = self.predictor, None
        if predictor is not None:
            memory = predictor.init(rsde, x, times[0])
        disturbed = predictor is not None and predictor.multistep and (self.corrector is not None or constraint is not None)
        stops = times if predictor is None else times[1:]  # a corrector alone visits each time, a predictor goes on to the next
        for i, (t, s) in enumerate(zip(times, stops, strict=False), start=1):
            if self.corrector is not None:
                x, mean, _ = self.corrector.correct(rsde, x, t, source[Stream.CORRECTOR])
                if constraint is not None:
                    x, mean, _ = constraint(sde, x, mean, t, source[Stream.CONSTRAINT])
            if predictor is not None:
                if disturbed:
                    memory = predictor.init(rsde, x, t)
                x, mean, memory = predictor.step(rsde, x, t, s, memory, source[Stream.STEP])
                if constraint is not None:
                    x, mean, _ = constraint(sde, x, mean, s, source[Stream.CONSTRAINT])
            x, mean = x.to(dtype), mean.to(dtype)  # a score in another precision leaves the state in its own
            yield Frame(i, s.item(), x, mean, rsde.calls)

    def encode(self, sde: SDE, score_fn: Any, x0: Tensor) -> Samples:
        """The latent x_T of each row of x0, (B, *shape): the same steps on the same grid walked the other way, from t_min to T.

        x0 is taken as the state at the end of the grid. sample(..., x_T=latent), with last="mean" or "sample", leads back to it
        but for the error of the steps, there and back. For DDIM() this is the paper's inversion; other predictors do the same.

        Raises:
            ValueError: when the predictor draws noise, or there is a corrector.
            TypeError: when x0 is not floating-point.
            RuntimeError: when the steps of the predictor cannot be walked the other way.

        Reference: Song, Meng, Ermon, 2021, arXiv 2010.02502, sections 4.3 and 5.4.
        """
        check_state(x0, "x0")
        check_score_fn(sde, score_fn)
        frame = None
        start = Start(x0.shape, device=x0.device, dtype=x0.dtype, x_T=x0, noise=_no_noise)
        for frame in self._frames(sde, score_fn, start, times_of(self.times, sde).flip(0)):  # noqa: B007
            pass
        assert frame is not None
        if not bool(frame.x.isfinite().all()):
            raise RuntimeError(f"{self.predictor!r} has not led x0 to finite latents: use DDIM(), or take smaller steps")
        return Samples(frame.x, frame.nfe)


@dataclass(frozen=True)
class FlowSampler:
    """The probability-flow ODE from T to t_min, every sample with its own step size.

    last is "sample" for the state at t_min, or "denoise" for one more evaluation, E[x0 | x]. A flow has no last noise to drop,
    and so no "mean". method is "dopri5" or "dop853".

    Raises:
        ValueError: when last or method is another word, or a tolerance is not positive.

    Reference: Song et al., 2021, arXiv 2011.13456, equation 13 and appendix D.

    >>> from sde_lib import GaussianOracle, VPSDE
    >>> FlowSampler().sample(VPSDE(), GaussianOracle(torch.zeros(2), 1.0).score(VPSDE()), (4, 2)).x.shape
    torch.Size([4, 2])
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    method: str = "dopri5"
    t_min: float | None = None
    last: Literal["denoise", "sample"] = "sample"

    def __post_init__(self) -> None:
        check_choices(self)
        check_options(self.rtol, self.atol, self.method)

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
        noise: Noise | None = None,
    ) -> Samples:
        """Samples of the given shape (B, *shape), rows index..index+B-1 of the seed; x_T and noise replace the start.

        nfe is the number of batched calls, that of the slowest sample.

        Raises:
            ValueError: when t_min is outside (0, T), score_fn belongs to another process, or shape or x_T cannot be sampled.
            ValueError: when rtol + atol is below the round-off of the dtype, 7.5e-9 in float32.
            TypeError: when dtype is not a floating-point one.
            sde_lib.Unfinished: when samples cannot be carried to t_min; it has the reason for each, and the other samples.
        """
        rsde = ReverseSDE(sde, score_fn)
        x_T, _ = Start(shape, seed, index, device, dtype, x_T, noise).begin(sde)
        t_min = sde.valid_t_min(self.t_min)
        solution = self._carry(rsde, x_T, sde.T, t_min)
        x = solution.reached()
        if self.last == "denoise":
            x = rsde.predict(x, torch.tensor(t_min, dtype=torch.float64)).x0.to(x.dtype)
        return solution.require_all(UNSOLVED, Samples(x, rsde.calls), index)

    @torch.no_grad()
    def encode(self, sde: SDE, score_fn: Any, x0: Tensor) -> Samples:
        """The latent x_T of each row of x0, (B, *shape), taken as the state at t_min: the flow from there to T.

        sample(..., x_T=latent), with last="sample", leads back to x0, to the tolerances, for any x0.

        Raises:
            TypeError: when x0 is not floating-point.
            ValueError: when x0 is not finite.
            sde_lib.Unfinished: when rows cannot be carried to T.

        Reference: Song et al., 2021, arXiv 2011.13456, section 4.3 and appendix D.5.
        """
        check_state(x0, "x0")
        rsde = ReverseSDE(sde, score_fn)
        solution = self._carry(rsde, x0, sde.valid_t_min(self.t_min), sde.T)
        return solution.require_all(UNSOLVED, Samples(solution.reached(), rsde.calls))

    def _carry(self, rsde: ReverseSDE, x: Tensor, t: float, s: float) -> Solution:
        """The flow from the states at time t to those at time s, earlier or later."""

        def flow(state: Tensor, t: Tensor, rows: Tensor) -> Tensor:
            return (rsde if len(rows) == len(x) else rsde.take(rows)).flow(state, t)

        keep = not can_take(rsde.score_fn)
        options: dict[str, Any] = {"rtol": self.rtol, "atol": self.atol, "method": self.method, "keep_rows": keep}
        return integrate_on_clock(rsde.sde.clock_power, flow, x, t, s, **options)


def _no_noise(_: Tensor) -> Tensor:
    raise ValueError(
        "a latent is what deterministic steps lead to, and this sampler draws noise: "
        "use a predictor without noise, such as DDIM(), DPMSolver() or UniPC(), and no corrector, or FlowSampler()"
    )
