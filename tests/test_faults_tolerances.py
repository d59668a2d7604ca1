"""Tolerances below the round-off of the states are refused before the network is called, and the smallest one works."""

import pytest
import torch

from likelihood import Exact, bits_per_dim, log_likelihood
from samplers import FlowSampler, TorchSDE
from sde_lib import VESDE, VPSDE, GaussianOracle, Images, RectifiedFlow
from sde_lib.ode import integrate

ROUND_OFF = {torch.float32: 2.0**-27, torch.float64: 2.0**-56}  # 1/16 of that of the IEEE formats


def never(x, t):
    raise AssertionError("a score was asked for")


def uses(tolerance, dtype, sde, score):
    x = torch.tensor([[0.3, -0.2]], dtype=dtype)
    flow = FlowSampler(rtol=tolerance / 2, atol=tolerance / 2)
    return [
        lambda: log_likelihood(sde, score, x, tolerance=tolerance),
        lambda: flow.sample(sde, score, (2, 2), dtype=dtype),
        lambda: flow.encode(sde, score, x),
        lambda: TorchSDE(adaptive=True, rtol=tolerance / 2, atol=tolerance / 2).sample(sde, score, (2, 2), dtype=dtype),
        lambda: integrate(lambda y, t, rows: never(y, t), x, 0.0, 1.0, rtol=tolerance / 2, atol=tolerance / 2),
    ]


@pytest.mark.parametrize("dtype", ROUND_OFF, ids=str)
@pytest.mark.parametrize("sde", [VPSDE(), VESDE(), RectifiedFlow()], ids=lambda sde: type(sde).__name__)
def test_a_tolerance_below_round_off_is_refused_at_the_door(sde, dtype):
    for factor in (0.99, 1e-3):
        for use in uses(factor * ROUND_OFF[dtype], dtype, sde, never):
            with pytest.raises(
                ValueError, match=rf"below the round-off of {str(dtype)[6:]}, .* use {ROUND_OFF[dtype]:.3g} or more"
            ):
                use()


def test_bits_below_round_off_are_refused_before_the_network_is_called():
    with pytest.raises(ValueError, match="tolerance=1e-10 is below the round-off of float32"):
        bits_per_dim(VPSDE(), never, torch.zeros(1, 2, dtype=torch.long), images=Images(levels=4), tolerance=1e-10)


def test_the_smallest_tolerance_works():
    """Its log p has the error of float32 numbers, and it is found in some hundred calls."""
    sde, oracle = VPSDE(), GaussianOracle(torch.zeros(2), 0.5)
    x = torch.tensor([[0.3, -0.2], [1.0, 0.4]])
    least = ROUND_OFF[torch.float32]
    found = log_likelihood(sde, oracle.score(sde), x, tolerance=least, divergence=Exact())
    torch.testing.assert_close(found.log_prob, oracle.log_prob(x, sde, sde.t_min), rtol=0, atol=1e-4)
    assert found.nfe < 1000
    sampler = FlowSampler(rtol=least / 2, atol=least / 2)
    got = sampler.sample(sde, oracle.score(sde), (2, 2), x_T=x)
    first, last = sde.at(sde.T), sde.at(sde.t_min)
    std = [torch.sqrt(level.alpha**2 * 0.25 + level.sigma**2) for level in (first, last)]
    torch.testing.assert_close(got.x.double(), x.double() * std[1] / std[0], rtol=1e-5, atol=1e-6)
    assert got.nfe < 1000
    images = Images(levels=4)
    result = bits_per_dim(sde, oracle.score(sde), torch.zeros(1, 2, dtype=torch.long), images=images, tolerance=2 * least)
    assert result.solver.isfinite().all()
