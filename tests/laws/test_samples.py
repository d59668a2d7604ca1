"""Law 3, second half: samples of a 192-dimensional mixture against their exact law, by tests that need no reference sample."""

from dataclasses import dataclass

import pytest
import torch

from samplers import DPMSolver, EulerMaruyama, Langevin, LogSNR, Sampler, Step
from score_sde.evaluation.certification import high_mixture, p_values
from sde_lib import VPSDE, RowNoise
from tests.registry import PREDICTORS, name

SDE, N, T_MIN = VPSDE(), 1000, 1e-3
FAIL = 1e-7  # for fewer than a hundred checks a false alarm in 1e5; the seeds are fixed besides


def samples(predictor, steps, corrector=None):
    """States at t_min of a sampler that starts from the exact law at T, with the exact score."""
    data = high_mixture()
    x_T = SDE.kernel(data.sample(N, seed=1), SDE.T).sample(RowNoise(2, N)(torch.empty(N, 192, dtype=torch.float64)))
    sampler = Sampler(predictor, corrector, times=LogSNR(steps, t_min=T_MIN), last="sample")
    return sampler.sample(SDE, data.score(SDE), (N, 192), seed=3, x_T=x_T, dtype=torch.float64).x


def certified(x):
    return min(p_values(high_mixture(), SDE, x, T_MIN).values()) >= FAIL


@pytest.mark.quick("DPMSolver(2, True, True, *", "UniPC(3)*")
@pytest.mark.parametrize("predictor", [p for p in PREDICTORS if p.order > 1], ids=name)
def test_samples_have_their_exact_law(predictor):
    x = samples(predictor, 200)
    assert certified(x), p_values(high_mixture(), SDE, x, T_MIN)


@pytest.mark.slow
@pytest.mark.parametrize("predictor", [p for p in PREDICTORS if getattr(p, "eta", 0) == 1], ids=name)
def test_samples_of_a_stochastic_predictor_have_their_exact_law(predictor):
    x = samples(predictor, 1600)
    assert certified(x), p_values(high_mixture(), SDE, x, T_MIN)


@pytest.mark.slow
def test_a_corrector_keeps_the_law():
    x = samples(DPMSolver(order=1), 800, Langevin(snr=0.05))
    assert certified(x), p_values(high_mixture(), SDE, x, T_MIN)


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
