"""TorchSDE: the law of its paths, the same path on finer grids, and its steps against ours."""

import math
from itertools import pairwise

import pytest
import torch

from samplers import EulerMaruyama, Sampler, TorchSDE, Uniform
from samplers.torch_sde import RowBrownian
from sde_lib import VESDE, VPSDE, MixtureOracle, SubVPSDE

SMOOTH = MixtureOracle([0.3, 0.7], torch.tensor([[-0.5, 0.0], [0.5, 0.4]], dtype=torch.float64), [0.6, 0.8])


def test_paths_are_brownian():
    """Increments and areas over four uneven intervals: their joint covariance, to five standard errors."""
    n, span, depth = 40_000, 2.0, 10
    path = RowBrownian(3, torch.arange(n), torch.zeros(n, 1, dtype=torch.float64), span, depth)
    cuts = [0.0, 0.25, 0.75, 0.8125, 2.0]
    values, expected = [], torch.zeros(8, 8, dtype=torch.float64)
    for i, (a, b) in enumerate(pairwise(cuts)):
        W, U = path.over(a, b)
        values += [W[:, 0], U[:, 0]]
        h = b - a
        expected[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor([[h, h * h / 2], [h * h / 2, h**3 / 3]])
    x = torch.stack(values)
    scale = expected.diag().sqrt()
    x, expected = x / scale[:, None], expected / torch.outer(scale, scale)
    assert (x @ x.T / n - expected).abs().max() < 5 * math.sqrt(2 / n)
    assert x.mean(1).abs().max() < 5 / math.sqrt(n)


def test_a_path_is_the_sum_of_its_parts_and_of_its_row():
    like = torch.zeros(6, 2, dtype=torch.float64)
    whole, alone = RowBrownian(1, torch.arange(6), like, 1.5), RowBrownian(1, torch.tensor([4]), like[:1], 1.5)
    (W, U), (V, A), (X, B) = whole.over(0.1, 0.9), whole.over(0.1, 0.4), whole.over(0.4, 0.9)
    torch.testing.assert_close(W, V + X)
    torch.testing.assert_close(U, A + B + 0.5 * V, atol=1e-6, rtol=0)  # the cuts are moved to the nearest of 2^24
    assert torch.equal(alone.over(0.1, 0.9)[0][0], W[4])


@pytest.mark.parametrize("sde", [VPSDE(), VESDE(), SubVPSDE()], ids=lambda sde: type(sde).__name__)
def test_euler_is_euler_maruyama(sde):
    """On the same path, whose increments are given to ours as draws."""
    steps, shape = 32, (3, 2)
    span = sde.T - 0.1
    path = RowBrownian(5, torch.arange(3), torch.zeros(shape, dtype=torch.float64), span)
    x_T = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(shape)
    draws = iter([path.over(i * span / steps, (i + 1) * span / steps)[0] / math.sqrt(span / steps) for i in range(steps)])
    ours = Sampler(EulerMaruyama(), times=Uniform(steps, t_min=0.1), last="sample")
    x = ours.sample(sde, SMOOTH.score(sde), shape, x_T=x_T, noise=lambda like: next(draws), dtype=torch.float64).x
    theirs = TorchSDE("euler", steps, t_min=0.1).sample(sde, SMOOTH.score(sde), shape, seed=5, x_T=x_T, dtype=torch.float64)
    torch.testing.assert_close(theirs.x, x, rtol=1e-9, atol=1e-9)
    assert steps <= theirs.nfe <= steps + 2  # a call to look at the shapes, and a last step of round-off


@pytest.mark.slow
def test_finer_grids_see_the_same_path():
    """The distance to a fine solution falls as h for Euler-Maruyama (additive noise), and as h^1.5 or faster for srk."""
    sde = VPSDE()
    score = SMOOTH.score(sde)

    def end(method, steps):
        return TorchSDE(method, steps, t_min=0.1).sample(sde, score, (100, 2), seed=2, dtype=torch.float64).x

    truth = end("srk", 512)
    for method, order in (("euler", 0.8), ("srk", 1.35)):
        coarse, fine = ((end(method, n) - truth).square().mean().sqrt() for n in (32, 128))
        assert math.log2(coarse / fine) / 2 > order, method
    adaptive = TorchSDE("srk", 16, adaptive=True, rtol=1e-3, atol=1e-3, t_min=0.1)
    x = adaptive.sample(sde, score, (100, 2), seed=2, dtype=torch.float64).x
    assert (x - truth).square().mean().sqrt() < 0.02


def test_rows_depend_on_seed_and_index_alone():
    sde = VPSDE()
    sampler = TorchSDE(steps=16, t_min=0.05)
    whole = sampler.sample(sde, SMOOTH.score(sde), (8, 2), seed=3)
    alone = sampler.sample(sde, SMOOTH.score(sde), (1, 2), seed=3, index=5)
    assert whole.x.dtype == torch.float32
    torch.testing.assert_close(alone.x[0], whole.x[5])
    with pytest.raises(ValueError, match="use one of 'srk', 'euler'"):
        TorchSDE(method="milstein")
