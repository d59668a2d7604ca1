"""Between data and latents: encoding, interpolation, and what a sampler believes on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from samplers.predictors.ddim import coefficients
from samplers.sampler import Frame, Samples
from sde_lib.base import SDE
from sde_lib.linear import LinearSDE
from sde_lib.reverse import ReverseSDE
from sde_lib.tensors import as_time, check_state, of_step, on_grid

__all__ = ["Belief", "beliefs", "ddim_encode", "slerp", "starting_at"]


class Belief(NamedTuple):
    """A frame of a sampler, and E[x0 | x], (B, *shape), at its state."""

    frame: Frame
    x0: Tensor


@torch.no_grad()
def ddim_encode(sde: LinearSDE, score_fn: Any, x: Tensor, times: Callable[[SDE], Tensor]) -> Samples:
    """DDIM backwards: from states x (B, *shape) at t_min, up the grid, to latents at T.

    x_t = alpha_t x0 + sigma_t eps with x0 and eps as predicted at the time before; Sampler(DDIM(), times=times), given these
    as x_T, leads back to x, to first order in the steps (FlowSampler().encode does so to its tolerance).
    Raises ValueError or TypeError for x that is no state.

    Reference: Song, Meng, Ermon, 2021, arXiv 2010.02502, section 4.3; Dhariwal and Nichol, 2021, arXiv 2105.05233, appendix F.

    >>> from samplers import Uniform
    >>> from sde_lib import GaussianOracle, VPSDE
    >>> score_fn = GaussianOracle(torch.zeros(2), 1.0).score(VPSDE())
    >>> ddim_encode(VPSDE(), score_fn, torch.ones(1, 2), Uniform(50)).nfe
    50
    """
    check_state(x)
    rsde = ReverseSDE(sde, score_fn)
    rsde.require(LinearSDE, "ddim_encode")
    grid = on_grid(times(sde).flip(0))
    for t, later in pairwise(grid):
        of_x, of_x0, _ = of_step(sde, coefficients, t, later, 0.0)
        x = of_x * x + of_x0 * rsde.predict(x, t).x0
    return Samples(x, rsde.calls)


def slerp(a: Tensor, b: Tensor, weight: float | Tensor) -> Tensor:
    """From a at weight 0 to b at weight 1, row by row along a great circle: (sin((1 - w) th) a + sin(w th) b) / sin th.

    a and b are (B, *shape), th the angle between their rows; weight a number or (B,). Between latents in many dimensions the norm
    stays that of latents, which a straight line would shorten. Rows that are almost parallel go straight.
    Raises ValueError when the shapes differ.

    Reference: Shoemake, 1985, "Animating rotation with quaternion curves"; Song, Meng, Ermon, 2021, arXiv 2010.02502, appendix
    D.5.

    >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    tensor([[0.7071, 0.7071]])
    """
    if a.shape != b.shape:
        raise ValueError(f"latents of shapes {tuple(a.shape)} and {tuple(b.shape)} were given: the two must agree")
    weight = torch.as_tensor(weight, dtype=torch.float64, device=a.device).expand(len(a))
    one, other = (v.double().flatten(1) for v in (a, b))
    cosine = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1)).clamp_min(1e-300)
    angle = torch.arccos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    straight = sine < 1e-6
    safe = torch.where(straight, torch.ones_like(sine), sine)
    of_a = torch.where(straight, 1 - weight, torch.sin((1 - weight) * angle) / safe)
    of_b = torch.where(straight, weight, torch.sin(weight * angle) / safe)
    return (of_a[:, None] * one + of_b[:, None] * other).reshape(a.shape).to(a)


def starting_at(t: float | Tensor, times: Callable[[SDE], Tensor]) -> Callable[[SDE], Tensor]:
    """A grid that begins at t: t itself, then the times of another grid below it.

    With it and x_T = x_t a sampler goes on from a state at t. Several rows with one x_t share a latent; x_t from data edits
    them; the mean of two data's x_t, (1 - w) x_t + w x_t', interpolates between them.
    Raises ValueError, when it meets a process, for a t that is not above its grid's end and at most T.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, section 4.3, figures 7 and 8 (shared latents, interpolation); Meng et
    al., 2022, arXiv 2108.01073, section 3 (edits).

    >>> from samplers import Uniform
    >>> from sde_lib import VPSDE
    >>> starting_at(0.6, Uniform(4, t_min=0.2))(VPSDE())
    tensor([0.6000, 0.4000, 0.2000], dtype=torch.float64)
    """

    def grid(sde: SDE) -> Tensor:
        every, first = times(sde), sde.snap(as_time(t).cpu())
        if not every[-1] < first <= sde.T:
            end = every[-1].item()
            raise ValueError(f"t = {float(t):g} was asked for, and the grid goes from {sde.T:g} to {end:g}: a t between is needed")
        return torch.cat([first[None], every[every < first]])

    return grid


@torch.no_grad()
def beliefs(sde: SDE, score_fn: Any, frames: Iterable[Frame]) -> Iterator[Belief]:
    """What a sampler believes the data to be on its way, E[x0 | x] at each frame: progressive generation. A network call each.

    frames are those of Sampler.stream, or some of them.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, section 4.3, equation 15 and figure 6.

    >>> from samplers import DDIM, Sampler, Uniform
    >>> from sde_lib import GaussianOracle, VPSDE
    >>> score_fn = GaussianOracle(torch.zeros(2), 1.0).score(VPSDE())
    >>> frames = Sampler(DDIM(), times=Uniform(4)).stream(VPSDE(), score_fn, (3, 2))
    >>> [belief.x0.shape[0] for belief in beliefs(VPSDE(), score_fn, frames)]
    [3, 3, 3, 3, 3]
    """
    rsde = ReverseSDE(sde, score_fn)
    for frame in frames:
        yield Belief(frame, rsde.predict(frame.x, torch.tensor(frame.t, dtype=torch.float64)).x0)
