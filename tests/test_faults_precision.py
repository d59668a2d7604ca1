"""Data far from 0: the mean is subtracted before precision is thrown away, and samples are decoded in float64."""

import pytest
import torch

from score_sde.evaluation.reals import score_reals
from sde_lib import VPSDE, GaussianOracle, Standardize

FAR = [1e7, -1e7, 2.46e6, 1e12]  # heights, Julian days, metres: float32 holds whole numbers up to 1.7e7


def far_from_zero(mean):
    """mean + z with z on a grid of 1/1024, so that float64 holds the sum exactly."""
    z = torch.randn(4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return mean + (z * 1024).round() / 1024


@pytest.mark.parametrize("mean", FAR)
def test_training_sees_the_data_less_their_mean(mean):
    raw = far_from_zero(mean)
    transform = Standardize.of(raw)
    x = transform.dequantize(raw, torch.full(raw.shape, 0.5))
    exact = (raw - transform.mean) / transform.std
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, exact.float(), rtol=1e-6, atol=1e-6)
    assert x.unique().numel() == raw.unique().numel()  # before, 9 numbers were left of them at 1e7
    assert abs(x.double().std().item() - 1) < 1e-3


@pytest.mark.parametrize("mean", FAR)
def test_samples_keep_their_digits(mean):
    raw = far_from_zero(mean)
    transform = Standardize.of(raw)
    x = transform.dequantize(raw, torch.zeros(()))
    back = transform.decode(x)
    assert back.dtype == torch.float64
    torch.testing.assert_close(back, raw, rtol=1e-15, atol=1e-6)


def test_near_zero_nothing_changes():
    """To the bit, in the dtype of the states, up to 1,024 standard deviations."""
    transform = Standardize(mean=10.0, std=2.0)
    raw = torch.linspace(3.0, 17.0, 101)
    x = transform.dequantize(raw, torch.zeros(()))
    assert torch.equal(x, (raw - 10.0) / 2.0) and torch.equal(transform.decode(x), 10.0 + 2.0 * x)
    assert Standardize(1000.0, 1.0).decode(x).dtype == torch.float32
    assert Standardize(1100.0, 1.0).decode(x).dtype == torch.float64
    half = raw.half()
    assert torch.equal(transform.dequantize(half, torch.zeros(())), (half.float() - 10.0) / 2.0)


@pytest.mark.parametrize("mean", [0.0, 1e7])
def test_the_density_of_data_far_from_zero_is_that_of_the_same_data_near_zero(mean):
    """log N(raw; mean, 1) whatever the mean is, by the exact score of standard normal states."""
    raw = far_from_zero(0.0)[:20] + mean
    transform = Standardize(mean, 1.0)
    sde = VPSDE()
    score = GaussianOracle(torch.zeros(1, dtype=torch.float64), 1.0).score(sde)
    found = score_reals(sde, score, raw, transform=transform, tolerance=1e-5)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(raw - mean)[:, 0]
    torch.testing.assert_close(found.per_image, expected, rtol=0, atol=1e-4)
