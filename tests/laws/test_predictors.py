"""Predictors, one by one: the identities between them, strong order, what they ask of a process, and what they refuse."""

import dataclasses
import math
from itertools import pairwise

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from samplers import (
    DDIM,
    Ancestral,
    DPMSolver,
    Heun,
    LogSNR,
    Sampler,
    SDEDPMSolver,
    StochasticRungeKutta,
    Uniform,
    UniPC,
)
from sde_lib import VESDE, VPSDE, GaussianOracle, MixtureOracle, RectifiedFlow, ReverseSDE, Tabulated
from tests.registry import PREDICTORS, PROCESSES, name

M, V = 0.7, 0.09


def mixture(sde):
    g = torch.Generator().manual_seed(5)
    return MixtureOracle([0.3, 0.7], torch.randn(2, 3, generator=g, dtype=torch.float64), [0.2, 0.4]).score(sde)


def final(predictor, sde, steps=12):
    sampler = Sampler(predictor, times=LogSNR(steps, t_min=max(1e-3, sde.t_min)), last="sample")
    return sampler.sample(sde, mixture(sde), (5, 3), dtype=torch.float64).x


@pytest.mark.parametrize("sde", PROCESSES, ids=name)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (DDIM(eta=1.0), Ancestral("small")),
        (DDIM(eta=0.0), DPMSolver(order=1)),
        (DDIM(eta=0.0), DPMSolver(order=1, data_prediction=False)),
        (DDIM(eta=0.0), DPMSolver(order=1, multistep=False)),
        (SDEDPMSolver(eta=0.0), DPMSolver(order=2)),
    ],
    ids=name,
)
def test_predictors_of_two_names_agree(one, other, sde):
    """Along a whole path, of a mixture, on every process."""
    a, b = final(one, sde), final(other, sde)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * max(1.0, float(sde.at(sde.T).sigma)))


@pytest.mark.parametrize("sde", PROCESSES, ids=name)
def test_ddim_adds_the_noise_of_the_paper(sde):
    """eta times the standard deviation of the posterior, and the mean keeps the marginal: variance sigma_s^2 in all."""
    t, s = sde.snap(torch.tensor([0.6 * sde.T, 0.5 * sde.T], dtype=torch.float64))
    rsde = ReverseSDE(sde, mixture(sde))
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    step = DDIM(eta=0.5).step(rsde, x, t, s, None, torch.ones_like)
    prediction = rsde.predict(x, t)
    std = 0.5 * sde.posterior(x, prediction.x0, s, t).std
    torch.testing.assert_close(step.x - step.mean, std.expand_as(x))
    level = sde.at(s)
    torch.testing.assert_close(step.mean, level.alpha * prediction.x0 + torch.sqrt(level.sigma**2 - std**2) * prediction.eps)


def test_first_step_of_sde_dpm_solver_is_ancestral():
    sde, x = VPSDE(), torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    t, s = torch.tensor([0.6, 0.5], dtype=torch.float64)
    steps = [p.step(ReverseSDE(sde, mixture(sde)), x, t, s, None, torch.ones_like) for p in (SDEDPMSolver(), Ancestral())]
    torch.testing.assert_close(steps[0].x, steps[1].x, rtol=0, atol=1e-12)


@pytest.mark.quick("VPSDE")
@pytest.mark.parametrize("make", [VPSDE, VESDE, RectifiedFlow])
def test_stochastic_runge_kutta_has_strong_order_three_halves(make):
    """The same Brownian path on grids of h and h/2, whose integrals are made of the fine ones: the distance falls as h^1.5.

    The term in h^1.5 is made of the second derivative of the drift; a wrong weight of the integral makes the order 1.
    """
    sde = make()
    means = torch.tensor([[-0.5, 0.0, 0.3], [0.5, 0.4, -0.3]], dtype=torch.float64)
    oracle = MixtureOracle([0.3, 0.7], means, [0.6, 0.8]).score(sde)  # whose paths do not part
    fine, levels = 1024, (64, 128, 256)
    times = LogSNR(fine, t_min=0.02)(sde)
    tau = torch.exp(-sde.at(times).log_snr)
    h = -tau.diff()
    g = torch.Generator().manual_seed(1)
    z = torch.randn(2, fine, 400, 3, generator=g, dtype=torch.float64)
    W = h.sqrt()[:, None, None] * z[0]
    integral = 0.5 * h[:, None, None] * (W + h.sqrt()[:, None, None] * z[1] / 3**0.5)
    x_T = float(sde.at(sde.T).sigma) * torch.randn(400, 3, generator=g, dtype=torch.float64)

    def path(steps):
        each = fine // steps
        parts, widths = W.reshape(steps, each, 400, 3), h.reshape(steps, each, 1, 1)
        before = parts.cumsum(1) - parts
        whole, span = parts.sum(1), widths.sum(1)
        area = (integral.reshape(steps, each, 400, 3) + before * widths).sum(1)
        first = whole / span.sqrt()
        second = 3**0.5 * (2 * area / span - whole) / span.sqrt()
        draws = iter(torch.stack([first, second], 1).flatten(0, 1))
        sampler = Sampler(StochasticRungeKutta(), times=lambda sde: times[::each], last="sample")
        return sampler.sample(sde, oracle, (400, 3), x_T=x_T, noise=lambda like: next(draws), dtype=torch.float64).x

    truth = path(fine)
    errors = [(path(n) - truth).square().mean().sqrt().item() for n in levels]
    for coarse, finer in pairwise(errors):
        assert 1.35 < math.log2(coarse / finer) < 2.15, errors  # 2 where the score is nearly affine, as here


def test_heun_never_churns_beyond_the_process_or_outside_its_range():
    sde = VPSDE()
    t, s = torch.tensor([1.0, 0.9], dtype=torch.float64)
    asked = []

    def score(x, t):
        asked.append(float(t))
        return -x

    Heun(churn=0.2).step(ReverseSDE(sde, score), torch.ones(1, 2), t, s, None, torch.ones_like)
    Heun(churn=0.2).step(ReverseSDE(sde, score), torch.ones(1, 2), s, 0.9 * s, None, torch.ones_like)
    Heun(churn=0.2, churn_max=1.0).step(ReverseSDE(sde, score), torch.ones(1, 2), s, 0.9 * s, None, torch.ones_like)
    assert asked[0] == 1.0 and 0.9 < asked[2] < 1.0 and asked[4] == 0.9


def test_a_single_step_on_a_table_asks_only_at_its_levels():
    sde = Tabulated.from_betas(torch.linspace(1e-4, 0.02, 100))
    score = GaussianOracle(torch.tensor([M], dtype=torch.float64), V**0.5).score(sde)
    asked = []

    def record(x, t):
        asked.append(float(t))
        return score(x, t)

    for predictor in (DPMSolver(3, multistep=False), StochasticRungeKutta(), Heun(churn=30.0)):
        x = Sampler(predictor, times=Uniform(100)).sample(sde, record, (2, 1), dtype=torch.float64).x  # each level, none between
        assert x.isfinite().all()
    assert set(asked) <= set(sde.times.tolist())


@pytest.mark.parametrize(
    "make",
    [
        lambda: DDIM(eta=1.5),
        lambda: DPMSolver(order=4),
        lambda: DPMSolver(order=2, published=True),
        lambda: UniPC(order=0),
        lambda: Heun(churn=-1.0),
        lambda: SDEDPMSolver(eta=-1.0),
    ],
)
def test_invalid_arguments_are_refused(make):
    with pytest.raises(ValueError, match=r"order|eta|churn"):
        make()


@pytest.mark.parametrize("predictor", PREDICTORS, ids=name)
def test_float32_states_stay_float32_and_near_those_of_float64(predictor):
    sde, score = VPSDE(), mixture(VPSDE())
    sampler = Sampler(predictor, times=LogSNR(15))
    one, two = (sampler.sample(sde, score, (4, 3), seed=1, dtype=dtype).x for dtype in (torch.float32, torch.float64))
    assert one.dtype == torch.float32
    torch.testing.assert_close(one.double(), two, rtol=0, atol=1e-4)
    assert dataclasses.is_dataclass(predictor) and hash(predictor) == hash(dataclasses.replace(predictor))


def test_each_order_is_nearer_than_the_one_before_and_the_third_than_the_published():
    """At equal calls, 40 of them, on the probability flow of a mixture, from one start."""
    sde, oracle = VPSDE(), mixture(VPSDE())

    def at_the_end(predictor, steps):
        sampler = Sampler(predictor, times=LogSNR(steps, t_min=1e-3), last="sample")
        return sampler.sample(sde, oracle, (200, 3), dtype=torch.float64).x

    truth = at_the_end(UniPC(order=3), 2000)
    errors = [
        (at_the_end(p, n) - truth).abs().mean().item()
        for p, n in (
            (DDIM(), 40),
            (DPMSolver(order=2), 40),
            (DPMSolver(order=3, published=True), 40),
            (DPMSolver(order=3), 39),
        )
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.quick("DDIM*", "DPMSolver*")
@pytest.mark.parametrize(
    ("predictor", "graphs"),
    [(DDIM(eta=0.5), 1), (DPMSolver(order=2), 2), (Heun(churn=10.0), 1), (UniPC(order=2), 3), (StochasticRungeKutta(), 1)],
    ids=name,
)
def test_a_step_is_one_graph_and_one_more_for_each_length_of_its_memory(predictor, graphs):
    """Under torch.compile, with no break in it, at times that differ; the numbers are the same."""
    torch._dynamo.reset()
    counter = CompileCounter()
    sde, memories = VPSDE(), [None, None]
    compiled = torch.compile(lambda *args: predictor.step(*args, torch.ones_like), backend=counter, fullgraph=True)
    states = [torch.ones(2, 3), torch.ones(2, 3)]
    for t, s in pairwise([0.7, 0.6, 0.52, 0.45, 0.3]):
        times = torch.tensor([t, s], dtype=torch.float64)
        for i, step in enumerate((compiled, lambda *args: predictor.step(*args, torch.ones_like))):
            rsde = ReverseSDE(sde, lambda x, t: -x)
            states[i], _, memories[i] = step(rsde, states[i], times[0], times[1], memories[i])
    assert counter.frame_count <= graphs
    torch.testing.assert_close(states[0], states[1])
