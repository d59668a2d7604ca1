"""The variational bound: term by term against improved-diffusion, the ELBO's identity on Gaussian data, the best variance."""

import math

import numpy as np
import pytest
import torch

from sde_lib import (
    VPSDE,
    Data,
    DenoisingScoreMatching,
    Epsilon,
    GaussianOracle,
    Hybrid,
    Images,
    LossAwareTime,
    PreviousMean,
    ScoreModel,
    Tabulated,
    VariationalBound,
    WithVariance,
)
from sde_lib.prediction import Prediction
from sde_lib.tabulated import ddpm
from sde_lib.variational import bound_term, decoder_log_prob, log_variances, reverse_law
from tests.recorded import load, same, same_state

EIGHT_BIT = Images(256, low=-1 - 1 / 255, high=1 + 1 / 255)
MEANS = {"EPSILON": (Epsilon, "sigma2"), "START_X": (Data, "x0"), "PREVIOUS_X": (PreviousMean, "previous")}
every_mean = pytest.mark.parametrize("mean", MEANS)
every_variance = pytest.mark.parametrize("variance", ["FIXED_SMALL", "FIXED_LARGE", "LEARNED", "LEARNED_RANGE"])


def recorded_model(g, mean, variance):
    """A network that answers what was recorded; theirs are entries 0..N-1, as ours."""
    reading, second = (
        MEANS[mean][0](label="index"),
        {"LEARNED": "out_logvar_learned", "LEARNED_RANGE": "out_var_range"}.get(variance),
    )
    answers = [g["out_mean"].requires_grad_()]
    if second:
        answers.append(g[second].requires_grad_())
        reading = WithVariance(reading, kind="log" if variance == "LEARNED" else "fraction")
    model = ScoreModel(lambda x, label: torch.cat(answers, 1), Tabulated.from_betas(g["betas"]), reading, EIGHT_BIT)
    return model, answers, g["codes"].double() / 127.5 - 1, (g["t"] + 1).double() / len(g["betas"])


@every_variance
@every_mean
def test_terms_are_improved_diffusion_s(mean, variance):
    """All but those of the first level, where theirs has an approximate normal CDF; the decoder has its own test."""
    g = load("improved_diffusion/idd_losses")
    model, _, x0, t = recorded_model(g, mean, variance)
    fixed = "large" if variance == "FIXED_LARGE" else "small"
    terms = VariationalBound(variance=fixed)(model, x0, t=t, z=g["noise"]).detach() / len(g["betas"])
    later = g["t"] > 0
    same(terms[later], g[f"vb/{mean}/{variance}/clip0"][later])


@every_variance
@every_mean
def test_laws_of_a_step_back_are_improved_diffusion_s(mean, variance):
    g = load("improved_diffusion/idd_p_mean_variance")
    second = {"LEARNED": "out_logvar_learned", "LEARNED_RANGE": "out_var_range"}.get(variance)
    reading = MEANS[mean][0](label="index")
    if second:
        reading = WithVariance(reading, kind="log" if variance == "LEARNED" else "fraction")
    output = torch.cat([g["out_mean"], g[second]], 1) if second else g["out_mean"]
    sde = Tabulated.from_betas(g["betas"])
    t = (g["t"] + 1).double() / len(g["betas"])
    prediction = ScoreModel(lambda x, label: output, sde, reading).predict(g["x"], t)
    means, log_variance = reverse_law(sde, prediction, t, "large" if variance == "FIXED_LARGE" else "small")
    same_state(means, g[f"{mean}/FIXED_SMALL/clip0/mean"])
    if mean == "EPSILON" and f"EPSILON/{variance}/clip0/log_variance" in g:
        same(log_variance.expand_as(means), g[f"EPSILON/{variance}/clip0/log_variance"].expand_as(means))


@pytest.mark.parametrize("variance", ["LEARNED", "LEARNED_RANGE"])
@every_mean
def test_hybrid_is_improved_diffusion_s_rescaled_mse_and_holds_the_mean_fixed(mean, variance):
    g = load("improved_diffusion/idd_losses")
    model, (output, second), x0, t = recorded_model(g, mean, variance)
    simple = DenoisingScoreMatching(MEANS[mean][1])
    later, key = g["t"] > 0, f"loss/RESCALED_MSE/{mean}/{variance}"
    loss = Hybrid(weight=0.001, simple=simple)(model, x0, t=t, z=g["noise"])
    same(loss.detach()[later], g[f"{key}/loss"][later])
    alone = simple(model, x0, t=t, z=g["noise"])
    same(alone.detach(), g[f"{key}/mse"], rtol=1e-9)
    ours, theirs = torch.autograd.grad(loss.sum(), output, retain_graph=True)[0], torch.autograd.grad(alone.sum(), output)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert torch.autograd.grad(loss.sum(), second)[0].abs().sum() > 0


def test_bound_times_levels_is_improved_diffusion_s_rescaled_kl():
    g = load("improved_diffusion/idd_losses")
    model, _, x0, t = recorded_model(g, "EPSILON", "FIXED_LARGE")
    later = g["t"] > 0
    loss = VariationalBound(variance="large")(model, x0, t=t, z=g["noise"]).detach()
    same(loss[later], g["loss/RESCALED_KL/EPSILON/FIXED_LARGE/loss"][later])


def test_log_variances_are_beta_tilde_and_beta():
    g = load("improved_diffusion/idd_schedules")
    sde = Tabulated.from_betas(g["linear1000_betas"])
    ours = log_variances(sde, sde.times)
    same(ours.small, g["linear1000_posterior_log_variance_clipped"])
    same(ours.large, g["linear1000_betas"].log())


def test_decoder_is_the_mass_of_each_bin():
    """Recorded with the exact normal CDF, and a law: what all levels have sums to 1, however narrow and far the normal is."""
    g = load("improved_diffusion/idd_losses")
    codes = torch.round((g["dec_x"] + 1) * 127.5).long()
    x, m, s = (v.expand(9, 10, 5) for v in (codes[:, None, None], g["dec_means"][:, None], g["dec_log_scales"]))
    ours = decoder_log_prob(EIGHT_BIT, x, m.clone(), 2 * s)
    clear = g["dec_ll_exact"] > -20  # below, the record is clamped at log 1e-12
    torch.testing.assert_close(ours[clear], g["dec_ll_exact"][clear], rtol=1e-6, atol=1e-9)
    levels = torch.arange(256)[:, None]
    for mean, std in [(0.0, 0.01), (0.3, 1.0), (-2.0, 0.05), (7.0, 3.0)]:
        each = decoder_log_prob(
            EIGHT_BIT, levels, torch.full((256, 1), mean).double(), torch.full((256, 1), 2 * math.log(std)).double()
        )
        assert each.exp().sum().item() == pytest.approx(1, abs=1e-13) and each.isfinite().all()


def test_decoder_has_finite_gradients_in_float32():
    mean = torch.linspace(-30, 30, 256).requires_grad_()
    log_variance = torch.linspace(-12, 2, 256).requires_grad_()
    decoder_log_prob(EIGHT_BIT, torch.arange(256), mean, log_variance).sum().backward()
    assert mean.grad.isfinite().all() and log_variance.grad.isfinite().all()


@pytest.mark.parametrize("kind", [None, "log", "fraction"])
def test_one_time_for_all_rows_and_float32(kind):
    """A 0-d time is that time for each row, and a state in float32 keeps its dtype."""
    sde = ddpm(steps=30)
    reading = WithVariance(kind=kind) if kind else Epsilon()
    model = ScoreModel(lambda x, label: torch.cat([x, 0.1 * x], 1) if kind else x, sde, reading)
    x0, z = EIGHT_BIT.encode(torch.arange(12).reshape(3, 4)), torch.ones(3, 4)
    for t in (sde.times[0], sde.times[7]):
        together = bound_term(sde, model.predict(sde.kernel(x0, t).sample(z), t), x0, t, EIGHT_BIT)
        each = t.expand(3)
        apart = bound_term(sde, model.predict(sde.kernel(x0, each).sample(z), each), x0, each, EIGHT_BIT)
        assert together.dtype == torch.float32
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)


MU = 0.3


def quadrature(sde, s):
    """x0, eps and t for every pair of Gauss-Hermite nodes at every level, and the weights: exact for what is quadratic."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(4))
    weights = weights / weights.sum()
    n = len(sde.log_alphas)
    a, b = torch.cartesian_prod(nodes, nodes).T
    x0, eps = (MU + s * a).repeat(n)[:, None], b.repeat(n)[:, None]
    return x0, eps, sde.times.repeat_interleave(16), (weights[:, None] * weights).flatten().repeat(n)


def exact(sde, s, t):
    """eps*, the coefficient of x0 in the step's mean, and the variance that is best: beta-tilde + c1^2 Var(x0 | x_t)."""
    alpha, sigma, log_snr = sde.at(t)
    before = sde.before(t)
    c1 = before.alpha * -torch.expm1(log_snr - before.log_snr)
    spread = s**2 * sigma**2 / (alpha**2 * s**2 + sigma**2)
    beta_tilde = before.sigma**2 * -torch.expm1(log_snr - before.log_snr)
    return c1, spread, beta_tilde + c1**2 * spread


@pytest.mark.parametrize("s2", [0.25, 1.0, 4.0])
def test_elbo_identity_on_gaussian_data(s2):
    """With exact mean and best variance the bound is H(x0) + KL(q(x_T) || prior), here against the process's own prior."""
    sde, s = ddpm(), s2**0.5
    x0, eps, t, weight = quadrature(sde, s)
    alpha, sigma, _ = sde.at(t)
    x = alpha[:, None] * x0 + sigma[:, None] * eps
    score = GaussianOracle(torch.tensor([MU]), s).score(sde)(x, t)
    best = exact(sde, s, t)[2]
    prediction = Prediction(x, -sigma[:, None] * score, sde.at(t), 0.0, 1.0, log_variance=best.log()[:, None])
    terms = bound_term(sde, prediction, x0, t, EIGHT_BIT) * math.log(2)  # nats, one dimension
    later = sde.place(t) > 0
    mean, log_variance = reverse_law(sde, prediction, t)
    # The last step to the data as a density: the identity is about continuous data.
    reconstruction = 0.5 * (math.log(2 * math.pi) + log_variance + (x0 - mean) ** 2 * torch.exp(-log_variance))[:, 0]
    bound = (weight * torch.where(later, terms, reconstruction)).sum()
    bound = bound + (weight[:16] * sde.prior_mismatch(x0[:16])).sum()
    end = sde.at(1.0)
    m, v, p = end.alpha * MU, end.alpha**2 * s2 + end.sigma**2, end.sigma**2
    kl = 0.5 * ((v + m**2) / p - 1 - torch.log(v / p))
    entropy = 0.5 * math.log(2 * math.pi * math.e * s2)
    assert bound.item() == pytest.approx(entropy + kl.item(), abs=1e-9)


def test_the_best_fraction_of_the_variance_is_found_by_training():
    """v* = log(best / beta-tilde) / log(beta / beta-tilde) at each level, by gradient descent on the bound."""
    sde, s = ddpm("cosine", 12), 0.6
    x0, eps, t, weight = quadrature(sde, s)
    later = sde.place(t) > 0
    x0, eps, t, weight = x0[later], eps[later], t[later], weight[later]
    alpha, sigma, _ = sde.at(t)
    x = alpha[:, None] * x0 + sigma[:, None] * eps
    output = -sigma[:, None] * GaussianOracle(torch.tensor([MU]), s).score(sde)(x, t)
    table = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    model = ScoreModel(
        lambda x, label: torch.cat([output, table[label][:, None]], 1), sde, WithVariance(Epsilon(label="index")), EIGHT_BIT
    )
    optimizer = torch.optim.LBFGS([table], max_iter=200, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = (weight * VariationalBound()(model, x0, t=t, z=eps)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    fixed = log_variances(sde, sde.times)
    best = (exact(sde, s, sde.times)[2].log() - fixed.small) / (fixed.large - fixed.small)
    torch.testing.assert_close((table.detach()[1:] + 1) / 2, best[1:], rtol=1e-4, atol=1e-4)


def test_the_best_variance_is_beta_for_unit_variance_and_beta_tilde_for_a_point():
    sde = ddpm()
    fixed = log_variances(sde, sde.times)
    same(exact(sde, 1.0, sde.times)[2][1:], fixed.large.exp()[1:], rtol=1e-10)
    same(exact(sde, 0.0, sde.times)[2][1:], fixed.small.exp()[1:], rtol=1e-10)


def test_loss_aware_times_train_on_the_same_bound():
    """E under p of loss is E under uniform: the weights are 1 / (N p)."""
    g, sde = torch.Generator().manual_seed(0), ddpm(steps=25)
    law = LossAwareTime(levels=25, history=2)
    for _ in range(2):
        law.observe(sde, sde.times, torch.rand(25, generator=g, dtype=torch.float64) + 0.1)
    p = law.probabilities()
    assert p.sum().item() == pytest.approx(1) and (p - 1 / 25).abs().max() > 1e-3
    torch.testing.assert_close(p * law.weight(sde, sde.times), torch.full((25,), 1 / 25, dtype=torch.float64))
    u = (torch.arange(250_000, dtype=torch.float64) + 0.5) / 250_000
    counts = torch.bincount(sde.place(law.sample(sde, u)), minlength=25).double() / 250_000
    torch.testing.assert_close(counts, p, rtol=0, atol=1e-5)


def test_models_without_a_bound_are_refused():
    x0 = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="process with a table"):
        VariationalBound()(ScoreModel(lambda x, i: x, VPSDE(), Epsilon(), EIGHT_BIT), x0)
    with pytest.raises(ValueError, match="integer data"):
        VariationalBound()(ScoreModel(lambda x, i: x, ddpm(), Epsilon()), x0)
    with pytest.raises(ValueError, match="learned variance"):
        Hybrid()(ScoreModel(lambda x, i: x, ddpm(), Epsilon(), EIGHT_BIT), x0)
    with pytest.raises(ValueError, match="use one of 'small', 'large'"):
        VariationalBound(variance="medium")
    with pytest.raises(ValueError, match="negative"):
        Hybrid(weight=-1.0)
