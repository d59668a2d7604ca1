"""Law 8, parity of likelihoods and flow samples with the closed forms that score_sde_pytorch was held to.

Data N(mu, 1/4), or with a full covariance; the exact score; from t = 1e-5 to 1. score_sde_pytorch's own numbers, at
tolerance 1e-5, are within 3e-5 bits/dim of these; at 1e-10 within 1e-8.
"""

import math
from dataclasses import dataclass

import pytest
import torch

from likelihood import Exact, Hutchinson, Images, bits_per_dim, log_likelihood
from samplers import FlowSampler
from sde_lib import VESDE, VPSDE, Gaussian, GaussianOracle
from tests.recorded import load, same_state

SDES = {"vp": VPSDE(), "ve50": VESDE()}
every_process = pytest.mark.parametrize("kind", SDES)
# Eight-bit images on [-1, 1]: the 7 that score_sde_pytorch adds; on [0, 1] the 8.
CENTERED, UNIT = Images(256), Images(256, low=0.0)


@dataclass(frozen=True, eq=False)
class Recorded(Hutchinson):
    """Hutchinson's estimate with a probe that was recorded."""

    v: torch.Tensor = None

    def probe(self, noise, like):
        return self.v[None, : len(like)]


def bits(log_prob, x, images=CENTERED):
    dims = x[0].numel()
    return -(log_prob + images.log_det(dims)) / (dims * math.log(2))


def assert_bits(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def prior_gap(sde, latent):
    """What to add to log_prob for their prior, N(0, 1); ours is N(0, sigma(T)^2), sigma(T) = 1 - 2e-5 for VP."""
    if isinstance(sde, VESDE):
        return torch.zeros(len(latent), dtype=torch.float64)
    ours = sde.prior(latent)
    return Gaussian(ours.mean, torch.ones_like(ours.std)).log_prob(latent) - ours.log_prob(latent)


def solve(sde, score, x0, divergence):
    return log_likelihood(sde, score, x0, divergence=divergence, tolerance=1e-10, method="dop853", t_min=1e-5)


@pytest.mark.quick("ve*")
@pytest.mark.parametrize("probe", [None, "Rademacher", "Gaussian"])
@every_process
def test_bits_of_independent_entries_are_the_closed_form(kind, probe):
    """A probe of signs is exact here, since the Jacobian is a multiple of 1."""
    g, sde = load(f"score_sde_pytorch/c_likelihood_{kind}"), SDES[kind]
    divergence = Exact(chunk=192) if probe is None else Recorded(v=g[f"probe_{probe}"])
    score = GaussianOracle(g["mu"], float(g["s"])).score(sde)
    result = solve(sde, score, g["x0"], divergence)
    log_prob = result.log_prob + prior_gap(sde, result.latent)
    expected = g[f"exact_bpd_ode_{probe or 'Rademacher'}"]
    assert_bits(bits(log_prob, g["x0"]), expected)
    assert_bits(bits(log_prob, g["x0"], UNIT), expected + 1)
    same_state(result.latent, g["exact_z"], rtol=1e-8)


@every_process
def test_densities_of_the_oracle_are_the_closed_form(kind):
    g, sde = load(f"score_sde_pytorch/c_likelihood_{kind}"), SDES[kind]
    oracle = GaussianOracle(g["mu"], float(g["s"]))
    torch.testing.assert_close(bits(oracle.log_prob(g["x0"]), g["x0"]), g["exact_bpd_data"], rtol=1e-9, atol=0)
    at_start = bits(oracle.log_prob(g["x0"], sde, 1e-5), g["x0"])
    torch.testing.assert_close(at_start, g["exact_bpd_p_eps"], rtol=1e-9, atol=0)


@pytest.mark.parametrize(("probe", "key"), [(None, "exact_bpd_true_trace"), ("probe", "exact_bpd_this_probe")])
def test_bits_of_correlated_entries_are_the_closed_form(probe, key):
    """One probe is 0.5 bits/dim off the trace for the first image, and its number is known too."""
    g, sde = load("score_sde_pytorch/c_likelihood_fullcov_vp"), VPSDE()
    divergence = Exact() if probe is None else Recorded(v=g["probe"])
    oracle = GaussianOracle(g["mu"], covariance=g["cov"])
    result = solve(sde, oracle.score(sde), g["x0"], divergence)
    assert_bits(bits(result.log_prob + prior_gap(sde, result.latent), g["x0"]), g[key])
    same_state(result.latent, g["exact_z"], rtol=1e-8)
    torch.testing.assert_close(bits(oracle.log_prob(g["x0"]), g["x0"]), g["exact_bpd_data"], rtol=1e-9, atol=0)


@every_process
def test_bits_per_dim_adds_the_bins_to_the_closed_form(kind):
    """The whole of bits_per_dim, but for the draw inside the bins: the recorded points stand for it."""
    g, sde = load(f"score_sde_pytorch/c_likelihood_{kind}"), SDES[kind]

    class Points:
        draws = 1

        def sample(self, images, codes, noise, level):
            return g["x0"], images.log_det(codes[0].numel())

    result = bits_per_dim(
        sde,
        GaussianOracle(g["mu"], float(g["s"])).score(sde),
        torch.zeros(g["x0"].shape, dtype=torch.int64),
        images=CENTERED,
        dequantize=Points(),
        divergence=Recorded(v=g["probe_Rademacher"]),
        tolerance=1e-7,
        t_min=1e-5,
        solver_images=1,
    )
    gap = prior_gap(sde, g["exact_z"]) / (g["x0"][0].numel() * math.log(2))
    assert_bits(result.per_image - gap, g["exact_bpd_ode_Rademacher"])


def test_flow_samples_are_the_closed_form():
    g, sde = load("score_sde_pytorch/c_ode_vp"), VPSDE()
    score = GaussianOracle(g["mu"], float(g["s"])).score(sde)
    sampler = FlowSampler(rtol=1e-10, atol=1e-10, method="dop853", t_min=float(g["eps"]))
    same_state(sampler.sample(sde, score, g["z"].shape, x_T=g["z"], dtype=torch.float64).x, g["exact_x"], rtol=1e-8)
