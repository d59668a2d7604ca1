"""Truths of DDPM, score matching and the SDEs that their papers state, where no other law already holds them."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sklearn.datasets import make_swiss_roll

from likelihood import log_likelihood, variational_bound
from models import MLP
from samplers import Ancestral, Sampler, Uniform
from sde_lib import (
    VESDE,
    VPSDE,
    Data,
    DenoisingScoreMatching,
    Epsilon,
    GaussianOracle,
    Images,
    ImportanceTime,
    Moved,
    PreviousMean,
    ScoreModel,
    Tabulated,
    VariationalBound,
)
from sde_lib.prediction import Prediction
from sde_lib.tables import cosine_betas, linear_betas
from sde_lib.tabulated import ddpm
from sde_lib.variational import bound_term, log_variances, reverse_law
from tests.laws.common import normal

MU, FINE = 0.3, Images(1024, -6.0, 6.0)
schedules = pytest.mark.parametrize("betas", [linear_betas(), cosine_betas()], ids=["linear", "cosine"])


def exact(sde, s):
    """The network that knows data N(MU, s^2): the best guess of eps."""
    return ScoreModel(
        lambda x, i: -expand(sde, i) * GaussianOracle(torch.tensor([MU], dtype=torch.float64), s).score(sde)(x, time(sde, i)),
        sde,
        INDEX,
    )


INDEX = Epsilon(label="index")


def time(sde, i):
    return (i.double() + 1) / len(sde.log_alphas)


def expand(sde, i):
    return sde.at(time(sde, i)).sigma[:, None]


@schedules
def test_the_chain_of_small_steps_is_the_marginal_at_once(betas):
    """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) z, step by step, has mean alpha_t x0 and variance sigma_t^2 at every t."""
    sde = Tabulated.from_betas(betas)
    mean, variance, means, variances = 1.0, 0.0, [], []
    for beta in betas.tolist():
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        means.append(mean)
        variances.append(variance)
    alpha, sigma, _ = sde.at(sde.times)
    np.testing.assert_allclose(alpha.numpy(), means, rtol=1e-12)
    np.testing.assert_allclose(sigma.numpy() ** 2, variances, rtol=1e-11)


def test_the_linear_table_ends_in_noise():
    """The product of 1 - beta is 4.04e-5 at T = 1000, and an 8-bit image's prior term 5e-6 bits/dim at most."""
    sde = ddpm()
    assert float(sde.at(1.0).alpha ** 2) == pytest.approx(4.036e-5, rel=1e-3)
    bits = sde.prior_mismatch(torch.full((1, 3072), 0.5)) / (3072 * math.log(2))
    assert bits.item() < 1e-5


@schedules
def test_the_posterior_is_bayes_rule_pointwise(betas):
    """log q(x_t | x_{t-1}) + log q(x_{t-1} | x_0) - log q(x_t | x_0) is the log-density of the posterior, at any points."""
    sde = Tabulated.from_betas(betas)
    t, s = sde.times[1:900], sde.times[:899]
    x_s, x_t, x0 = normal((899, 1), 1), normal((899, 1), 2), normal((899, 1), 3)
    left = sde.transition(x_s, s, t).log_prob(x_t) + sde.kernel(x0, s).log_prob(x_s) - sde.kernel(x0, t).log_prob(x_t)
    right = sde.posterior(x_t, x0, s, t).log_prob(x_s)
    torch.testing.assert_close(left, right, rtol=1e-7, atol=1e-6)


def test_weighted_losses_of_x0_of_the_mean_and_of_eps_are_one():
    """1/(2 s^2) |mean error|^2 = c1^2/(2 s^2) |x0 error|^2 = beta^2/(2 s^2 (1 - beta)(1 - abar)) |eps error|^2."""
    betas = linear_betas()
    sde, place = Tabulated.from_betas(betas), torch.tensor([1, 10, 300, 999])
    t, x0, z, d = sde.times[place], normal((4, 3), 1), normal((4, 3), 2), normal((4, 3), 3)
    alpha = sde.at(t).alpha
    beta, abar, before = betas[place], alpha**2, sde.before(t)
    variance = log_variances(sde, t).small.exp()
    model = ScoreModel(lambda x, i: z + d, sde, INDEX)
    p = model.predict(sde.kernel(x0, t).sample(z), t)
    mean, _ = reverse_law(sde, p, t)
    truth = sde.posterior(p.x, x0, time(sde, place - 1), t).mean
    by_mean = ((mean - truth) ** 2).mean(1) / (2 * variance)
    by_eps = beta**2 / (2 * variance * (1 - beta) * (1 - abar)) * DenoisingScoreMatching()(model, x0, t=t, z=z)
    by_x0 = (before.alpha * beta / (1 - abar)) ** 2 / (2 * variance) * DenoisingScoreMatching("x0")(model, x0, t=t, z=z)
    by_previous = DenoisingScoreMatching("previous")(model, x0, t=t, z=z) / (2 * variance)
    for other in (by_eps, by_x0, by_previous):
        torch.testing.assert_close(other, by_mean, rtol=1e-10, atol=0)
    # With the posterior's own variance the term of the bound is just that, in bits.
    torch.testing.assert_close(bound_term(sde, p, x0, t, FINE) * math.log(2), by_mean, rtol=1e-9, atol=0)


def test_the_simple_loss_weighs_small_times_down():
    """The bound's weight of |eps error|^2, which is 1 in the simple loss, falls a hundredfold until a third of the steps."""
    betas = linear_betas()
    sde = Tabulated.from_betas(betas)
    abar = sde.at(sde.times).alpha ** 2
    weight = betas**2 / (2 * log_variances(sde, sde.times).small.exp() * (1 - betas) * (1 - abar))
    assert (weight[1:300].diff() < 0).all() and weight[1] / weight[300] > 100


@pytest.mark.slow
def test_the_bound_is_above_the_exact_likelihood_for_a_wrong_model():
    """Jensen: whatever the model says, the bound is no less than -log p of the data under the truth, its entropy."""
    sde, oracle = ddpm(), GaussianOracle(torch.tensor([MU], dtype=torch.float64), 0.5)
    x = oracle.sample(2000)
    codes = FINE.decode(x).long()
    truth = -(oracle.log_prob(x).mean() + FINE.log_det(1)).item() / math.log(2)
    right = variational_bound(sde, exact(sde, 0.5), codes, images=FINE)
    wrong = variational_bound(sde, exact(sde, 0.8), codes, images=FINE)
    assert truth - 5 * right.standard_error < right.mean < wrong.mean - 0.05


def test_both_forms_of_the_bound_have_one_mean_and_rao_blackwell_the_smaller_variance():
    """log q(x_{t-1}|x_t,x_0) / p(x_{t-1}|x_t) at one draw of x_{t-1}, and its KL: equal in the mean, the first noisier."""
    n, sde = 200_000, ddpm(steps=50)
    t, s = sde.times[20], sde.times[19]
    x0 = MU + 0.5 * normal((n, 1), 1)
    x_t = sde.kernel(x0, t).sample(normal((n, 1), 2))
    q = sde.posterior(x_t, x0, s, t)
    x_s = q.sample(normal((n, 1), 3))
    p = exact(sde, 0.5).predict(x_t, t)
    mean, log_variance = reverse_law(sde, p, t, "large")
    log_p = -0.5 * ((x_s - mean) ** 2 / log_variance.exp() + log_variance + math.log(2 * math.pi))[:, 0]
    sampled = q.log_prob(x_s) - log_p
    kl = bound_term(sde, p, x0, t, FINE, "large") * math.log(2)
    error = float(sampled.std()) / n**0.5
    assert sampled.mean().item() == pytest.approx(kl.mean().item(), abs=5 * error)
    assert sampled.var() > 2 * kl.var()


def test_the_estimate_of_x0_errs_by_the_posterior_variance():
    """E|x0 - guess|^2 = s^2 sigma^2 / (alpha^2 s^2 + sigma^2) on Gaussian data, growing with t."""
    n, s, sde = 100_000, 0.5, VPSDE()
    score = GaussianOracle(torch.tensor([MU], dtype=torch.float64), s).score(sde)
    errors = []
    for t in (0.05, 0.2, 0.5, 0.9):
        alpha, sigma, _ = level = sde.at(t)
        x0 = MU + s * normal((n, 1), 1)
        x = alpha * x0 + sigma * normal((n, 1), 2)
        guess = Prediction(x, -sigma * score(x, torch.tensor(t)), level, 0.0, 1.0).x0
        errors.append(((x0 - guess) ** 2).mean().item())
        assert errors[-1] == pytest.approx(float(s**2 * sigma**2 / (alpha**2 * s**2 + sigma**2)), rel=0.02)
    assert errors == sorted(errors)


@pytest.mark.slow
def test_the_chain_of_the_exact_score_has_the_recorded_law():
    """DDPM's 1000 steps on N(0.3, s^2), mean and variance by recursion: recorded from closed forms, here by impulses."""
    from tests.recorded import load

    g = load("closed_forms/analytic_truths")
    for s2 in (0.25, 1.0, 4.0):
        sde = ddpm()
        score = GaussianOracle(torch.tensor([MU], dtype=torch.float64), s2**0.5).score(sde)

        class Impulses:
            def __init__(self):
                self.k = 1

            def __call__(self, like):
                self.k += 1
                z = torch.zeros_like(like)
                z[self.k : self.k + 1] = 1
                return z

        x_T = torch.zeros(1001, 1, dtype=torch.float64)
        x_T[1] = 1
        sampler = Sampler(Ancestral(), times=Uniform(1000), last="denoise")
        x = sampler.sample(sde, score, x_T.shape, x_T=x_T, noise=Impulses(), dtype=torch.float64).x[:, 0]
        mean, variance = g[f"ddpm1000_linear/s2={s2}/beta_tilde/mean_var"].tolist()
        assert x[0].item() == pytest.approx(mean, abs=1e-9)
        assert ((x[1:] - x[0]) ** 2).sum().item() == pytest.approx(variance, rel=1e-9)


def test_the_estimate_at_a_mixed_state_is_the_mixed_estimate():
    """With one noise for both, E[x0 | mix of x_t and x_t'] is linear in the mixing, and the ends are the guesses of the ends."""
    sde = VPSDE()
    score = GaussianOracle(torch.tensor([MU], dtype=torch.float64), 0.5).score(sde)
    t = torch.tensor(0.4, dtype=torch.float64)
    z = normal((1, 1), 5)
    ends = [sde.kernel(torch.tensor([[value]], dtype=torch.float64), t).sample(z) for value in (-1.0, 2.0)]

    def guess(x):
        return Prediction(x, -sde.at(t).sigma * score(x, t), sde.at(t), 0.0, 1.0).x0.item()

    for w in (0.0, 0.25, 1.0):
        assert guess((1 - w) * ends[0] + w * ends[1]) == pytest.approx((1 - w) * guess(ends[0]) + w * guess(ends[1]), abs=1e-12)


@pytest.mark.slow
def test_a_network_learns_gaussian_data_to_the_irreducible_loss():
    """E|eps - eps*|^2 = alpha^2 s^2 / (alpha^2 s^2 + sigma^2): a small network comes within 2 % of its mean over t."""
    torch.manual_seed(0)
    s, sde = 0.5, VPSDE()
    model = ScoreModel(MLP((1,), width=64, depth=2), sde, Epsilon())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1200)
    for _ in range(1200):
        loss = DenoisingScoreMatching()(model, MU + s * torch.randn(512, 1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    t = sde.t_min + (sde.T - sde.t_min) * (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    alpha, sigma, _ = sde.at(t)
    best = (alpha**2 * s**2 / (alpha**2 * s**2 + sigma**2)).mean().item()
    x0, z = MU + s * normal((200_000, 1), 1).float(), normal((200_000, 1), 2).float()
    with torch.no_grad():
        trained = DenoisingScoreMatching()(model, x0, t=t, z=z).mean().item()
        oracle = GaussianOracle(torch.tensor([MU], dtype=torch.float64), s).score(sde)
        floor = (((-sigma[:, None] * oracle(x := sde.kernel(x0.double(), t).sample(z.double()), t)) - z) ** 2).mean().item()
    assert x.isfinite().all() and floor == pytest.approx(best, rel=0.03)
    assert trained < 1.02 * floor


@pytest.mark.slow
def test_a_swiss_roll_is_better_described_than_by_a_normal():
    """Sohl-Dickstein et al., 2015: bits gained over N(0, I) on a two-dimensional roll."""
    torch.manual_seed(0)
    roll = torch.from_numpy(make_swiss_roll(3000, noise=0.2, random_state=0)[0][:, [0, 2]]).float()
    roll = (roll - roll.mean(0)) / roll.std(0)
    model = ScoreModel(MLP((2,), width=96, depth=3), VPSDE(), Epsilon())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    objective = DenoisingScoreMatching("likelihood", ImportanceTime())
    for _ in range(500):
        optimizer.zero_grad()
        objective(model, roll[torch.randint(2500, (256,))]).mean().backward()
        optimizer.step()
    test = roll[2500:2600]
    ours = log_likelihood(VPSDE(), model.eval(), test, tolerance=1e-3).log_prob
    baseline = -0.5 * (test**2 + math.log(2 * math.pi)).sum(1)
    gain = (ours - baseline) / math.log(2)
    assert gain.mean() - 3 * gain.std() / 10 > 0.3


def test_maximum_likelihood_of_a_gaussian_is_where_score_matching_is_least():
    """mean(x) and the mean of squared deviations (1/n): both estimators have their optimum there, in one dimension."""
    x = normal((500, 1), 4)
    mu, var = x.mean(), ((x - x.mean()) ** 2).mean()

    def fisher(m, v):
        """Hyvarinen's objective of N(m, v): tr + |s|^2/2."""
        return (-1 / v + 0.5 * ((x - m) / v) ** 2).mean()

    best = fisher(mu, var)
    for dm, dv in [(0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)]:
        assert fisher(mu + dm, var + dv) > best


def test_a_vp_network_is_a_ve_score():
    """NCSN is DDPM with x / sqrt(1 + sigma^2) for x: the eps of one is the eps of the other at sigma_VE^2 = (1 - abar) / abar."""
    oracle = GaussianOracle(torch.tensor([MU, -0.2], dtype=torch.float64), 0.5)
    network = lambda x, label: -sigma_of(label)[:, None] * oracle.score_density(x, alpha_of(label), sigma_of(label))
    ratio = lambda label: torch.exp(4 * label)  # the default label is log(sigma/alpha)/4
    alpha_of, sigma_of = lambda c: 1 / torch.sqrt(1 + ratio(c) ** 2), lambda c: ratio(c) / torch.sqrt(1 + ratio(c) ** 2)
    ve = VESDE(sigma_min=0.02, sigma_max=100.0)
    moved = Moved(ScoreModel(network, VPSDE(), Epsilon()), ve)
    t, x = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), 3 * normal((3, 2), 6)
    torch.testing.assert_close(moved(x, t), oracle.score(ve)(x, t), rtol=1e-10, atol=1e-12)


def test_an_ode_and_the_moments_of_an_sde_in_closed_form():
    """dx/dt = t gives t^2/2 + C; the Ornstein-Uhlenbeck process VP(beta = 2) has mean e^-t x0 and variance 1 - e^-2t."""
    solved = solve_ivp(lambda t, x: [t], (0, 2), [1.0], rtol=1e-10, atol=1e-12).y[0, -1]
    assert solved == pytest.approx(3.0, abs=1e-9)
    sde = VPSDE(2.0, 2.0)
    t = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    alpha, sigma, _ = sde.at(t)
    torch.testing.assert_close(alpha, torch.exp(-t), rtol=1e-12, atol=0)
    torch.testing.assert_close(sigma**2, 1 - torch.exp(-2 * t), rtol=1e-12, atol=0)


def test_previous_mean_and_data_models_of_one_truth_are_one_model():
    """A network asked for x0 and one asked for the previous mean, both right, have the same step back."""
    sde, x0 = ddpm(), normal((4, 3), 1)
    t = sde.times[[0, 1, 500, 999]]
    x = sde.kernel(x0, t).sample(normal((4, 3), 2))
    a, b = PreviousMean().target(sde, t, sde.at(t))
    eps = (x - sde.at(t).alpha[:, None] * x0) / sde.at(t).sigma[:, None]
    by_mean = Prediction(x, a[:, None] * x0 + b[:, None] * eps, sde.at(t), a, b)
    by_data = ScoreModel(lambda x, i: x0, sde, Data(label="index")).predict(x, t)
    torch.testing.assert_close(reverse_law(sde, by_mean, t)[0], reverse_law(sde, by_data, t)[0], rtol=1e-9, atol=1e-11)
    assert VariationalBound().variance == "small"
