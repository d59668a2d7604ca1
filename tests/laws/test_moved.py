"""A model under another process: the oracle knows the truth of both."""

import dataclasses

import pytest
import torch

from samplers import DPMSolver, LogSNR, Sampler
from sde_lib import (
    EDM,
    VESDE,
    VPSDE,
    Epsilon,
    GaussianOracle,
    KarrasSDE,
    MixtureOracle,
    Moved,
    RectifiedFlow,
    ScoreModel,
    SubVPSDE,
    V,
)
from sde_lib.tabulated import ddpm
from tests.laws.common import normal
from tests.registry import name

MIXTURE = MixtureOracle([0.3, 0.7], torch.tensor([[-1.0, 0.5], [0.8, 0.2]]), [0.2, 0.4])
SOURCES = [VPSDE(), VESDE(1e-3, 100.0), RectifiedFlow(), SubVPSDE(t_min=1e-4), KarrasSDE(t_min=1e-3, T=100.0)]
TARGETS = [VPSDE(t_min=1e-4, T=0.9), VESDE(0.02, 10.0), RectifiedFlow(t_min=0.01, T=0.95), KarrasSDE(t_min=0.01, T=20.0)]


class ExactEpsilon(torch.nn.Module):
    """The network whose answer is exact, whatever the process: it is told sigma / alpha by its label."""

    def __init__(self, sde, oracle):
        super().__init__()
        self.sde, self.oracle = sde, oracle

    def forward(self, x, label):
        level = self.sde.at(self.sde.t_of_log_snr(-8 * label))
        return -level.sigma[:, None] * self.oracle.score_density(x, level.alpha, level.sigma)


@pytest.mark.parametrize("to", TARGETS, ids=name)
@pytest.mark.parametrize("sde", SOURCES, ids=name)
def test_the_exact_score_moves_to_the_exact_score(sde, to):
    moved = Moved(ScoreModel(ExactEpsilon(sde, MIXTURE), sde, Epsilon()), to)
    t = to.t_min + (to.T - to.t_min) * torch.tensor([0.0, 0.05, 0.3, 0.7, 1.0], dtype=torch.float64)
    x = to.kernel(MIXTURE.sample(5), t).sample(normal((5, 2)))
    torch.testing.assert_close(moved(x, t), MIXTURE.score(to)(x, t), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("sde", SOURCES[:3], ids=name)
@pytest.mark.parametrize("parameterization", [Epsilon(), V(), EDM()], ids=name)
def test_there_and_back_is_the_model_itself(sde, parameterization):
    """Exact to 1e-12: every reading of the output, at the level of noise and the state that correspond."""
    model = ScoreModel(lambda x, label: torch.sin(x) + label[:, None], sde, parameterization)
    to = KarrasSDE(t_min=0.01, T=20.0)
    ends = [float(sde.t_of_log_snr(to.at(sigma).log_snr)) for sigma in (0.02, 15.0)]
    back = dataclasses.replace(sde, t_min=ends[0], T=ends[1]) if not isinstance(sde, VPSDE) else VPSDE(t_min=ends[0], T=ends[1])
    moved = Moved(Moved(model, to), back)
    t = back.t_min + (back.T - back.t_min) * torch.tensor([0.01, 0.5, 0.99], dtype=torch.float64)
    x = normal((3, 4), 1)
    for reading in ("x0", "eps", "score", "v"):
        ours, own = getattr(moved.predict(x, t), reading), getattr(model.predict(x, t), reading)
        torch.testing.assert_close(ours, own, rtol=1e-10, atol=1e-12 * float(own.abs().max()))


def test_a_process_beyond_the_model_s_noise_is_refused_with_a_safe_range():
    model = ScoreModel(lambda x, label: x, VPSDE(), Epsilon())
    with pytest.raises(ValueError, match="t_min >= 0.000999") as error:
        Moved(model, RectifiedFlow())
    words = str(error.value).split()
    t_min, T = float(words[words.index(">=") + 1]), float(words[-1])
    Moved(model, RectifiedFlow(t_min=t_min * 1.0001, T=T * 0.9999))


def test_samplers_take_a_moved_model():
    """VP's network, sampled as a flow: the law is the data's."""
    sde = VPSDE()
    oracle = GaussianOracle(torch.tensor([0.7]), 0.3)
    moved = Moved(ScoreModel(ExactEpsilon(sde, oracle), sde, Epsilon()), RectifiedFlow(t_min=2e-3, T=0.99))
    x = Sampler(DPMSolver(order=2), times=LogSNR(50)).sample(moved.sde, moved, (4000, 1), dtype=torch.float64).x
    assert x.mean().item() == pytest.approx(0.7, abs=0.02) and x.std().item() == pytest.approx(0.3, abs=0.02)
    assert moved.take(torch.tensor([0])).sde == moved.sde


def test_a_table_may_be_the_source():
    model = ScoreModel(lambda x, label: 0.1 * x, ddpm(), Epsilon())
    to = KarrasSDE(t_min=0.02, T=100.0)
    assert Moved(model, to)(torch.ones(2, 3), 1.0).isfinite().all()
