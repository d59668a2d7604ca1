"""Law 3, second half: samples of a 192-dimensional mixture against their exact law, by tests that need no reference sample."""

from dataclasses import dataclass

import pytest
import torch
from scipy import stats

from samplers import DPMSolver, EulerMaruyama, Langevin, LogSNR, Sampler, Step
from sde_lib import VPSDE, MixtureOracle, RowNoise
from tests.registry import PREDICTORS, name

SDE, D, K, N, T_MIN = VPSDE(), 192, 4, 1000, 1e-3
FAIL = 1e-7  # for fewer than a hundred checks a false alarm in 1e5; the seeds are fixed besides


def oracle():
    g = torch.Generator().manual_seed(11)
    means = torch.randn(K, D, generator=g, dtype=torch.float64)
    return MixtureOracle([0.1, 0.2, 0.3, 0.4], 0.6 * means, [0.2, 0.3, 0.4, 0.5])


def samples(predictor, steps, corrector=None):
    """States at t_min of a sampler that starts from the exact law at T, with the exact score."""
    data = oracle()
    x_T = SDE.kernel(data.sample(N, seed=1), SDE.T).sample(RowNoise(2, N)(torch.empty(N, D, dtype=torch.float64)))
    sampler = Sampler(predictor, corrector, times=LogSNR(steps, t_min=T_MIN), last="sample")
    return sampler.sample(SDE, data.score(SDE), (N, D), seed=3, x_T=x_T, dtype=torch.float64).x


def p_values(x):
    """Stein: E[x . score] = -d. Radial: |x - alpha m_k|^2 / V_k is chi-squared within a component. Weights. Pairs of rows."""
    data = oracle()
    level = SDE.at(torch.full((len(x),), T_MIN, dtype=torch.float64))
    joint, centred, variances = data.components(x, level.alpha, level.sigma)
    score = data.score_density(x, level.alpha, level.sigma)
    dot = (x * score).sum(1)
    stein = 2 * stats.norm.sf(abs(dot.mean().item() + D) / (dot.std().item() / len(x) ** 0.5))
    k = joint.argmax(1)
    rows = torch.arange(len(x))
    radius = (centred[rows, k] ** 2 / variances[rows, k]).sum(1)
    radial = stats.kstest(radius.numpy(), stats.chi2(D).cdf).pvalue
    weights = stats.chisquare(torch.bincount(k, minlength=K).numpy(), data.log_weights.exp().numpy() * len(x)).pvalue
    white = centred[rows, k] / variances[rows, k].sqrt()
    products = [(white * white.roll(shift, 0)).sum().item() / white.numel() ** 0.5 for shift in (1, 2, len(x) // 2)]
    pairs = 2 * stats.norm.sf(max(map(abs, products)))
    return {"stein": stein, "radial": radial, "weights": weights, "pairs": pairs}


def certified(x):
    return min(p_values(x).values()) >= FAIL


@pytest.mark.parametrize("predictor", [p for p in PREDICTORS if p.order > 1], ids=name)
def test_samples_have_their_exact_law(predictor):
    x = samples(predictor, 200)
    assert certified(x), p_values(x)


@pytest.mark.slow
@pytest.mark.parametrize("predictor", [p for p in PREDICTORS if getattr(p, "eta", 0) == 1], ids=name)
def test_samples_of_a_stochastic_predictor_have_their_exact_law(predictor):
    x = samples(predictor, 1600)
    assert certified(x), p_values(x)


@pytest.mark.slow
def test_a_corrector_keeps_the_law():
    x = samples(DPMSolver(order=1), 800, Langevin(snr=0.05))
    assert certified(x), p_values(x)


@dataclass(frozen=True)
class Wrong(EulerMaruyama):
    """Euler-Maruyama with less noise than it should have, the score of another time, or the same draw at every step."""

    noise: float = 1.0
    late: bool = False
    frozen: bool = False

    def step(self, rsde, x, t, s, memory, noise):
        z = memory if self.frozen and memory is not None else noise(x)
        g, h = rsde.sde.diffusion(x, t), t - s
        mean = x - h * (rsde.sde.drift(x, t) - g**2 * rsde.score(x, s if self.late else t))
        return Step(mean + self.noise * g * h.sqrt() * z, mean, z)


@pytest.mark.slow
def test_the_checks_see_planted_errors():
    assert certified(samples(Wrong(), 1600))
    assert not certified(samples(Wrong(noise=0.98), 1600))
    assert not certified(samples(Wrong(late=True), 200))
    assert not certified(samples(Wrong(frozen=True), 200))
    assert not certified(samples(DPMSolver(order=2), 200)[torch.arange(N) // 2 * 2])  # rows that share their draws
