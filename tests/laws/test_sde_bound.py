"""The bound of the reverse SDE: equal to the density for an exact score, off by a known integral for a wrong one."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from likelihood import UniformDequantizer, bits_per_dim, log_likelihood, sde_bits_per_dim, sde_bound, variational_bound
from sde_lib import VESDE, VPSDE, Epsilon, GaussianOracle, Images, RowNoise, ScoreModel, Standardize, SubVPSDE, Tabulated
from tests.laws.common import drawn_codes
from tests.laws.test_densities import correlated, mixture
from tests.registry import PROCESSES, name

FORMS = ["denoising", "sliced"]
each_form = pytest.mark.parametrize("form", FORMS)


def density(oracle, sde, x, t_min=None, n=2000):
    """log p(x) at t_min of the reverse SDE of an exact score, whose paths the bound meets: log p_t_min(x), but for the prior."""
    start = torch.tensor(sde.valid_t_min(t_min), dtype=torch.float64)
    arrival = sde.transition(x, start, sde.T)
    z = RowNoise(9, n)(torch.empty(n, *x.shape[1:], dtype=torch.float64))
    states = (arrival.mean[:, None] + arrival.std * z).flatten(0, 1)
    mismatch = oracle.log_prob(states, sde, sde.T) - sde.prior(states).log_prob(states)
    return oracle.log_prob(x, sde, start) - mismatch.reshape(len(x), n).mean(1)


def deviations(result, truth):
    """Of the rows' mean, in its standard errors."""
    return ((result.log_prob - truth).sum() / result.standard_error.square().sum().sqrt()).item()


@each_form
@pytest.mark.parametrize("sde", PROCESSES, ids=name)
@pytest.mark.parametrize("oracle", [correlated(), mixture()], ids=["correlated", "mixture"])
def test_the_bound_is_the_density_for_an_exact_score(oracle, sde, form):
    """Theorem: equality. Here for each x, whatever law x is from, with the prior's mismatch accounted for."""
    x = oracle.sample(100, seed=1)
    result = sde_bound(sde, oracle.score(sde), x, form=form, draws=32, seed=2)
    assert abs(deviations(result, density(oracle, sde, x))) < 4
    assert result.log_prob.dtype == torch.float64 and result.nfe == 32


@each_form
@pytest.mark.parametrize(("t_min", "other"), [(1e-6, 0.3), (0.3, 1e-5)])
def test_the_bound_is_about_the_law_at_t_min(form, t_min, other):
    sde, oracle = VPSDE(), mixture()
    x = oracle.sample(300, seed=1)
    result = sde_bound(sde, oracle.score(sde), x, form=form, draws=64, t_min=t_min)
    assert abs(deviations(result, density(oracle, sde, x, t_min))) < 4
    assert abs(deviations(result, density(oracle, sde, x, other))) > 12


@each_form
def test_standard_errors_are_calibrated(form):
    """95 % intervals of means over 20 rows, 1,000 times; and the stated variance of one row's bound is the actual one."""
    sde, oracle = VPSDE(), mixture()
    x = oracle.sample(20, seed=3)
    truth = density(oracle, sde, x, n=20_000)
    result = sde_bound(sde, oracle.score(sde), x.repeat(1000, 1), form=form, draws=16, seed=5)
    off = (result.log_prob.reshape(1000, 20) - truth).mean(1)
    stated = result.standard_error.reshape(1000, 20).square().sum(1).sqrt() / 20
    assert 0.93 < (off.abs() < stats.t(40).ppf(0.975) * stated).double().mean() < 0.97
    assert (result.standard_error**2).mean().item() == pytest.approx((result.log_prob - truth.repeat(1000)).var().item(), rel=0.05)


def scaled(oracle, sde, factor):
    exact = oracle.score(sde)
    return lambda x, t: factor * exact(x, t)


@each_form
@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE(), VESDE()], ids=name)
def test_a_wrong_score_costs_half_of_g2_times_its_squared_error(sde, form):
    """Data N(0, 0.6^2)^3 and 1.1 times their score: 1/2 int g^2 E|0.1 s|^2 dt, where E|s|^2 = 3 / v."""
    std, d = 0.6, 3
    oracle = GaussianOracle(torch.zeros(d), std)
    first, last = sde.at(sde.t_min), sde.at(sde.T)
    nodes, weights = np.polynomial.legendre.leggauss(200)  # in log-SNR, d(log-SNR) = -g^2 / sigma^2 dt
    reach = (first.log_snr - last.log_snr).item() / 2
    t = sde.t_of_log_snr(last.log_snr + reach * (1 + torch.from_numpy(nodes)))
    level = sde.at(t)
    cost = 0.5 * 0.01 * d * reach * (torch.from_numpy(weights) * level.sigma**2 / (level.alpha**2 * std**2 + level.sigma**2)).sum()
    x = first.alpha * oracle.sample(3000, seed=1)
    x = x + first.sigma * RowNoise(8, 3000)(x)
    result = sde_bound(sde, scaled(oracle, sde, 1.1), x, form=form, draws=32)
    truth = density(oracle, sde, x, n=500) if sde == VPSDE() else oracle.log_prob(x, sde, sde.t_min)
    gap = truth - result.log_prob
    assert cost > 0.05
    assert abs(gap.mean() - cost) < 4 * gap.std() / 3000**0.5 + (0 if sde == VPSDE() else 2 * sde.prior_mismatch(x).mean())


def test_flow_density_and_both_bounds_of_a_wrong_model_are_those_of_theory():
    """Gaussian data and k times their score: both of the model's laws are Gaussian, with variances that two ODEs give.

    With a = f + k g^2 / v: V' = 2 a V - g^2 for the reverse SDE, V' = 2 (f + k g^2 / (2 v)) V for the flow, back from the
    prior's. The entropy is below -E log of either law, and that of the SDE below its bound.
    """
    sde, std, d, factor = VPSDE(), 0.6, 3, 1.15
    oracle = GaussianOracle(torch.zeros(d), std)

    def slope(of_sde):
        def fn(t, V):
            (alpha, sigma, _), (f, g2) = ([v.item() for v in values] for values in (sde.at(t), sde.rates(t)))
            pull = factor * g2 / (alpha**2 * std**2 + sigma**2)
            return 2 * (f + pull) * V - g2 if of_sde else 2 * (f + 0.5 * pull) * V

        return fn

    ends, start = (sde.T, sde.t_min), [sde.at(sde.T).sigma.item() ** 2]
    V_sde, V_flow = (
        integrate.solve_ivp(slope(kind), ends, start, rtol=1e-9, atol=1e-12, method="DOP853").y[0, -1] for kind in (True, False)
    )
    x = oracle.sample(2000, seed=4)
    score = scaled(oracle, sde, factor)
    of_law = lambda V: torch.from_numpy(stats.norm(0, V**0.5).logpdf(x.numpy())).sum(1)
    flow = log_likelihood(sde, score, x[:10], tolerance=1e-8).log_prob
    torch.testing.assert_close(flow, of_law(V_flow)[:10], rtol=0, atol=1e-4)
    bound = sde_bound(sde, score, x, draws=64)
    slack = of_law(V_sde) - bound.log_prob
    assert slack.mean() > 4 * slack.std() / 2000**0.5  # a bound, and here not a tight one
    truth = oracle.log_prob(x, sde, sde.t_min)
    assert truth.mean() > of_law(V_sde).mean() > bound.log_prob.mean() and truth.mean() > of_law(V_flow).mean()


def test_flow_and_bound_agree_on_the_exact_score_of_another_law():
    """A wrong model that is some process's true score: bound and flow are one number again, the wrong law's."""
    sde, model, x = VPSDE(), correlated(), GaussianOracle(torch.zeros(6), 0.9).sample(100, seed=1)
    bound = sde_bound(sde, model.score(sde), x, draws=64)
    flow = log_likelihood(sde, model.score(sde), x, tolerance=1e-6).log_prob
    assert abs(deviations(bound, density(model, sde, x))) < 4
    mismatch = (bound.log_prob - flow).mean().abs().item()
    assert mismatch < 4 * bound.standard_error.square().sum().sqrt().item() / 100 + sde.prior_mismatch(x).mean().item()


@pytest.mark.slow
def test_the_variational_bound_of_a_fine_table_tends_to_it():
    """L_0 + ... + L_T -> E[bound at x_1] - H(x_1 | x_0) + L_0 for a table cut finer between fixed ends, half the gap at twice
    the levels, from above (Kingma et al., 2021, arXiv 2107.00630, section 4.2)."""
    d, images = 2, Images(64, -4.0, 4.0)
    oracle = GaussianOracle(torch.zeros(d), 1.0)
    codes = images.decode(oracle.sample(2000, seed=0)).long()
    gaps = []
    for levels in (25, 50, 100):
        log_snr = torch.linspace(8.0, -9.0, levels, dtype=torch.float64)
        tables = (tuple((0.5 * torch.nn.functional.logsigmoid(s * log_snr)).tolist()) for s in (1, -1))
        sde = Tabulated(*tables, tuple(range(levels)), levels, t_min=1 / levels)
        score = oracle.score(sde)
        discrete = variational_bound(sde, score, codes, images=images, variance="small")
        # The same noise as at the first level of variational_bound, so that L_0 is the same number.
        first = sde.at(sde.t_min)
        x0 = images.encode(codes).double()
        x = sde.kernel(x0, sde.t_min).sample(RowNoise(0, len(codes), 9)(x0))
        entropy = 0.5 * d * torch.log(2 * math.pi * math.e * first.sigma**2)
        bound = sde_bound(sde, score, x, draws=32, seed=1).log_prob
        later = discrete.per_image * d * math.log(2) - discrete.terms[0] * d * math.log(2)
        gaps.append((later + bound + entropy).mean().item())
    assert 0.1 < gaps[2] < 0.55 * gaps[1] < 0.55 * 0.55 * gaps[0]
    assert abs(2 * gaps[2] - gaps[1]) < 0.15  # what is left for infinitely many, but for noise


@each_form
def test_a_rows_bound_does_not_depend_on_its_batch(form):
    sde, oracle = VPSDE(), correlated()
    x = oracle.sample(12, seed=7)
    whole = sde_bound(sde, oracle.score(sde), x, form=form, seed=5)
    for i in (0, 7):
        alone = sde_bound(sde, oracle.score(sde), x[i : i + 1], form=form, seed=5, index=i)
        torch.testing.assert_close(alone.log_prob[0], whole.log_prob[i], rtol=0, atol=1e-9)
        torch.testing.assert_close(alone.standard_error[0], whole.standard_error[i], rtol=0, atol=1e-9)
    single = sde_bound(sde, oracle.score(sde), x.float(), form=form, seed=5)
    torch.testing.assert_close(single.log_prob, whole.log_prob, rtol=0, atol=2e-3)
    assert sde_bound(sde, oracle.score(sde), x[:0]).log_prob.shape == (0,)


def test_any_shape_any_score_and_no_gradients_are_kept():
    network = torch.nn.Conv1d(2, 2, 3, padding=1)
    model = ScoreModel(lambda x, label: network(x), VPSDE(), Epsilon())
    x = torch.zeros(3, 2, 5, requires_grad=True)
    for form in FORMS:
        result = sde_bound(model.sde, model, x, form=form, draws=4)
        assert result.log_prob.shape == (3,) and not result.log_prob.requires_grad
    with torch.inference_mode():
        sde_bound(model.sde, model, torch.zeros(3, 2, 5), draws=2)
        with pytest.raises(RuntimeError, match="use torch.no_grad"):
            sde_bound(model.sde, model, torch.zeros(3, 2, 5), form="sliced")


def test_bits_of_a_discretised_gaussian_are_its_entropy_as_by_the_flow():
    images, sde = Images(256), VPSDE()
    edges = torch.linspace(-1, 1, 257, dtype=torch.float64)
    p = torch.from_numpy(stats.norm(0, 0.16).cdf(edges.numpy())).diff()
    p = p / p.sum()
    entropy = -(p * p.clamp_min(1e-300).log2()).sum().item()
    codes = drawn_codes(p, 1000, 16)
    score = GaussianOracle(torch.zeros(16, dtype=torch.float64), 0.16).score(sde)
    result = sde_bits_per_dim(sde, score, codes.split(300), images=images)
    assert abs(result.mean - entropy) < 4 * result.standard_error
    assert 0 < result.parts.draws < result.standard_error and result.parts.prior < 1e-3 and result.nfe == 4 * 32
    flow = bits_per_dim(sde, score, codes[:200], images=images)  # of the same dequantized points
    difference = result.per_image[:200] - flow.per_image
    assert abs(difference.mean()) < 4 * difference.std() / 200**0.5
    assert "at most" in str(result) and "draws" in result.record()["parts"]


def test_bits_do_not_depend_on_the_batches_and_draws_are_averaged():
    images, sde, oracle = Images(256), VPSDE(), correlated(9)
    score = oracle.score(sde)
    codes = images.decode(oracle.sample(10, seed=1)).long()
    settings = {"images": images, "seed": 3, "dequantize": UniformDequantizer(draws=2), "draws": 8}
    runs = [sde_bits_per_dim(sde, score, batches, **settings) for batches in (codes, codes.split(3), [codes[:0], *codes.split(1)])]
    for run in runs[1:]:
        torch.testing.assert_close(run.per_image, runs[0].per_image, rtol=0, atol=1e-5)
    part = sde_bits_per_dim(sde, score, codes[4:6], index=4, **settings)
    torch.testing.assert_close(part.per_image, runs[0].per_image[4:6], rtol=0, atol=1e-5)
    assert runs[0].nfe == 16


def test_more_dequantizations_state_a_smaller_error_of_the_draws():
    images, sde = Images(16), VPSDE()
    score, codes = GaussianOracle(torch.zeros(4), 0.4).score(sde), torch.full((300, 4), 7)
    one, four = (sde_bits_per_dim(sde, score, codes, images=images, dequantize=UniformDequantizer(draws=n)) for n in (1, 4))
    assert four.parts.draws == pytest.approx(one.parts.draws / 2, rel=0.1)
    both = math.hypot(one.standard_error, four.standard_error)
    assert abs(one.mean - four.mean) < 4 * both  # an average, and no tighter bound


def test_invalid_arguments_are_refused():
    sde, score = VPSDE(), GaussianOracle(torch.zeros(2), 1.0).score(VPSDE())
    x = torch.zeros(2, 2)
    with pytest.raises(ValueError, match="use one of 'denoising', 'sliced'"):
        sde_bound(sde, score, x, form="implicit")
    for draws in (0, 3):
        with pytest.raises(ValueError, match="even number"):
            sde_bound(sde, score, x, draws=draws)
    with pytest.raises(ValueError, match="a t_min inside"):
        sde_bound(sde, score, x, t_min=2.0)
    with pytest.raises(ValueError, match="1 values that are NaN"):
        sde_bound(sde, score, torch.tensor([[0.0, math.nan]]))
    with pytest.raises(TypeError, match="encode"):
        sde_bound(sde, score, torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="no gradient"):
        sde_bound(sde, lambda x, t: -x.detach(), x, form="sliced")
    with pytest.raises(ValueError, match="belongs to"):
        sde_bound(VESDE(), score, x)
    with pytest.raises(TypeError, match="log_likelihood"):
        sde_bits_per_dim(sde, score, x, images=Images())
    with pytest.raises(ValueError, match="no images"):
        sde_bits_per_dim(sde, score, [], images=Images())


def test_data_without_levels_have_no_bits_by_any_estimator():
    """Standardize has points and no bins: its densities passed for bits/dim here."""
    table = Tabulated.from_betas([0.1, 0.5, 0.9])
    for estimate, sde in ((bits_per_dim, VPSDE()), (sde_bits_per_dim, VPSDE()), (variational_bound, table)):
        with pytest.raises(TypeError, match="use log_likelihood"):
            estimate(sde, lambda x, t: -x, torch.zeros(3, 2), images=Standardize(0.0, 1.0))


def test_the_variational_bound_skips_empty_batches():
    table, codes = Tabulated.from_betas([0.1, 0.5, 0.9]), torch.full((3, 2), 7)
    whole, cut = (
        variational_bound(table, lambda x, t: -x, batches, images=Images()).per_image
        for batches in (codes, [codes[:0], codes[:2], codes[:0], codes[2:]])
    )
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="no images"):
        variational_bound(table, lambda x, t: -x, codes[:0], images=Images())
