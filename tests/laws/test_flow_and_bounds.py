"""Bits of one model by the flow, by the bound of the SDE and by that of the levels: above the entropy, in the order of theory.

Codes of a discretised N(0, 1) and k times its score, under one table: every law that the model has is Gaussian and known.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from likelihood import bits_per_dim, sde_bits_per_dim, variational_bound
from sde_lib import GaussianOracle, Images, Tabulated
from sde_lib.tabulated import ddpm
from tests.laws.common import drawn_codes

IMAGES = Images(64, -4.0, 4.0)
D = 8
EDGES = torch.linspace(IMAGES.low, IMAGES.high, IMAGES.levels + 1, dtype=torch.float64)


def mass(std):
    """P(level) of N(0, std^2), whose tails are the outer bins'."""
    cdf = torch.from_numpy(stats.norm(0, std).cdf(EDGES.numpy()))
    cdf[0], cdf[-1] = 0, 1
    return cdf.diff()


def spread_over_bins(variance):
    """Mean over the bin of each level of -log2 of the density N(0, variance), per bin: what uniform points cost."""
    second = (EDGES[1:] ** 3 - EDGES[:-1] ** 3) / (3 * IMAGES.bin_width)
    return (0.5 * second / variance + 0.5 * math.log(2 * math.pi * variance) - math.log(IMAGES.bin_width)) / math.log(2)


P = mass(1.0)
ENTROPY = -(P * P.log2()).sum().item()


def even(levels):
    """A table whose levels are as far apart in log-SNR everywhere, from a noise of two fifths of a bin on."""
    log_snr = torch.linspace(6.0, -9.0, levels, dtype=torch.float64)
    tables = (tuple((0.5 * torch.nn.functional.logsigmoid(sign * log_snr)).tolist()) for sign in (1, -1))
    return Tabulated(*tables, tuple(range(levels)), levels, t_min=1 / levels)


def codes(n, seed=0):
    return drawn_codes(P, n, D, seed)


def score(sde, factor):
    exact = GaussianOracle(torch.zeros(D), 1.0).score(sde)
    return lambda x, t: factor * exact(x, t)


def variances(sde, factor):
    """Of the model's two laws at the first level, from the prior's back: V' = 2 a V - g^2, a = f + k g^2 / v, for the reverse SDE,
    and V' = 2 (f + k g^2 / 2 v) V for the flow."""

    def slope(of_sde):
        def fn(t, V):
            (alpha, sigma, _), (f, g2) = ([value.item() for value in values] for values in (sde.at(t), sde.rates(t)))
            pull = factor * g2 / (alpha**2 + sigma**2)
            return 2 * (f + pull) * V - g2 if of_sde else 2 * (f + 0.5 * pull) * V

        return fn

    ends, start = (1.0, sde.t_min), [sde.at(1.0).sigma.item() ** 2]
    return [integrate.solve_ivp(slope(kind), ends, start, rtol=1e-7, atol=1e-10).y[0, -1] for kind in (True, False)]


class Step(NamedTuple):
    """p(x_{i-1} | x_i) = N(scale x_i, variance), the posterior's mean of_x x_i + of_x0 x0 and its variance, x0's guess per x_i."""

    scale: float
    variance: float
    of_x: float
    of_x0: float
    guess: float
    alpha: float
    sigma: float


def steps(sde, factor):
    """DDPM's chain in betas (Ho et al., 2020, equations 6, 7 and 11), the first level first; beta-tilde its variances."""
    alpha2 = np.exp(2 * np.array(sde.log_alphas))
    before = np.concatenate([[1.0], alpha2[:-1]])
    beta = 1 - alpha2 / before
    tilde = beta * (1 - before) / (1 - alpha2)
    tilde[0] = tilde[1]
    v = 1.0  # alpha^2 1 + sigma^2
    guess = (1 - (1 - alpha2) * factor / v) / np.sqrt(alpha2)
    of_x, of_x0 = np.sqrt(alpha2 / before) * (1 - before) / (1 - alpha2), np.sqrt(before) * beta / (1 - alpha2)
    return [
        Step(*row)
        for row in zip(of_x + of_x0 * guess, tilde, of_x, of_x0, guess, np.sqrt(alpha2), np.sqrt(1 - alpha2), strict=True)
    ]


def law_of_levels(sde, factor):
    """-log2 P(level) of the chain itself, which the variational bound bounds: x0 before rounding is N(0, V)."""
    chain = steps(sde, factor)
    V = chain[-1].sigma ** 2
    for step in reversed(chain):
        V = step.scale**2 * V + step.variance
    return -mass(V**0.5).log2()


def expected_bound(sde, factor):
    """E of the variational bound over codes and noise, bits/dim: KL of Gaussians in closed form, the decoder by quadrature."""
    x0 = IMAGES.encode(torch.arange(IMAGES.levels)).double().numpy()
    p = P.numpy()
    second = (p * x0**2).sum()
    chain = steps(sde, factor)
    nats = chain[-1].alpha ** 2 * second / (2 * chain[-1].sigma ** 2)
    for s in chain[1:]:
        error = (1 - s.guess * s.alpha) ** 2 * second + s.guess**2 * s.sigma**2  # E (x0 - guess)^2
        nats += s.of_x0**2 * error / (2 * s.variance)
    s = chain[0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    mean = s.scale * (s.alpha * x0[:, None] + s.sigma * nodes)
    low, high = ((EDGES.numpy()[k : len(EDGES) - 1 + k, None] - mean) / s.variance**0.5 for k in (0, 1))
    low[0], high[-1] = -np.inf, np.inf
    flip = low + high > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    log_high = special.log_ndtr(high)
    of_code = ((log_high + np.log(-np.expm1(special.log_ndtr(low) - log_high))) * weights).sum(1) / weights.sum()
    return (nats - (p * of_code).sum()) / math.log(2)


def above(values, floor):
    """How many standard errors the mean of values is above that of floor, image by image."""
    gap = values - floor
    return (gap.mean() / (gap.std() / len(gap) ** 0.5)).item()


@pytest.mark.quick("1.0")
@pytest.mark.parametrize("factor", [1.0, 1.25, 0.8])
def test_flow_bits_and_both_bounds_of_a_table_are_ordered_on_an_oracle(factor):
    """entropy <= E -log2 of each of the model's three laws; the flow's number is its law's, the two bounds are above theirs.

    For the exact score the bound of the SDE is its law's too, and both are the entropy but for bins and prior.
    """
    n, sde = 600, even(50)
    data, model = codes(n), score(sde, factor)
    of_levels = variational_bound(sde, model, data, images=IMAGES)
    of_sde = sde_bits_per_dim(sde, model, data, images=IMAGES, draws=64)
    of_flow = bits_per_dim(sde, model, data, images=IMAGES)
    V_sde, V_flow = variances(sde, factor)
    laws = law_of_levels(sde, factor), spread_over_bins(V_sde), spread_over_bins(V_flow)
    own = -P.log2()[data].mean(1)  # of these very images, under the truth
    assert min((P * law).sum() for law in laws) > ENTROPY  # Gibbs
    for result in (of_levels, of_sde, of_flow):
        assert above(result.per_image, own) > -3 and result.mean > ENTROPY - 3 * result.standard_error
    over = [above(result.per_image, law[data].mean(1)) for result, law in zip((of_levels, of_sde, of_flow), laws, strict=True)]
    assert over[0] > 4 and abs(over[2]) < 4
    if factor == 1:
        assert abs(over[1]) < 4 and abs(above(of_sde.per_image, of_flow.per_image)) < 4
        gaps = [(result.per_image - own).mean().item() for result in (of_levels, of_sde, of_flow)]
        assert gaps[0] < 0.8 and abs(gaps[1]) < 0.05 and abs(gaps[2]) < 0.01
    else:  # no guess is better than that of the exact score, term by term
        assert over[1] > 4 and above(of_flow.per_image, own) > 4
        exact = [fn(sde, score(sde, 1.0), data, images=IMAGES).per_image for fn in (variational_bound, sde_bits_per_dim)]
        assert above(of_levels.per_image, exact[0]) > 4 and above(of_sde.per_image, exact[1]) > 4


@pytest.mark.parametrize("sde", [ddpm("linear", 50), Tabulated.from_betas(np.linspace(0.002, 0.1, 30))], ids=["whole", "cut short"])
@pytest.mark.parametrize("factor", [1.0, 1.15])
def test_the_variational_bound_has_its_expectation(factor, sde):
    """Term by term in closed form, over the codes and the noise; cut short, at alpha_T^2 = 0.2, the prior costs 0.19 bits/dim."""
    result = variational_bound(sde, score(sde, factor), codes(4000, seed=1), images=IMAGES)
    assert abs(result.mean - expected_bound(sde, factor)) < 4 * result.standard_error


@pytest.mark.slow
def test_the_error_of_the_variational_bound_has_its_coverage():
    """1,000 sets of 30 images: the 95 % interval holds the expectation in 93 to 97 %."""
    runs, n, sde = 1000, 30, ddpm("linear", 25)
    truth = expected_bound(sde, 1.0)
    result = variational_bound(sde, score(sde, 1.0), codes(runs * n, seed=2).split(5000), images=IMAGES)
    sets = result.per_image.reshape(runs, n)
    error = sets.std(1) / n**0.5
    one = variational_bound(sde, score(sde, 1.0), codes(runs * n, seed=2)[:n], images=IMAGES)
    assert one.standard_error == pytest.approx(error[0].item(), rel=1e-4)  # what it states of a set is what is counted here
    held = ((sets.mean(1) - truth).abs() < stats.t(n - 1).ppf(0.975) * error).double().mean().item()
    assert 0.93 < held < 0.97, held
