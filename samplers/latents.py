"""Latents and intermediate states: interpolation, and progressive generation.

Encoding is Sampler.encode and FlowSampler.encode, decoding their sample(..., x_T=latent).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from samplers.grids import From, times_of
from samplers.sampler import Sampler, Samples
from sde_lib.linear import LinearSDE
from sde_lib.noise import RowNoise, Stream
from sde_lib.reverse import ReverseSDE
from sde_lib.tensors import check_state, expand

__all__ = ["ProgressiveFrame", "interpolate", "progressive", "slerp"]


def slerp(a: Tensor, b: Tensor, weight: Tensor | float) -> Tensor:
    """Spherical interpolation of the rows of a and b, (B, *shape): weight 0 gives a, 1 gives b, to the bit.

    With u, v the directions of two rows and theta the angle between them,

        x = sqrt((1 - w) |a|^2 + w |b|^2) [sin((1 - w) theta) u + sin(w theta) v] / sin(theta).

    This is the paper's formula for rows of one length. Independent draws of N(0, I) give mean 0 and covariance I at each weight, in
    any number of dimensions. (The paper's formula for other rows lets those that are nearly opposite grow without bound.) weight
    is a number, or one for each row, (B,). theta is exact for rows that are nearly parallel.

    Raises:
        ValueError: when the shapes differ, or two rows have no shortest arc between them: opposite directions, or zeros.
        TypeError: when a or b holds integers.

    Reference: Shoemake, 1985, SIGGRAPH 19, 245-254; Song, Meng, Ermon, 2021, arXiv 2010.02502, appendix D.5.

    >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5)
    tensor([[0.7071, 0.7071]])
    """
    _check_pair(a, b)
    w = _weights(weight, a)
    lengths = [c.double().flatten(1).norm(dim=1) for c in (a, b)]
    u, v = (c.double().flatten(1) / length[:, None] for c, length in zip((a, b), lengths, strict=True))
    apart, together = (u - v).norm(dim=1), (u + v).norm(dim=1)
    lost = (~(together > 1e-6)).nonzero().flatten().tolist()  # NaN too, which is what a row of zeros gives
    if lost:
        raise ValueError(
            f"{len(lost)} pairs of rows, the first being row {lost[0]}, are opposite to each other or zero, and have no arc "
            "between them: states of more than one number with different directions are needed"
        )
    turns = 2 * torch.atan2(apart, together) / torch.pi  # theta / pi; sinc(x) = sin(pi x) / (pi x)
    ratio = lengths[1] / lengths[0]
    of_a = (1 - w) * torch.sinc((1 - w) * turns) / torch.sinc(turns) * torch.sqrt((1 - w) + w * ratio**2)
    of_b = w * torch.sinc(w * turns) / torch.sinc(turns) * torch.sqrt((1 - w) / ratio**2 + w)
    return expand(of_a, a) * a + expand(of_b, a) * b


def interpolate(
    sampler: Sampler,
    sde: LinearSDE,
    score_fn: Any,
    a: Tensor,
    b: Tensor,
    weight: Tensor | float,
    *,
    t: float,
    seed: int = 0,
    index: int = 0,
) -> Samples:
    """Noise the data a and b, (B, *shape), to time t, mix the two states, and sample from the mixed state.

    x_t = (1 - w) (alpha a + sigma z) + w (alpha b + sigma z'), z and z' independent; then the sampler runs from t on. The larger
    t is, the coarser are the features that are mixed. weight is a number, or one for each row, (B,). t is moved to the nearest
    time of the sampler's grid. Row i depends on (seed, index + i), and a seed has the same noise at every weight. Mixing two noises
    leaves (1 - w)^2 + w^2 of their variance. At w = 1/2 x_t thus has half the noise variance that the sampler assumes; this is the
    paper's rule, unchanged.

    Raises:
        ValueError: when the shapes differ, or t is at the end of the grid.
        TypeError: when a or b holds integers.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, section 4.4 and figure 8.

    >>> from samplers import Ancestral, Uniform
    >>> from sde_lib import GaussianOracle, VPSDE
    >>> sde, x = VPSDE(), torch.ones(3, 2)
    >>> score_fn = GaussianOracle(torch.zeros(2), 1.0).score(sde)
    >>> interpolate(Sampler(Ancestral(), times=Uniform(100)), sde, score_fn, x, -x, 0.5, t=0.5).nfe
    50
    """
    _check_pair(a, b)
    w = _weights(weight, a)
    times = From(t, sampler.times)
    noise = RowNoise(seed, torch.arange(index, index + len(a)), Stream.PRIOR)
    at = times(sde)[0]
    first, second = (sde.kernel(x0, at).sample(noise(x0)) for x0 in (a, b))
    x_t = expand(1 - w, a) * first + expand(w, a) * second
    rest = replace(sampler, times=times)
    return rest.sample(sde, score_fn, x_t.shape, seed=seed, index=index, device=x_t.device, dtype=x_t.dtype, x_T=x_t)


class ProgressiveFrame(NamedTuple):
    """A state x, (B, *shape), at time t after step i, the model's estimate x0 = E[x0 | x], and all network calls so far."""

    i: int
    t: float
    x: Tensor
    x0: Tensor
    nfe: int


@torch.no_grad()
def progressive(
    sampler: Sampler,
    sde: LinearSDE,
    score_fn: Any,
    shape: Sequence[int],
    *,
    every: int = 1,
    seed: int = 0,
    index: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    x_T: Tensor | None = None,
) -> Iterator[ProgressiveFrame]:
    """Progressive generation: E[x0 | x_t] at the start, after every so many steps, and at the end; one more call for each.

    The states are those of sampler.stream with the same arguments, bit for bit.

    Raises:
        ValueError: when every is below 1.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, section 4.3, figure 6 and equation 15.

    >>> from samplers import DDIM, LogSNR
    >>> from sde_lib import GaussianOracle, VPSDE
    >>> score_fn = GaussianOracle(torch.zeros(2), 1.0).score(VPSDE())
    >>> [frame.i for frame in progressive(Sampler(DDIM(), times=LogSNR(25)), VPSDE(), score_fn, (4, 2), every=10)]
    [0, 10, 20, 25]
    """
    if every < 1:
        raise ValueError(f"every={every}: 1 or more steps between two frames are needed")
    rsde = ReverseSDE(sde, score_fn)
    last = len(times_of(sampler.times, sde)) - (sampler.predictor is not None)  # a corrector alone visits each time
    for frame in sampler.stream(sde, score_fn, shape, seed=seed, index=index, device=device, dtype=dtype, x_T=x_T):
        if frame.i % every == 0 or frame.i == last:
            x0 = rsde.predict(frame.x, torch.tensor(frame.t, dtype=torch.float64)).x0.to(frame.x.dtype)
            yield ProgressiveFrame(frame.i, frame.t, frame.x, x0, frame.nfe + rsde.calls)


def _check_pair(a: Tensor, b: Tensor) -> None:
    check_state(a, "a")
    check_state(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"a has shape {tuple(a.shape)} and b {tuple(b.shape)}: two of one shape are needed")


def _weights(weight: Tensor | float, a: Tensor) -> Tensor:
    """A weight for each row, (B,), float64."""
    w = torch.as_tensor(weight, dtype=torch.float64, device=a.device)
    if w.ndim and w.shape != a.shape[:1]:
        raise ValueError(f"weight has shape {tuple(w.shape)} for {len(a)} rows: a number, or one for each row, is needed")
    return w.expand(len(a))
