"""The rate-distortion curve of Gaussian data under its exact score, in closed form."""

import math

import pytest
import torch

from likelihood import variational_bound
from score_sde.config.component import build
from sde_lib import GaussianOracle, Images
from sde_lib.tabulated import ddpm
from tests.laws.common import normal
from tests.recorded import load

MU, S, FINE = 0.3, 0.5, Images(1024, -6.0, 6.0)


def gaussian_codes(shape, seed):
    return FINE.decode(MU + S * normal(shape, seed))


@pytest.mark.quick("linear")
@pytest.mark.parametrize("sde", [ddpm("cosine", 40), ddpm("linear", 60)], ids=["cosine", "linear"])
def test_rate_and_distortion_of_gaussian_data_are_closed_forms(sde):
    """Each level costs c^2 Var(x0 | x_t) / (2 beta-tilde) nats, c the weight of x0 in the step's mean, whose guess errs by Var."""
    codes = gaussian_codes((6000, 3), seed=1)
    result = variational_bound(sde, GaussianOracle(torch.full((3,), MU), S).score(sde), codes.split(2500), images=FINE, seed=4)
    curve = result.rate_distortion

    alpha, sigma, _ = sde.at(sde.times)
    hidden = S**2 * sigma**2 / (alpha**2 * S**2 + sigma**2)
    beta = torch.cat([1 - alpha[:1] ** 2, 1 - (alpha[1:] / alpha[:-1]) ** 2])
    c = alpha[:-1] * beta[1:] / sigma[1:] ** 2
    beta_tilde = beta[1:] * sigma[:-1] ** 2 / sigma[1:] ** 2
    costs = c**2 * hidden[1:] / (2 * beta_tilde) / math.log(2)
    prior = float(alpha[-1] ** 2 * (MU**2 + S**2) / (2 * sigma[-1] ** 2)) / math.log(2)
    rate = prior + torch.cat([costs.flip(0).cumsum(0).flip(0), torch.zeros(1, dtype=torch.float64)])
    assert ((curve.rate - rate).abs() < 4.5 * curve.rate_error + 1e-9).all()
    assert ((curve.distortion - hidden.sqrt() / FINE.bin_width).abs() < 4.5 * curve.distortion_error).all()
    assert (curve.rate_error < 0.03 * rate + 1e-4).all() and (curve.distortion_error < 0.01 * curve.distortion).all()

    assert curve.rate[0].item() == pytest.approx(result.mean - result.terms[0].item(), rel=1e-12)
    assert curve.rate[-1].item() == pytest.approx(result.prior, rel=1e-12)
    assert (curve.rate.diff() < 0).all() and (curve.distortion.diff() > -curve.distortion_error[1:]).all()  # flat at the end


@pytest.mark.slow
def test_the_curve_of_ddpm_s_table_is_the_recorded_one():
    """N(0.3, 1/4) under DDPM's 1000 levels after 0 to 999 received steps: recorded from closed forms, for a prior N(0, 1)."""
    g, sde = load("closed_forms/analytic_truths"), ddpm()
    codes = gaussian_codes((2000, 1), seed=2)
    curve = variational_bound(sde, GaussianOracle(torch.full((1,), MU), S).score(sde), codes, images=FINE, seed=7).rate_distortion
    place = 999 - g["rate_distortion/received_steps"]
    rate, mse = g["rate_distortion/s2=0.25/rate_bits_at"], g["rate_distortion/s2=0.25/mse_at"]
    assert ((curve.rate[place] - rate).abs() < 4.5 * curve.rate_error[place]).all()
    assert ((curve.distortion[place] - mse.sqrt() / FINE.bin_width).abs() < 4.5 * curve.distortion_error[place]).all()
    assert (curve.rate_error[place[2:]] < 0.04 * rate[2:]).all() and (curve.distortion_error < 0.03 * curve.distortion).all()


@pytest.mark.slow
def test_errors_of_the_curve_are_the_spread_of_repeats():
    """Sixty small sets, each with its own draws: the mean reported error is the standard deviation of the curve among them."""
    sde = ddpm("cosine", 8)
    score = GaussianOracle(torch.full((2,), MU), S).score(sde)
    curves = [
        variational_bound(sde, score, gaussian_codes((100, 2), seed=i), images=FINE, seed=i).rate_distortion for i in range(60)
    ]
    for value, error in (("rate", "rate_error"), ("distortion", "distortion_error")):
        spread = torch.stack([getattr(curve, value) for curve in curves]).std(0)
        stated = torch.stack([getattr(curve, error) for curve in curves]).mean(0)
        assert (spread / stated - 1).abs().max() < 0.4  # sixty repeats know a standard deviation to 9 %, of one standard error


def test_distortion_counts_levels_whatever_the_scale_of_states():
    """A guess that is always a bin too high is one level off at each time, for any range."""
    sde = ddpm("cosine", 5)
    for images in (Images(256), Images(17, -3.0, 1.0)):
        codes = torch.randint(0, 17, (4, 2), generator=torch.Generator().manual_seed(0))
        x0 = images.encode(codes).double()

        def score(x, t, x0=x0, images=images):
            level = sde.at(t)
            return (level.alpha * (x0 + images.bin_width) - x) / level.sigma**2

        distortion = variational_bound(sde, score, codes, images=images).rate_distortion.distortion
        torch.testing.assert_close(distortion, torch.ones(5, dtype=torch.float64), rtol=1e-4, atol=0)


def test_the_curve_is_written_down_with_the_bound():
    sde = build("sde", "ddpm(schedule=cosine, steps=6)")
    codes = torch.randint(0, 4, (3, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    record = variational_bound(sde, lambda x, t: -x, codes, images=Images(4)).record()
    assert {len(record[name]) for name in ("rate", "distortion", "rate_error", "distortion_error", "terms")} == {6}
    one = variational_bound(sde, lambda x, t: -x, codes[:1], images=Images(4)).rate_distortion
    assert one.rate_error.isnan().all() and one.distortion.isfinite().all()
