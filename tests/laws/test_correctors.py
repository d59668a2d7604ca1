"""Correctors, one by one, a sampler without a predictor, the grids of tables, and thresholding."""

import math

import pytest
import torch

from samplers import (
    DDIM,
    AnnealedLangevin,
    DPMSolver,
    EulerMaruyama,
    FlowSampler,
    Karras,
    Langevin,
    LogSNR,
    Metropolis,
    Respaced,
    Sampler,
    Table,
    Threshold,
    Unadjusted,
    Uniform,
    impulse_response,
)
from sde_lib import SDE, VESDE, VPSDE, Epsilon, GaussianOracle, Images, MixtureOracle, ReverseSDE, ScoreModel, Tabulated
from sde_lib.noise import RowNoise, Stream
from tests.registry import PROCESSES, name


def gaussian(sde, mean=0.7, std=0.3):
    return GaussianOracle(torch.tensor([mean], dtype=torch.float64), std).score(sde)


@pytest.mark.quick("VPSDE(LinearBeta*", "VESDE*", "Tabulated*")
@pytest.mark.parametrize("sde", PROCESSES, ids=name)
def test_metropolis_keeps_the_law_where_langevin_does_not(sde):
    """Exact samples of N(m, p), long steps: Langevin's variance becomes p / (1 - h / 2p), that of a Metropolis chain stays."""
    t = sde.snap(torch.tensor(0.4 * sde.T, dtype=torch.float64))
    alpha, sigma, _ = sde.at(t)
    p = float(alpha**2 * 0.09 + sigma**2)
    rsde, n, snr = ReverseSDE(sde, gaussian(sde)), 20_000, 0.6
    x = float(0.7 * alpha) + p**0.5 * RowNoise(1, n)(torch.empty(n, 1, dtype=torch.float64))
    kept = Metropolis(snr, steps=20).correct(rsde, x, t, RowNoise(1, n, Stream.CORRECTOR)).x
    drifted = Langevin(snr, steps=20).correct(rsde, x, t, RowNoise(1, n, Stream.CORRECTOR)).x
    assert kept.mean().item() == pytest.approx(float(0.7 * alpha), abs=5 * (p / n) ** 0.5)
    assert kept.var().item() == pytest.approx(p, rel=5 * (2 / n) ** 0.5)
    h = 2 * (snr * float(sigma)) ** 2
    assert drifted.var().item() == pytest.approx(p / (1 - h / (2 * p)), rel=5 * (2 / n) ** 0.5)
    assert not torch.equal(kept, x)


def test_metropolis_finds_the_law_of_a_mixture_from_another():
    """In two dimensions, from a point: the mean score is 0 and E[x . score] = -d (Stein)."""
    sde = VPSDE()
    oracle = MixtureOracle([0.3, 0.7], torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), [0.4, 0.6])
    t, n = torch.tensor(0.3, dtype=torch.float64), 4000
    rsde, x = ReverseSDE(sde, oracle.score(sde)), torch.zeros(n, 2, dtype=torch.float64)
    x = Metropolis(0.8, steps=80).correct(rsde, x, t, RowNoise(3, n)).x
    score = oracle.score(sde)(x, t)
    for statistic in (*score.T, (x * score).sum(1) + 2):
        assert abs(statistic.mean()) < 5 * statistic.std() / n**0.5


def test_metropolis_accepts_by_the_ratio_of_densities():
    """One move of three rows of N(0, 1), written out: proposals of known probability, and chances on either side of it."""
    sde, t, snr = VPSDE(), torch.tensor(0.5, dtype=torch.float64), 0.9
    score = gaussian(sde, 0.0, 1.0)
    x = torch.tensor([[0.1], [0.1], [2.0]], dtype=torch.float64)
    h = 2 * (snr * float(sde.at(t).sigma)) ** 2
    z = torch.tensor([[1.9], [1.9], [-0.3]], dtype=torch.float64)
    there = x - h * x + math.sqrt(2 * h) * z
    forth, back = (there - (1 - h) * x) ** 2 / (4 * h), (x - (1 - h) * there) ** 2 / (4 * h)
    chance = torch.exp(-0.5 * there**2 + 0.5 * x**2 + forth - back)
    assert chance[0] < 0.95
    u = torch.tensor([[chance[0].item() * 1.01], [chance[1].item() * 0.99], [0.999 * min(1.0, chance[2].item())]]).double()
    draws = iter([z, torch.special.ndtri(u)])
    moved = Metropolis(snr).correct(ReverseSDE(sde, score), x, t, lambda like: next(draws)).x
    torch.testing.assert_close(moved, torch.stack([x[0], there[1], there[2]]))


def test_metropolis_needs_a_density_and_says_so():
    with pytest.raises(TypeError, match=r"needs a score function with log_prob.*use Langevin"):
        Sampler(EulerMaruyama(), Metropolis()).sample(VPSDE(), lambda x, t: -x, (2, 3))
    sampler = Sampler(EulerMaruyama(), Metropolis(steps=2), times=Uniform(5))
    whole = sampler.sample(VPSDE(), gaussian(VPSDE()), (6, 1), dtype=torch.float64).x
    alone = sampler.sample(VPSDE(), gaussian(VPSDE()), (1, 1), index=4, dtype=torch.float64).x
    torch.testing.assert_close(alone[0], whole[4])


def test_annealed_langevin_s_two_conventions_differ_by_two():
    """alpha / 2 and sqrt(alpha), alpha and sqrt(2 alpha): half the epsilon of one is the other."""
    sde = VESDE()
    t, x = torch.tensor(0.5, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    alpha = 2e-5 * float(sde.at(t).sigma ** 2 / sde.at(sde.t_min).sigma ** 2)
    steps = {}
    for published in ("ncsn", "ncsnv2"):
        corrector = AnnealedLangevin(2e-5, steps=1, published=published)
        steps[published] = corrector.correct(ReverseSDE(sde, lambda x, t: -x), x, t, torch.ones_like)
    torch.testing.assert_close(steps["ncsn"].mean, x - alpha / 2 * x)
    torch.testing.assert_close(steps["ncsn"].x, x - alpha / 2 * x + math.sqrt(alpha))
    torch.testing.assert_close(steps["ncsnv2"].mean, x - alpha * x)
    torch.testing.assert_close(steps["ncsnv2"].x, x - alpha * x + math.sqrt(2 * alpha))


def test_a_corrector_alone_is_a_sampler():
    """Langevin at every time of the grid, ends included: many moves forget the start and leave their own bias."""
    sde = VESDE(sigma_max=2.0)
    sampler = Sampler(None, Langevin(snr=0.1, steps=40), times=LogSNR(19, t_min=0.05))
    frames = list(sampler.stream(sde, gaussian(sde), (2, 1), dtype=torch.float64))
    assert [f.t for f in frames[1:]] == pytest.approx(LogSNR(19, t_min=0.05)(sde).tolist()) and frames[-1].nfe == 800
    few = Sampler(None, Langevin(snr=0.3, steps=10), times=LogSNR(19, t_min=0.6))
    response = impulse_response(few, sde)
    sigma2 = float(sde.at(0.6).sigma ** 2)
    assert abs(response.mean_error) < 0.05
    h, p = 2 * 0.09 * sigma2, 0.09 + sigma2
    assert response.variance_error == pytest.approx(1 / (1 - h / (2 * p)) - 1, abs=0.05)
    with pytest.raises(TypeError, match="objects were needed"):
        Sampler(None)


def test_epsilon_is_held_against_the_smallest_sigma():
    with pytest.raises(ValueError, match=r"sigma\^2, and less than 2 is needed; epsilon is in units of the smallest"):
        Sampler(None, AnnealedLangevin(), times=Uniform(5)).sample(VPSDE(), lambda x, t: -x, (2, 3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: AnnealedLangevin(0.0),
        lambda: Unadjusted(steps=0),
        lambda: Unadjusted(epsilon=-1.0),
        lambda: Metropolis(snr=0.0),
        lambda: Karras(5, rho=0.0),
    ],
)
def test_invalid_numbers_are_refused(make):
    with pytest.raises(ValueError, match="needed"):
        make()


def test_an_unknown_word_is_refused():
    with pytest.raises(ValueError, match="AnnealedLangevin got published='v3', which is not known: use one of 'ncsn', 'ncsnv2'"):
        AnnealedLangevin(published="v3")


@pytest.mark.parametrize("sde", [s for s in PROCESSES if not s.has_table], ids=name)
@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
def test_karras_grid_is_even_in_the_root_of_sigma_over_alpha(rho, sde):
    times = Karras(9, rho=rho)(sde)
    level = sde.at(times)
    root = (level.sigma / level.alpha) ** (1 / rho)
    assert float(root.diff().std() / root.diff().abs().mean()) < 1e-6
    assert times[-1].item() == sde.t_min


@pytest.mark.parametrize("sde", [s for s in PROCESSES if s.has_table], ids=name)
def test_grids_of_tables_are_their_own_times(sde):
    times = Table()(sde)
    assert len(times) == len(sde.log_alphas) and torch.equal(times, sde.times.flip(0))
    assert torch.equal(Table(t_min=0.5)(sde), sde.times[sde.times >= 0.5 - 1e-12].flip(0))
    for levels in (10, "10", "3,4", (3, 4)):
        kept, respaced = Respaced(levels)(sde), sde.respace(levels)
        assert kept[-1].item() == sde.t_min and (kept.diff() < 0).all()
        assert torch.equal(sde.index(kept), respaced.index(respaced.times.flip(0)))
        assert torch.equal(sde.at(kept).log_snr, respaced.at(respaced.times.flip(0)).log_snr)
    assert Sampler(DDIM(), times=Respaced(10)).sample(sde, gaussian(sde), (2, 1)).nfe == 9


def test_grids_of_tables_need_a_table():
    for grid in (Table(), Respaced(10)):
        with pytest.raises(ValueError, match="table of levels"):
            grid(VPSDE())
    sde = Tabulated.from_betas(torch.linspace(1e-4, 0.02, 100))
    with pytest.raises(ValueError, match="no integer stride"):
        Respaced("ddim99")(sde)
    with pytest.raises(TypeError, match="Karras needs a LinearSDE"):
        Karras(5)(type("Other", (SDE,), dict.fromkeys(SDE.__abstractmethods__, None))())


class Says:
    """A model whose estimate of x0 is given."""

    def __init__(self, x0, sde):
        self.x0, self.sde = x0, sde

    def __call__(self, x, t):
        alpha, sigma, _ = self.sde.at(t)
        return (alpha * self.x0 - x) / sigma**2


def test_static_threshold_clips_and_dynamic_shrinks():
    sde, t = VPSDE(), torch.tensor(0.4, dtype=torch.float64)
    x0 = torch.tensor([[0.5, -3.0, 2.0, 1.0, -0.1], [0.2, -0.3, 0.9, 0.1, 0.0]], dtype=torch.float64)
    x = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(2, 5)
    static = Threshold(Says(x0, sde)).predict(x, t)
    torch.testing.assert_close(static.x0, torch.tensor([[0.5, -1, 1, 1, -0.1], [0.2, -0.3, 0.9, 0.1, 0]], dtype=torch.float64))
    dynamic = Threshold(Says(x0, sde), quantile=0.75).predict(x, t)  # |x0| sorted: .1 .5 1 2 3, the quantile is 2
    expected = torch.tensor([[0.25, -1, 1, 0.5, -0.05], [0.2, -0.3, 0.9, 0.1, 0]], dtype=torch.float64)
    torch.testing.assert_close(dynamic.x0, expected)
    alpha, sigma, _ = sde.at(t)
    torch.testing.assert_close(dynamic.eps, (x - alpha * expected) / sigma)
    torch.testing.assert_close(Threshold(Says(x0, sde), quantile=0.75)(x, t), -dynamic.eps / sigma)
    shifted = Threshold(Says(x0, sde), low=0.0, high=1.0, quantile=0.75).predict(x, t)  # |x0 - 1/2|: 0 .6 .5 1.5 3.5
    torch.testing.assert_close(shifted.x0[0], 0.5 + 0.5 / 1.5 * torch.tensor([0.0, -1.5, 1.5, 0.5, -0.6], dtype=torch.float64))


def test_threshold_works_with_every_kind_of_sampler():
    sde = VPSDE()
    images = Images(levels=256)
    model = ScoreModel(lambda x, label: 0.1 * x, sde, Epsilon(), images)
    within = Threshold(model, quantile=0.9)
    for sampler in (Sampler(DPMSolver(2), times=LogSNR(8), last="denoise"), FlowSampler(1e-2, 1e-2, last="denoise")):
        whole = sampler.sample(sde, within, (4, 1, 4, 4), seed=1, dtype=torch.float64)
        alone = sampler.sample(sde, within, (1, 1, 4, 4), seed=1, index=2, dtype=torch.float64)
        torch.testing.assert_close(alone.x[0], whole.x[2])
        assert whole.x.abs().max() <= 1
    bare = Threshold(lambda x, t: -x, sde=sde)
    assert not hasattr(bare, "take") and FlowSampler(1e-2, 1e-2).sample(sde, bare, (2, 3)).x.isfinite().all()
    with pytest.raises(TypeError, match="give sde="):
        Threshold(lambda x, t: -x)
    with pytest.raises(ValueError, match="low < high"):
        Threshold(model, quantile=1.0)
    with pytest.raises(ValueError, match="belongs to"):
        Sampler(DDIM()).sample(VESDE(), within, (2, 3))
