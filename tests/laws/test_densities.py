"""Law 4: densities against closed forms, from the oracles up to log-likelihoods."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from likelihood import Exact, Hutchinson, Probing, log_likelihood
from sde_lib import VESDE, VPSDE, Gaussian, GaussianOracle, Images, MixtureOracle, SubVPSDE, Unfinished
from sde_lib.noise import RowNoise
from tests.laws.common import normal
from tests.registry import CONTINUOUS, PROCESSES, name

every_process = pytest.mark.parametrize("sde", PROCESSES, ids=name)
every_continuous_process = pytest.mark.parametrize("sde", CONTINUOUS, ids=name)
TIGHT = {"tolerance": 1e-9, "method": "dop853"}


def correlated(d=6):
    g = torch.Generator().manual_seed(6)
    A = torch.randn(d, d, generator=g, dtype=torch.float64)
    return GaussianOracle(
        torch.linspace(-1, 1, d, dtype=torch.float64), covariance=A @ A.T / d + 0.05 * torch.eye(d, dtype=torch.float64)
    )


def mixture():
    return MixtureOracle([0.2, 0.8], torch.tensor([[-0.7, 0.2], [0.6, -0.3]], dtype=torch.float64), [0.15, 0.3])


def test_gaussian_is_scipys():
    law = Gaussian(torch.tensor([[0.3, -1.0]], dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64))
    x = torch.tensor([[1.0, 2.0]]).double()
    expected = stats.norm(0.3, 0.7).logpdf(1.0) + stats.norm(-1.0, 0.7).logpdf(2.0)
    assert law.log_prob(x).item() == pytest.approx(expected, rel=1e-12)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    torch.testing.assert_close(law.score(x), gradient)


@every_process
def test_oracles_are_the_convolved_densities(sde):
    """Against scipy's multivariate normal with covariance alpha^2 C + sigma^2, and the score against its gradient."""
    t = float(sde.snap(torch.tensor(0.3 * sde.T, dtype=torch.float64)))
    alpha, sigma, _ = (v.item() for v in sde.at(t))
    oracle = correlated()
    covariance = (oracle.axes * oracle.variances) @ oracle.axes.T
    law = stats.multivariate_normal(
        (alpha * oracle.mean).numpy(), (alpha**2 * covariance + sigma**2 * torch.eye(6, dtype=torch.float64)).numpy()
    )
    x = oracle.sample(5, seed=1)
    torch.testing.assert_close(oracle.log_prob(x, sde, t), torch.from_numpy(law.logpdf(x.numpy())), rtol=1e-9, atol=1e-9)
    mix = mixture()
    y = mix.sample(5, seed=1)
    parts = [
        w * stats.norm(alpha * m, math.hypot(alpha * s, sigma)).pdf(y.numpy()).prod(1)
        for w, m, s in ((0.2, [-0.7, 0.2], 0.15), (0.8, [0.6, -0.3], 0.3))
        for m in [np.array(m)]
    ]
    torch.testing.assert_close(mix.log_prob(y, sde, t), torch.from_numpy(sum(parts)).log(), rtol=1e-9, atol=1e-9)
    for which, at in ((oracle, x), (mix, y)):
        at = at.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(which.log_prob(at, sde, t).sum(), at)
        torch.testing.assert_close(which.score(sde)(at, t), gradient, rtol=1e-9, atol=1e-9)


def test_oracles_sample_their_own_law():
    """Stein: E[score] = 0 and E[x . score] = -d, within five standard errors."""
    for oracle, d in ((correlated(), 6), (mixture(), 2), (GaussianOracle(torch.zeros(2, 3), std=0.5), 6)):
        x = oracle.sample(50_000, seed=2)
        one = torch.ones(len(x), dtype=torch.float64)
        score = oracle.score_density(x, one, 0 * one)
        dot = (x * score).flatten(1).sum(1)
        assert abs(dot.mean().item() + d) < 5 * dot.std().item() / len(x) ** 0.5
        assert (score.mean(0).abs() < 5 * score.std(0) / len(x) ** 0.5).all()


def test_oracles_refuse_invalid_laws():
    with pytest.raises(ValueError, match="either std or covariance"):
        GaussianOracle(torch.zeros(2))
    with pytest.raises(ValueError, match="2 weights, 3 means"):
        MixtureOracle([0.5, 0.5], torch.zeros(3, 2), [1.0, 1.0])


def flow_density(oracle, sde, x):
    """log p at t_min of the law that starts from the prior at T and follows the exact flow: the truth of log_likelihood."""
    latent = log_likelihood(sde, oracle.score(sde), x, **TIGHT).latent
    return oracle.log_prob(x, sde, sde.t_min) - oracle.log_prob(latent, sde, sde.T) + sde.prior(latent).log_prob(latent)


@pytest.mark.quick("*-VPSDE(LinearBeta*", "*-VESDE*")
@every_continuous_process
@pytest.mark.parametrize("oracle", [correlated(), mixture()], ids=["correlated", "mixture"])
def test_log_likelihood_is_the_density(oracle, sde):
    """The exact density of p_t_min, but for the prior's mismatch at T, which is accounted for exactly."""
    x = oracle.sample(4, seed=3)
    result = log_likelihood(sde, oracle.score(sde), x, **TIGHT)
    torch.testing.assert_close(result.log_prob, flow_density(oracle, sde, x), rtol=0, atol=2e-5)
    assert (result.probe_error == 0).all()
    difference = (result.log_prob - oracle.log_prob(x, sde, sde.t_min)).abs().mean()
    assert difference < 3 * (2 * sde.prior_mismatch(x).mean()) ** 0.5 + 1e-4  # a KL of d moves log p by about sqrt(2 d)


@pytest.mark.slow
@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE()], ids=name)
def test_log_p_is_held_to_the_tolerance_however_large_it_has_grown(sde):
    """64 entries that are nearly known: log p is 93 nats, a share of which would be wrong by 0.01 at each step."""
    means = 0.5 * normal((3, 64))
    oracle = MixtureOracle([0.2, 0.3, 0.5], means, [0.02, 0.1, 0.05])
    x = oracle.sample(32, seed=0)
    result = log_likelihood(sde, oracle.score(sde), x, tolerance=1e-4)
    assert (result.log_prob - flow_density(oracle, sde, x)).abs().mean() < 1e-3


@pytest.mark.parametrize("method", ["dopri5", "dop853"])
def test_data_in_other_units_take_the_same_steps(method):
    """c x under c sigma: log p is less by d log c, and the solver, to which an error in x is a share of the noise, steps alike."""
    c, d = 1024.0, 4
    means = normal((3, d))
    x = MixtureOracle([0.2, 0.3, 0.5], means, [0.2, 0.5, 0.3]).sample(8, seed=0)

    def solved(c):
        sde, oracle = VESDE(0.01 * c, 50.0 * c), MixtureOracle([0.2, 0.3, 0.5], c * means, [0.2 * c, 0.5 * c, 0.3 * c])
        return log_likelihood(sde, oracle.score(sde), c * x, tolerance=1e-3, method=method)

    plain, scaled = solved(1.0), solved(c)
    assert plain.rows == scaled.rows
    torch.testing.assert_close(scaled.log_prob, plain.log_prob - d * math.log(c), rtol=0, atol=1e-7)


@pytest.mark.quick("VESDE*")
@pytest.mark.parametrize("method", ["dopri5", "dop853"])
@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE(), VESDE()], ids=name)
def test_a_step_errs_by_no_more_than_its_share_where_the_data_are_narrow(sde, method):
    """64 entries that differ by 0.001, which a tolerance of 0.01 in x would not see: in log p, a step may err by 0.01 sqrt(65)."""
    oracle = GaussianOracle(torch.full((64,), 0.5, dtype=torch.float64), 1e-3)
    x = oracle.sample(32, seed=0)
    result = log_likelihood(sde, oracle.score(sde), x, tolerance=1e-2, method=method)
    assert (result.log_prob - flow_density(oracle, sde, x)).abs().mean() < 5 * 1e-2 * 65**0.5


@pytest.mark.quick("VPSDE(LinearBeta*", "VESDE*", "KarrasSDE*")
@every_continuous_process
def test_one_dimensional_density_integrates_to_one(sde):
    oracle = MixtureOracle([0.3, 0.7], torch.tensor([[-0.5], [0.5]], dtype=torch.float64), [0.1, 0.2])
    x = torch.linspace(-3, 3, 1201, dtype=torch.float64)[:, None]
    p = log_likelihood(sde, oracle.score(sde), x, tolerance=1e-7).log_prob.exp()
    assert torch.trapezoid(p, x[:, 0]).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.quick("correlated")
@pytest.mark.parametrize("oracle", [correlated(), mixture()], ids=["correlated", "mixture"])
def test_gradient_of_the_density_is_the_score(oracle):
    sde, h = VPSDE(0.1, 60.0), 1e-5  # a prior without mismatch
    x = oracle.sample(3, seed=4)
    step = h * torch.eye(x.shape[1], dtype=torch.float64)
    moved = x + torch.stack([step, -step])[:, :, None]  # (up or down, axis, row, entry)
    log_p = log_likelihood(sde, oracle.score(sde), moved.flatten(0, 2), tolerance=1e-12, method="dop853").log_prob
    up, down = log_p.reshape(moved.shape[:-1])
    torch.testing.assert_close((up - down).T / (2 * h), oracle.score(sde)(x, sde.t_min), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["rademacher", "normal"])
def test_hutchinson_is_unbiased_and_states_its_error(kind):
    """Over many rows of one value: the mean is the exact one within the stated error, and the stated error is the actual one."""
    sde, oracle = VPSDE(), correlated(4)
    x = oracle.sample(1, seed=5).expand(300, 4).clone()
    score = oracle.score(sde)
    exact = log_likelihood(sde, score, x[:1], tolerance=1e-6).log_prob
    result = log_likelihood(sde, score, x, divergence=Hutchinson(probes=8, kind=kind), tolerance=1e-4)
    actual = result.log_prob.std().item()
    assert abs(result.log_prob.mean().item() - exact.item()) < 5 * actual / 300**0.5
    assert (result.probe_error**2).mean().sqrt().item() == pytest.approx(actual, rel=0.2)


def test_one_rademacher_probe_is_exact_for_independent_entries():
    sde, oracle = VPSDE(), GaussianOracle(torch.zeros(1, 3, 3, dtype=torch.float64), 0.4)
    x = oracle.sample(3)
    exact, one = (log_likelihood(sde, oracle.score(sde), x, divergence=d, **TIGHT) for d in (Exact(chunk=4), Hutchinson()))
    torch.testing.assert_close(one.log_prob, exact.log_prob, rtol=0, atol=1e-7)
    assert one.probe_error.isnan().all()


def test_an_exact_divergence_of_too_many_entries_is_refused_before_the_score_is_asked():
    asked, x, divergence = [], torch.ones(2, 5), Exact(max_dims=4)
    sentence = "exact divergence of 5 entries would take 5 backward passes.*use Hutchinson"
    with pytest.raises(ValueError, match=sentence):
        log_likelihood(VPSDE(), lambda x, t: asked.append(t) or -x, x, divergence=divergence)
    assert not asked
    with pytest.raises(ValueError, match=sentence):  # where the probes of a trajectory are drawn
        divergence.probe(RowNoise(0, 2), x)


def test_divergence_is_the_trace_of_the_jacobian():
    field = lambda x: torch.sin(x) * x.flip(1) + x[:, :1] ** 2
    x = torch.randn(3, 5, dtype=torch.float64)
    value, trace = Exact(chunk=2)(field, x, torch.empty(0))
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda row: field(row[None])[0], row) for row in x])
    torch.testing.assert_close(value, field(x))
    torch.testing.assert_close(trace[:, 0], jacobians.diagonal(dim1=1, dim2=2).sum(1))
    v = torch.randn(2, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(Hutchinson(2)(field, x, v)[1], torch.einsum("kbi,bij,kbj->bk", v, jacobians, v))


@pytest.mark.parametrize(("method", "spared", "stages"), [("dopri5", 1, 6), ("dop853", 4, 12)])
def test_stages_without_weight_compute_no_divergence(method, spared, stages):
    """Of the stages of a step, those without weight in log p ask for no gradient; the two evaluations of the first step do."""
    sde, oracle, asked = VPSDE(), correlated(), []

    def score(x, t):
        asked.append(x.requires_grad)
        return oracle.score(sde)(x, t)

    result = log_likelihood(sde, score, oracle.sample(3, seed=0), method=method)
    assert len(asked) == result.nfe and asked[:2] == [True, True]
    assert asked.count(False) * stages == (result.nfe - 2) * spared


def test_a_rows_value_does_not_depend_on_its_batch():
    sde, oracle = VPSDE(), correlated()
    x = oracle.sample(12, seed=7)
    settings = {"divergence": Hutchinson(2), "seed": 5}
    whole = log_likelihood(sde, oracle.score(sde), x, **settings)
    for i in (0, 7):
        alone = log_likelihood(sde, oracle.score(sde), x[i : i + 1], index=i, **settings)
        torch.testing.assert_close(alone.log_prob[0], whole.log_prob[i], rtol=0, atol=1e-9)
    without_take = log_likelihood(sde, lambda x, t: oracle.score(sde)(x, t), x, **settings)
    torch.testing.assert_close(without_take.log_prob, whole.log_prob, rtol=0, atol=1e-9)
    assert without_take.rows >= whole.rows


def test_invalid_arguments_are_refused():
    sde, score = VPSDE(), GaussianOracle(torch.zeros(2), 1.0).score(VPSDE())
    with pytest.raises(ValueError, match="1 values that are NaN"):
        log_likelihood(sde, score, torch.tensor([[0.0, math.nan]]))
    with pytest.raises(TypeError, match="encode"):
        log_likelihood(sde, score, torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match="float16, in which a solver"):
        log_likelihood(sde, score, torch.zeros(2, 2).half())
    for mistake in (lambda: Exact(chunk=0), lambda: Hutchinson(1.5), lambda: Probing(2.0), lambda: Images(2.5), lambda: Images(1)):
        with pytest.raises(ValueError, match="whole number"):
            mistake()
    with pytest.raises(ValueError, match="missing axis"):
        log_likelihood(sde, score, torch.zeros(2))
    with pytest.raises(ValueError, match="use Hutchinson"):
        log_likelihood(sde, lambda x, t: -x, torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match="no gradient"):
        log_likelihood(sde, lambda x, t: -x.detach(), torch.zeros(2, 2))
    with pytest.raises(RuntimeError, match="NaN or infinity"):
        log_likelihood(sde, lambda x, t: x * math.inf, torch.ones(2, 2))
    with torch.inference_mode(), pytest.raises(RuntimeError, match="no_grad"):
        log_likelihood(sde, score, torch.zeros(2, 2))
    with torch.no_grad():
        assert log_likelihood(sde, score, torch.zeros(2, 2)).log_prob.shape == (2,)


def test_rows_that_fail_say_why_and_the_others_have_their_values():
    sde, oracle = VPSDE(), GaussianOracle(torch.zeros(2, dtype=torch.float64), 0.5)
    poisoned = lambda x, t: torch.where(x.detach()[:, :1] > 10, torch.nan, 1.0) * oracle.score(sde)(x, t)
    x = torch.tensor([[0.1, -0.2], [20.0, 0.0], [0.3, 0.4]], dtype=torch.float64)
    with pytest.raises(Unfinished, match="1 of 3 rows failed, the first being row 101, .* NaN or infinity") as caught:
        log_likelihood(sde, poisoned, x, index=100)
    result = caught.value.result
    assert [reason.split()[0] for reason in caught.value.reasons] == ["reached", "met", "reached"]
    assert result.log_prob[1].isnan() and result.latent[1].isnan().all()
    alone = log_likelihood(sde, oracle.score(sde), x[[0, 2]])
    torch.testing.assert_close(result.log_prob[[0, 2]], alone.log_prob, rtol=0, atol=1e-9)


@pytest.mark.parametrize("divergence", [Exact(), Hutchinson(2), Probing(4)], ids=repr)
def test_gradients_through_the_likelihood(divergence):
    """With respect to x they are the exact score, with respect to a parameter the known derivative; as differences of values."""
    sde, oracle = VPSDE(0.1, 60.0), GaussianOracle(torch.zeros(3, dtype=torch.float64), 0.4)  # independent entries: no probe noise
    x = oracle.sample(4, seed=4).requires_grad_()
    result = log_likelihood(sde, oracle.score(sde), x, divergence=divergence, gradients=True, tolerance=1e-8)
    (gradient,) = torch.autograd.grad(result.log_prob.sum(), x)
    torch.testing.assert_close(gradient, oracle.score(sde)(x.detach(), sde.t_min), rtol=1e-4, atol=1e-4)
    std = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def score(x, t):
        alpha, sigma, _ = sde.at(t)
        return -x / (alpha**2 * std**2 + sigma**2)[:, None]

    value = log_likelihood(sde, score, x.detach(), divergence=divergence, gradients=True, tolerance=1e-8).log_prob
    (slope,) = torch.autograd.grad(value.sum(), std)
    known = (x.detach() ** 2 / 0.4**3 - 1 / 0.4).sum()
    assert slope.item() == pytest.approx(known.item(), rel=1e-3)
    assert not log_likelihood(sde, score, x, divergence=divergence).log_prob.requires_grad
