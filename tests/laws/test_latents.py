"""Encoding, interpolation and what is believed on the way, on Gaussian data, where all of it is known."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats

from likelihood import variational_bound
from samplers import DDIM, Ancestral, DPMSolver, FlowSampler, LogSNR, Sampler, Uniform, beliefs, ddim_encode, slerp, starting_at
from sde_lib import VPSDE, GaussianOracle, Images, RowNoise, Tabulated
from tests.laws.test_samplers import exact_flow
from tests.registry import CONTINUOUS, PROCESSES, name

MEAN, STD = 0.7, 0.3
ORACLE = GaussianOracle(torch.full((2, 3), MEAN, dtype=torch.float64), STD)


def normal(n, *shape, seed=0):
    return RowNoise(seed, n)(torch.empty(n, *shape, dtype=torch.float64))


@pytest.mark.parametrize("sde", CONTINUOUS, ids=name)
def test_the_flow_encodes_by_the_exact_map_and_comes_back(sde):
    x = ORACLE.sample(5, seed=1)
    sampler, score = FlowSampler(1e-9, 1e-9, "dop853"), ORACLE.score(sde)
    latent, nfe = sampler.encode(sde, score, x)
    t_min, T = (torch.tensor(t, dtype=torch.float64) for t in (sde.t_min, sde.T))
    torch.testing.assert_close(latent, exact_flow(sde, x, t_min, T, MEAN, STD**2), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(sampler.sample(sde, score, x.shape, x_T=latent, dtype=torch.float64).x, x, rtol=0, atol=1e-6)
    assert nfe > 0


@pytest.mark.parametrize("sde", PROCESSES, ids=name)
def test_ddim_encodes_to_first_order_and_comes_back(sde):
    """Half the steps, twice the error: of the latent, and of what comes back."""
    x = ORACLE.sample(5, seed=1)
    score, t_min = ORACLE.score(sde), max(1e-3, sde.t_min)
    errors = []
    for steps in (100, 200):
        grid = LogSNR(steps, t_min=t_min)
        first, last = grid(sde)[-1], grid(sde)[0]
        latent, nfe = ddim_encode(sde, score, x, grid)
        assert nfe == len(grid(sde)) - 1
        back = Sampler(DDIM(), times=grid, last="sample").sample(sde, score, x.shape, x_T=latent, dtype=torch.float64).x
        scale = sde.at(last).sigma
        far = (latent - exact_flow(sde, x, first, last, MEAN, STD**2)).abs().max() / scale
        errors.append((far, (back - x).abs().max()))
    for coarse, fine in zip(*errors, strict=True):
        assert 1.6 < coarse / fine < 2.4 or (hasattr(sde, "index") and fine < 0.7 * coarse)


def test_ddim_encoding_of_gaussian_data_is_its_recursion():
    """Written out in scalars: x0 and eps as believed at t, put together again at the next time."""
    sde, grid = VPSDE(), LogSNR(7, t_min=1e-2)
    x = known = torch.tensor([[0.9, 0.1, 0.5]] * 2, dtype=torch.float64)[None]
    levels = [tuple(float(v) for v in sde.at(t)[:2]) for t in grid(sde).flip(0)]
    for (alpha, sigma), (later_alpha, later_sigma) in pairwise(levels):
        x0 = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (known - alpha * MEAN)
        known = later_alpha * x0 + later_sigma * (known - alpha * x0) / sigma
    torch.testing.assert_close(ddim_encode(sde, ORACLE.score(sde), x, grid).x, known, rtol=1e-8, atol=1e-8)


def test_slerp_keeps_to_the_circle_and_ends_at_its_ends():
    a, b = normal(4, 3, 5), normal(4, 3, 5, seed=1)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    unit = lambda v: v / v.flatten(1).norm(dim=1).reshape(-1, 1, 1)
    w = torch.tensor([0.1, 0.3, 0.5, 0.9])
    between = slerp(unit(a), unit(b), w)
    torch.testing.assert_close(between.flatten(1).norm(dim=1), torch.ones(4, dtype=torch.float64))
    angle = lambda u, v: torch.arccos((u * v).flatten(1).sum(1))
    torch.testing.assert_close(angle(unit(a), between), w * angle(unit(a), unit(b)))
    torch.testing.assert_close(slerp(a, a * (1 + 1e-9), 0.4), a, rtol=1e-8, atol=0)
    assert slerp(a, 0 * a, 0.5).isfinite().all() and slerp(a.float(), b.float(), 0.5).dtype == torch.float32
    with pytest.raises(ValueError, match="the two must agree"):
        slerp(a, b[:2], 0.5)


def test_slerp_of_latents_is_almost_a_latent():
    """In 500 dimensions the angle is a right one within 0.05: squared norms have the mean of chi-squared, and less spread."""
    x = slerp(normal(2000, 500), normal(2000, 500, seed=1), 0.3)
    square, share = (x**2).sum(1), math.sin(0.3 * math.pi / 2) ** 2
    assert square.mean().item() == pytest.approx(500, rel=5e-3)
    assert square.var().item() == pytest.approx(1000 * (share**2 + (1 - share) ** 2), rel=0.15)


@pytest.mark.parametrize("sde", CONTINUOUS, ids=name)
def test_a_sampler_goes_on_from_a_state_in_between(sde):
    t = torch.tensor(0.4 * sde.T, dtype=torch.float64)
    grid = starting_at(t, LogSNR(2000, t_min=max(1e-3, sde.t_min)))
    assert grid(sde)[0] == t and (grid(sde).diff() < 0).all() and grid(sde)[-1] == max(1e-3, sde.t_min)
    x_t = sde.kernel(ORACLE.sample(5, seed=1), t).sample(normal(5, 2, 3))
    sampler = Sampler(DPMSolver(2), times=grid, last="sample")
    x = sampler.sample(sde, ORACLE.score(sde), x_t.shape, x_T=x_t, dtype=torch.float64).x
    torch.testing.assert_close(x, exact_flow(sde, x_t, t, grid(sde)[-1], MEAN, STD**2), rtol=1e-3, atol=1e-3)


def test_what_shares_a_latent_has_its_posterior_law():
    """Many rows of one x_t, under the reverse SDE: x0 given x_t, which for Gaussian data is a known Gaussian."""
    sde, t, n = VPSDE(), 0.3, 4000
    oracle = GaussianOracle(torch.full((1,), MEAN, dtype=torch.float64), STD)
    alpha, sigma, _ = (v.item() for v in sde.at(t))
    x_t = torch.full((n, 1), 0.9, dtype=torch.float64)
    sampler = Sampler(Ancestral(), times=starting_at(t, LogSNR(600, t_min=1e-4)))
    x = sampler.sample(sde, oracle.score(sde), (n, 1), x_T=x_t, dtype=torch.float64).x
    precision = 1 / STD**2 + alpha**2 / sigma**2
    law = stats.norm((MEAN / STD**2 + alpha * 0.9 / sigma**2) / precision, precision**-0.5)
    assert stats.kstest(x[:, 0].numpy(), law.cdf).pvalue > 1e-3


def test_interpolation_between_data_is_what_it_should_be():
    """Noise two images to t, mix, follow the flow back: an affine map that is known."""
    sde, t, w = VPSDE(), 0.5, 0.3
    a, b = ORACLE.sample(3, seed=1), ORACLE.sample(3, seed=2)
    z = normal(3, 2, 3)
    mixed = (1 - w) * sde.kernel(a, t).sample(z) + w * sde.kernel(b, t).sample(z)
    grid = starting_at(t, LogSNR(400, t_min=1e-3))
    x = Sampler(DPMSolver(3), times=grid, last="sample").sample(sde, ORACLE.score(sde), a.shape, x_T=mixed, dtype=torch.float64).x
    alpha, sigma, _ = sde.at(t)
    known = exact_flow(sde, alpha * ((1 - w) * a + w * b) + sigma * z, *(grid(sde)[[0, -1]]), MEAN, STD**2)
    torch.testing.assert_close(x, known, rtol=1e-4, atol=1e-4)


def test_times_that_are_not_on_the_way_are_refused():
    for t in (0.0, 1e-6, 1.5):
        with pytest.raises(ValueError, match="a t between is needed"):
            starting_at(t, Uniform(10))(VPSDE())


def test_beliefs_are_posterior_means():
    sde = VPSDE()
    score = ORACLE.score(sde)
    seen = list(beliefs(sde, score, Sampler(DDIM(), times=Uniform(20)).stream(sde, score, (4, 2, 3), dtype=torch.float64)))
    assert len(seen) == 21 and seen[0].frame.t == 1.0
    for frame, x0 in seen:
        alpha, sigma, _ = (v.item() for v in sde.at(frame.t))
        gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
        torch.testing.assert_close(x0, MEAN + gain * (frame.x - alpha * MEAN), rtol=1e-6, atol=1e-6)
    assert torch.is_grad_enabled()


def test_rate_and_distortion_of_gaussian_data():
    """The distortion is the posterior's standard deviation; the rate begins with the prior's cost and ends with all but L_0."""
    sde, images = Tabulated.from_betas(torch.linspace(1e-3, 0.3, 60, dtype=torch.float64)), Images(256)
    oracle = GaussianOracle(torch.zeros(40, dtype=torch.float64), 0.25)
    codes = images.decode(oracle.sample(300, seed=1))
    result = variational_bound(sde, oracle.score(sde), codes, images=images)
    level = sde.at(sde.times)
    known = 0.25 * level.sigma / torch.sqrt(level.alpha**2 * 0.25**2 + level.sigma**2) / images.bin_width
    torch.testing.assert_close(result.distortion, known, rtol=0.02, atol=0.02)
    assert result.rate[-1].item() == pytest.approx(result.prior, rel=1e-9)
    assert result.rate[0].item() == pytest.approx(result.mean - result.terms[0].item(), rel=1e-9)
    assert (result.rate.diff() < 0).all() and (result.distortion.diff() > -0.05).all()
    # Shannon: a bit of rate halves the distortion of Gaussian data, and no scheme does better.
    slope = (result.rate[5] - result.rate[30]) / torch.log2(result.distortion[30] / result.distortion[5])
    assert 1 - 1e-3 < slope.item() < 1.2
    assert math.isfinite(result.mean)
