"""Law 4: bits/dim of laws whose entropy is known, and the transforms that lie between levels and states."""

import math

import pytest
import torch
from scipy import stats

from likelihood import Exact, bits_per_dim, log_likelihood
from sde_lib import VPSDE, GaussianOracle, Images, Standardize
from tests.laws.common import drawn_codes
from tests.laws.test_densities import correlated


def discretised(images, mean=0.1, std=0.4):
    """P(level) of a Gaussian over the bins, its entropy in bits, and a draw of levels."""
    edges = torch.linspace(images.low, images.high, images.levels + 1, dtype=torch.float64)
    cdf = torch.from_numpy(stats.norm(mean, std).cdf(edges.numpy()))
    p = cdf.diff() / (cdf[-1] - cdf[0])
    return -(p * p.clamp_min(1e-300).log2()).sum().item(), p


@pytest.mark.parametrize(("levels", "low", "high"), [(2**8, -1, 1), (2**4, -1, 1), (2**16, -1, 1), (17, 0, 1), (2**8, 0, 1)])
def test_bits_per_dim_of_a_discretised_gaussian_is_its_entropy(levels, low, high):
    """Any number of levels and any range: the offset is -log2 of the bin's width, not 7 or 8."""
    images = Images(levels, low=float(low), high=float(high))
    middle, std = (low + high) / 2, 0.08 * (high - low)
    entropy, p = discretised(images, middle, std)
    codes = drawn_codes(p, 1000, 16)
    score = GaussianOracle(torch.full((16,), middle, dtype=torch.float64), std).score(VPSDE())
    result = bits_per_dim(VPSDE(), score, codes.split(300), images=images)
    assert result.per_image.shape == (1000,)
    # Uniform dequantization of coarse levels costs the curvature within a bin, at most 0.02 bits here.
    assert -5 * result.standard_error < result.mean - entropy < 5 * result.standard_error + 0.02
    assert result.parts.solver < 2e-3 and result.parts.prior < 1e-3


def test_a_gaussian_of_known_bits():
    """Its entropy is log2(std sqrt(2 pi e)) of levels, here 7.707 bits of 512, its ends five standard deviations away."""
    images = Images(512)
    std = 2**7.707 / math.sqrt(2 * math.pi * math.e) * images.bin_width
    entropy, p = discretised(images, 0.0, std)
    assert entropy == pytest.approx(7.707, abs=1e-3)
    codes = drawn_codes(p, 1000, 64, 1)
    score = GaussianOracle(torch.zeros(64, dtype=torch.float64), std).score(VPSDE())
    result = bits_per_dim(VPSDE(), score, codes, images=images)
    assert abs(result.mean - 7.707) < 4 * result.standard_error and result.standard_error < 0.004


@pytest.mark.slow
def test_uniform_codes_have_eight_bits():
    """U{0, ..., 255} under the score of U(-1, 1): 8 bits and what the blur at t_min costs at the two ends, known by quadrature."""
    images, sde = Images(256), VPSDE()

    def log_p(x, alpha, sigma):
        inside = torch.special.ndtr((x + alpha) / sigma) - torch.special.ndtr((x - alpha) / sigma)
        return torch.log(inside / (2 * alpha))

    def score(x, t):
        alpha, sigma, _ = (v[:, None] for v in sde.at(t))
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(log_p(x, alpha, sigma).sum(), x, create_graph=True)[0]

    x = torch.linspace(-1, 1, 2**18 + 1, dtype=torch.float64)
    blur = -torch.trapezoid(log_p(x, *sde.at(sde.t_min)[:2]), x).item() / 2 / math.log(2) - math.log2(images.bin_width) - 8
    assert 0 < blur < 0.005
    codes = torch.arange(256).repeat(20)[:, None]
    result = bits_per_dim(sde, score, codes, images=images, divergence=Exact(), tolerance=1e-6)
    assert abs(result.mean - 8 - blur) < 4 * result.standard_error + 1e-4 and result.standard_error < 5e-4


def test_bits_of_an_image_do_not_depend_on_the_batches():
    images, sde = Images(256), VPSDE()
    oracle = correlated(9)
    score = oracle.score(sde)
    codes = images.decode(oracle.sample(10, seed=1)).long()
    runs = [bits_per_dim(sde, score, batches, images=images, seed=3) for batches in (codes, codes.split(3), codes.split(1))]
    for run in runs[1:]:
        torch.testing.assert_close(run.per_image, runs[0].per_image, rtol=0, atol=1e-5)
    part = bits_per_dim(sde, score, codes[4:6], images=images, seed=3, index=4)
    torch.testing.assert_close(part.per_image, runs[0].per_image[4:6], rtol=0, atol=1e-5)


def test_rows_that_belong_to_a_plain_function_stay_together():
    """A function that knows its rows, and cannot give some of them up: the batch is never cut."""
    sde, oracle = VPSDE(), GaussianOracle(torch.zeros(2, dtype=torch.float64), 0.3)
    shift = torch.linspace(-0.1, 0.1, 20)[:, None]
    score = lambda x, t: oracle.score(sde)(x, t) + shift
    result = bits_per_dim(sde, score, torch.full((20, 2), 128), images=Images(), tolerance=1e-2)
    assert result.per_image.shape == (20,) and result.parts.solver >= 0


def test_a_coarse_t_min_is_reported():
    images, sde = Images(2**16), VPSDE()
    score = GaussianOracle(torch.zeros(4, dtype=torch.float64), 0.3).score(sde)
    result = bits_per_dim(sde, score, torch.full((3, 4), 2**15), images=images)
    assert result.sigma_over_bin == pytest.approx(1e-3 / 2**-15, rel=0.01)
    assert "smaller t_min" in str(result)


def test_data_that_have_no_bits_are_refused():
    sde, score = VPSDE(), GaussianOracle(torch.zeros(2), 1.0).score(VPSDE())
    with pytest.raises(TypeError, match="log_likelihood"):
        bits_per_dim(sde, score, torch.zeros(2, 2), images=Images())
    with pytest.raises(ValueError, match="levels=301"):
        bits_per_dim(sde, score, torch.tensor([[0, 300]]), images=Images())
    for nothing in ([], torch.zeros(0, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match="no images"):
            bits_per_dim(sde, score, nothing, images=Images())
    some = torch.full((3, 2), 128).split(2)
    assert bits_per_dim(sde, score, [some[0][:0], *some], images=Images()).per_image.shape == (3,)
    assert log_likelihood(sde, score, torch.zeros(0, 2)).log_prob.shape == (0,)


@pytest.mark.parametrize("levels", [2, 17, 256, 65536])
@pytest.mark.parametrize("ends", [(-1.0, 1.0), (0.0, 1.0), (-1 - 1 / 255, 1 + 1 / 255)])
def test_images_round_trip(levels, ends):
    images = Images(levels, *ends)
    codes = torch.arange(levels)[:, None]
    assert torch.equal(images.decode(images.encode(codes)).long(), codes)
    for u in (0.001, 0.999):
        assert torch.equal(images.decode(images.dequantize(codes, torch.tensor(u, dtype=torch.float64))).long(), codes)
    assert images.decode(torch.tensor([[-9.0, 9.0]])).tolist() == [[0, levels - 1]]


def test_the_usual_eight_bit_scaling_is_a_choice_of_low_and_high():
    codes = torch.arange(256)
    torch.testing.assert_close(Images(256, -1 - 1 / 255, 1 + 1 / 255).encode(codes), codes / 127.5 - 1)


def test_standardize_round_trips_with_its_determinant():
    raw = 5 + 3 * torch.randn(1000, 4, dtype=torch.float64)
    transform = Standardize.of(raw)
    x = transform.encode(raw)
    assert x.mean().item() == pytest.approx(0, abs=1e-12) and x.std(correction=0).item() == pytest.approx(1)
    torch.testing.assert_close(transform.decode(x), raw)
    law, width = GaussianOracle(torch.zeros(4), 1.0), raw.std(correction=0)
    expected = stats.norm(raw.mean(), width).logpdf(raw[:3]).sum(1)
    torch.testing.assert_close(law.log_prob(x[:3]) + transform.log_det(4), torch.from_numpy(expected))
    with pytest.raises(ValueError, match="constant"):
        Standardize.of(torch.ones(5, 2))
