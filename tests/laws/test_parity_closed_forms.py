"""Law 8, closed forms evaluated without any diffusion code: score matching's identities, and the binomial chain."""

import itertools

import pytest
import torch

from sde_lib import (
    VESDE,
    BinomialDiffusion,
    DenoisingScoreMatching,
    GaussianOracle,
    ImplicitScoreMatching,
    Score,
    ScoreModel,
    SlicedScoreMatching,
)
from tests.recorded import load, same


def test_score_of_a_gaussian_at_the_worked_example():
    score = GaussianOracle(torch.zeros(2), 1.0).score_density(torch.tensor([[0.0, 0.5]]).double(), *torch.eye(2).double()[:, :1])
    same(score, torch.tensor([[0.0, -0.5]]).double())


@pytest.mark.parametrize("sliced", [None, True, False], ids=["trace", "sliced-reduced", "sliced"])
def test_objectives_are_the_recorded_ones(sliced):
    """A linear score on Gaussian data: averages over x0 = mean +- std and z = +- 1 are the expectations, and noise 0 is no noise.

    The objectives of the papers are half of the sum over entries; ours are the mean over entries.
    """
    g = load("closed_forms/analytic_truths")
    d, mu, s2, mean, variance, sigma = g["score_matching/d_mu_s2_modelmean_modelvar_sigma"].tolist()
    d = int(d)
    both = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=2 * d)), dtype=torch.float64)
    x0, z = mu + s2**0.5 * both[:, :d], both[:, d:]
    sde = VESDE(sigma_min=sigma, sigma_max=10.0, t_min=1e-12)
    t = torch.full((len(x0),), 1e-12, dtype=torch.float64)
    model = ScoreModel(lambda x, label: -(x - mean) / variance, sde, Score())
    one = lambda sde, t: torch.ones_like(t)
    probes = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=d)), dtype=torch.float64)[:, None].expand(-1, *x0.shape)
    if sliced is None:
        implicit, more = ImplicitScoreMatching(weighting=one), {}
    else:
        implicit, more = SlicedScoreMatching(variance_reduced=sliced, weighting=one), {"probes": probes}
    on_data, on_noised = (0.5 * d * implicit(model, x0, t=t, z=noise, **more).mean() for noise in (0 * z, z))
    denoising = 0.5 * d * DenoisingScoreMatching(weighting=one)(model, x0, t=t, z=z).mean()
    same(on_data, g["score_matching/hyvarinen"])
    same(on_data + 0.5 * d / s2, g["score_matching/explicit"])
    same(on_noised + 0.5 * d / (s2 + sigma**2), g["score_matching/explicit_on_noised"])
    same(denoising, g["score_matching/dsm"])


def test_binomial_chain_has_the_recorded_tables():
    g, chain = load("closed_forms/analytic_truths"), BinomialDiffusion(10)
    same(chain.betas, g["binomial/T10_betas"])
    t = torch.arange(1, 11)
    for x0 in (0, 1):
        same(chain.marginal(torch.full((10, 1), float(x0)).double(), t)[:, 0], g[f"binomial/q_xt=1|x0={x0}"])
        for x in (0, 1):
            posterior = chain.posterior(torch.full((10, 1), float(x)).double(), torch.full((10, 1), float(x0)).double(), t)
            same(posterior[1:, 0], g["binomial/posterior_q(x_{t-1}=1|x_t,x0)[t,x0,xt]"][1:, x0, x])
            assert posterior[0, 0] == x0  # at t = 1 nothing was recorded but zeros
