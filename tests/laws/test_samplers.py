"""Laws 2, 3, 6 and 7: order, the exact law of the output, independence of rows, the whole cross product."""

import dataclasses
import math
import re
from functools import partial
from itertools import pairwise

import pytest
import torch

from samplers import (
    DDIM,
    Ancestral,
    AnnealedLangevin,
    DPMSolver,
    EulerMaruyama,
    FlowSampler,
    Heun,
    Inpaint,
    Langevin,
    LogSNR,
    Predictor,
    ReverseDiffusion,
    Sampler,
    SDEDPMSolver,
    Step,
    StochasticRungeKutta,
    Unadjusted,
    Uniform,
    UniPC,
    impulse_response,
)
from sde_lib import VESDE, VPSDE, GaussianOracle, LinearSDE, MixtureOracle, ReverseSDE, SubVPSDE, Unfinished
from sde_lib.linear import Rates
from sde_lib.noise import RowNoise, Stream
from tests.registry import CONTINUOUS, CORRECTORS, GRIDS, PREDICTORS, PROCESSES, name, plugged

# The error of the variance at 400 steps, as ratio - 1, VP, log-SNR grid to t_min = 1e-3, data N(0.7, 0.09). An off-by-one time
# keeps the order and shows only here. EulerMaruyama: 8.7e-3 to 4.1e-3 in an independent prototype of another grid; the others
# agree with the second implementations in test_sizes_agree_with_a_second_implementation and in test_papers.py.
SIZES = {
    Ancestral(): -2.355e-2,
    Ancestral("large"): 1.634e-2,
    EulerMaruyama(): 1.09e-2,
    EulerMaruyama(eta=0.0): 5.62e-3,
    ReverseDiffusion(): 2.25e-2,
    ReverseDiffusion(eta=0.0): 1.65e-1,
    DPMSolver(order=1): -1.19e-2,
    DDIM(): -1.19e-2,
    DDIM(eta=0.5): -1.478e-2,
    DDIM(eta=1.0): -2.355e-2,
    DPMSolver(order=2): 7.12e-5,
    DPMSolver(order=2, data_prediction=False): -7.21e-5,
    DPMSolver(order=2, multistep=False): -7.14e-5,
    DPMSolver(order=3): 5.98e-8,
    DPMSolver(order=3, data_prediction=False): -2.64e-8,
    DPMSolver(order=3, multistep=False): 3.11e-8,
    DPMSolver(order=3, published=True): 2.40e-5,
    Heun(): 1.443e-4,
    Heun(churn=10.0): 3.93e-4,
    SDEDPMSolver(): 1.894e-4,
    SDEDPMSolver(eta=0.5): 9.88e-5,
    StochasticRungeKutta(): -3.21e-4,
    UniPC(order=1): -2.154e-4,
    UniPC(order=2): 2.30e-6,
    UniPC(order=3): -2.79e-8,
    **plugged("SIZES"),
}


def require_row(table, rows, predictor):
    """A sentence that says what a new predictor still needs."""
    assert predictor in rows, (
        f"{predictor!r} has no row in {table}: give the size of its error in SIZES of tests/laws/test_samplers.py and the "
        "paper's formula in numbers, a second implementation, in PAPERS of tests/laws/test_papers.py; CONTRIBUTING.md says how"
    )


def affine(corrector):
    """Whether a move is an affine function of the state and the draws, which a test of superposition tells."""
    sde, n = VESDE(), 64
    rsde = ReverseSDE(sde, GaussianOracle(torch.tensor([0.7], dtype=torch.float64), 0.3).score(sde))
    t, draws = torch.tensor(0.4 * sde.T, dtype=torch.float64), RowNoise(0, 2 * n, Stream.STEP)

    def superposed(like):
        one, other = draws(like.new_empty(2 * n, *like.shape[1:])).chunk(2)
        return torch.cat([0 * one, one, other, one + other])

    x = superposed(torch.empty(4 * n, 1, dtype=torch.float64))
    none, one, other, both = corrector.correct(rsde, x, t, superposed).x.chunk(4)
    return bool(((both - one - other + none).abs() < 1e-9 * both.abs().max()).all())


# The law of a move that is not affine, as with a Metropolis test, is sampled where that of the others is computed.
AFFINE = [corrector for corrector in CORRECTORS if affine(corrector)]


# One predictor of each class meets every process, alone and with one corrector of each class; its other settings meet three.
FIRST = {type(p): p for p in reversed(PREDICTORS)}.values()
WITH = {type(c): c for c in reversed(AFFINE)}.values()
THREE = [VPSDE(), VESDE(), next(sde for sde in PROCESSES if sde not in CONTINUOUS)]
PAIRS = [(p, sde) for p in PREDICTORS for sde in PROCESSES if p in FIRST or sde in THREE]
SMOOTH = [(p, sde) for p, sde in PAIRS if sde in CONTINUOUS]
COMBINATIONS = [(p, None, sde) for p, sde in PAIRS] + [(p, c, sde) for p in FIRST for c in WITH for sde in PROCESSES]

# Where the order shows: late for the first, and for the fourth before round-off.
STEPS = {1: (800, 1600), 2: (400, 800), 3: (400, 800), 4: (200, 400)}


def deterministic(predictor):
    """Whether two steps draw nothing."""

    def noise(like):
        raise LookupError

    try:
        Sampler(predictor, times=Uniform(2)).sample(VPSDE(), lambda x, t: -x, (1, 1), x_T=torch.ones(1, 1), noise=noise)
    except LookupError:
        return False
    return True


def exact_flow(sde, x, t, s, mean, var):
    """The probability flow of Gaussian data carries x from t to s along its own quantile."""
    (a, b, _), (c, d, _) = sde.at(t), sde.at(s)
    return c * mean + torch.sqrt((c**2 * var + d**2) / (a**2 * var + b**2)) * (x - a * mean)


def grid_to(steps, sde):
    return LogSNR(steps, t_min=max(1e-3, sde.t_min))


class Uneven(LogSNR):
    """Steps in log-SNR that grow."""

    def between(self, sde, t_min, u):
        return super().between(sde, t_min, u**1.6)


@pytest.mark.parametrize(("predictor", "sde"), [(p, sde) for p, sde in SMOOTH if deterministic(p)], ids=name)
def test_order_on_the_probability_flow(predictor, sde):
    """Halving the steps of a deterministic predictor divides the distance to the exact map by 2^order.

    On a grid that is uneven in log-SNR: on an even one the leading term of the third-order ones cancels, and their order is 4.
    """
    mean, var = 0.7, 0.09
    score = GaussianOracle(torch.tensor([mean], dtype=torch.float64), var**0.5).score(sde)
    x_T = float(sde.at(sde.T).sigma) * torch.tensor([[-1.3], [0.4], [1.7]], dtype=torch.float64)
    errors = []
    for steps in STEPS[predictor.convergence]:
        sampler = Sampler(predictor, times=Uneven(steps, t_min=max(1e-3, sde.t_min)), last="sample")
        x = sampler.sample(sde, score, x_T.shape, x_T=x_T, dtype=torch.float64).x
        errors.append((x - exact_flow(sde, x_T, sde.T, sampler.times(sde)[-1], mean, var)).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(predictor.convergence, abs=0.15)


@pytest.mark.parametrize(("predictor", "sde"), SMOOTH, ids=name)
def test_order_of_the_law_by_impulse_response(predictor, sde):
    """Mean and variance of the output, exact and without random numbers, converge at the declared order.

    On a grid that is uneven in log-SNR: on an even one Euler-Maruyama's first-order term cancels for VE, and its order is 2.
    """
    grids = [Uneven(steps, t_min=max(1e-3, sde.t_min)) for steps in ((600, 1200) if predictor.convergence == 1 else (300, 600))]
    responses = [impulse_response(Sampler(predictor, times=grid), sde, var=0.5) for grid in grids]
    sizes = [math.hypot(r.mean_error, r.variance_error) for r in responses]
    assert math.log2(sizes[0] / sizes[1]) == pytest.approx(predictor.convergence, abs=0.15)


@pytest.mark.parametrize("predictor", PREDICTORS, ids=name)
def test_size_of_the_error_of_the_law(predictor):
    response = impulse_response(Sampler(predictor, times=LogSNR(400, t_min=1e-3)), VPSDE())
    require_row("SIZES", SIZES, predictor)
    ratio = response.variance_error / SIZES[predictor]
    assert 1 / 1.5 < ratio < 1.5


def test_sizes_agree_with_a_second_implementation():
    """The recursions of mean and variance on N(m, v), written out from the papers' formulas in scalars."""
    m, v = 0.7, 0.09
    times = LogSNR(400, t_min=1e-3)(VPSDE()).tolist()

    def signal(t):
        B = 0.1 * t + 9.95 * t * t
        return math.exp(-B / 2), math.sqrt(-math.expm1(-B))

    def run(step):
        alpha, sigma = signal(1.0)
        mean, var = alpha * m, alpha**2 * v + sigma**2
        for t, s in pairwise(times):
            alpha, sigma = signal(t)
            p = alpha**2 * v + sigma**2  # score = -(x - alpha m) / p
            gain, offset, noise = step(t, s, p, alpha * m)
            mean, var = gain * mean + offset, gain**2 * var + noise
        alpha, sigma = signal(times[-1])
        return var / (alpha**2 * v + sigma**2) - 1

    def euler(eta):
        def step(t, s, p, centre):
            beta, h = 0.1 + 19.9 * t, t - s
            k = 0.5 * (1 + eta**2) * beta * h / p
            return 1 + 0.5 * beta * h - k, k * centre, eta**2 * beta * h

        return step

    def reverse(eta):
        def step(t, s, p, centre):
            a = signal(t)[0] / signal(s)[0]
            k = 0.5 * (1 + eta**2) * (1 - a * a) / p
            return 2 - a - k, k * centre, eta**2 * (1 - a * a)

        return step

    def ddim(t, s, p, centre):
        """Song, Meng, Ermon, 2021, equation 12: alpha_s x0 + sigma_s eps."""
        (alpha, sigma), (alpha_s, sigma_s) = signal(t), signal(s)
        gain_eps = sigma / p
        gain_x0 = (1 - sigma * gain_eps) / alpha
        offset_eps = -gain_eps * centre
        return alpha_s * gain_x0 + sigma_s * gain_eps, (sigma_s - alpha_s * sigma / alpha) * offset_eps, 0.0

    def ancestral(large):
        """Ho, Jain, Abbeel, 2020, equations 6 and 7, with 1 - beta = (alpha_t / alpha_s)^2."""

        def step(t, s, p, centre):
            (alpha, sigma), (alpha_s, sigma_s) = signal(t), signal(s)
            a = alpha / alpha_s
            beta = 1 - a * a
            of_x0, of_x = alpha_s * beta / sigma**2, a * sigma_s**2 / sigma**2
            x0_gain, x0_offset = (1 - sigma**2 / p) / alpha, sigma**2 / p * centre / alpha
            noise = beta if large else beta * sigma_s**2 / sigma**2
            return of_x + of_x0 * x0_gain, of_x0 * x0_offset, noise

        return step

    theirs = {
        Ancestral(): run(ancestral(large=False)),
        Ancestral("large"): run(ancestral(large=True)),
        EulerMaruyama(): run(euler(1)),
        EulerMaruyama(eta=0.0): run(euler(0)),
        ReverseDiffusion(): run(reverse(1)),
        ReverseDiffusion(eta=0.0): run(reverse(0)),
        DPMSolver(order=1): run(ddim),
    }
    for predictor, error in theirs.items():
        ours = impulse_response(Sampler(predictor, times=LogSNR(400, t_min=1e-3)), VPSDE()).variance_error
        assert ours == pytest.approx(error, rel=1e-8)
        assert SIZES[predictor] == pytest.approx(error, rel=0.01)


@pytest.mark.parametrize(("predictor", "corrector", "sde"), COMBINATIONS, ids=name)
def test_every_combination_gives_the_law(predictor, corrector, sde):
    """Law 7. The error of the law halves with the step, down to what a corrector's finite step leaves."""
    error = refusal(corrector, sde)
    if error is not None:
        with pytest.raises(type(error), match=re.escape(str(error))):
            Sampler(predictor, corrector).sample(sde, lambda x, t: -x, (1, 1))
        return
    responses = [impulse_response(Sampler(predictor, corrector, times=grid_to(steps, sde)), sde) for steps in (50, 100)]
    coarse, fine = (math.hypot(r.mean_error, r.variance_error) for r in responses)
    assert fine < 0.65 * coarse + 0.02


def refusal(corrector, sde):
    """The sentence with which a corrector refuses a process at the door, or None."""
    try:
        if corrector is not None:
            corrector.check(ReverseSDE(sde, lambda x, t: -x))
    except (TypeError, ValueError) as error:
        return error
    return None


@pytest.mark.parametrize("corrector", [c for c in CORRECTORS if isinstance(c, AnnealedLangevin)], ids=name)
@pytest.mark.parametrize("sde", PROCESSES, ids=name)
def test_annealed_langevin_refuses_a_step_that_overshoots(corrector, sde):
    """One longer than twice the smallest variance, and no other."""
    sigma = sde.at(sde.t_min).sigma
    error = refusal(corrector, sde)
    assert (error is not None) == bool(move(corrector, sde, sigma) >= 2 * sigma**2)
    assert error is None or "less than 2 is needed" in str(error)


def move(corrector, sde, sigma):
    """The step h of x + h score + sqrt(2 h) z, from the papers."""
    if isinstance(corrector, AnnealedLangevin):
        alpha = corrector.epsilon * sigma**2 / sde.sigma(torch.tensor(sde.t_min, dtype=torch.float64)) ** 2
        return alpha / 2 if corrector.published == "ncsn" else alpha
    return (
        torch.tensor(corrector.epsilon / 2, dtype=torch.float64)
        if isinstance(corrector, Unadjusted)
        else 2 * (corrector.snr * sigma) ** 2
    )


@pytest.mark.parametrize("corrector", CORRECTORS, ids=name)
@pytest.mark.parametrize("sde", PROCESSES, ids=name)
def test_corrector_keeps_the_law_at_its_time(corrector, sde):
    """Started from N(m, p) exactly, one correct moves mean and variance by no more than the bias that the corrector declares.

    Exactly, by impulse response, where the move is affine; else by 20,000 rows, to five standard errors.
    """
    t = sde.snap(torch.tensor(0.4 * sde.T, dtype=torch.float64))
    alpha, sigma, _ = sde.at(t)
    rsde = ReverseSDE(sde, GaussianOracle(torch.tensor([0.7], dtype=torch.float64), 0.3).score(sde))
    mean, std = float(alpha * 0.7), torch.sqrt(alpha**2 * 0.09 + sigma**2)
    bias = corrector.bias(sde, t, std)
    if math.isinf(bias):
        pytest.skip("the corrector declares that its move has no law here")
    if corrector in AFFINE:
        draws = count_draws(lambda noise: corrector.correct(rsde, torch.zeros(1, 1, dtype=torch.float64), t, noise))
        x = torch.full((draws + 2, 1), mean, dtype=torch.float64)
        x[1] += std
        x = corrector.correct(rsde, x, t, impulses(draws)).x
        drift, ratio, slack = x[0].item() - mean, (((x[1:] - x[0]) / std) ** 2).sum().item(), (1e-9, 1e-9)
        assert (x[2:] != x[0]).any() and abs((x[1] - x[0]).item()) < std, f"{corrector!r} forgets nothing of where it starts"
    else:
        n = 20_000
        x = mean + std * RowNoise(1, n)(torch.empty(n, 1, dtype=torch.float64))
        moved = corrector.correct(rsde, x, t, RowNoise(1, n, Stream.CORRECTOR)).x
        drift, ratio = moved.mean().item() - mean, (moved.var() / std**2).item()
        slack = 5 / n**0.5, 5 * (2 / n) ** 0.5
        assert not torch.equal(moved, x), f"{corrector!r} forgets nothing of where it starts"
    for what, change, least in (("mean, in standard deviations,", drift / float(std), slack[0]), ("variance", ratio - 1, slack[1])):
        assert abs(change) <= bias + least, (
            f"{corrector!r} changes the {what} of N(m, p) by {change:.2g} of it under {sde!r}, and its bias() declares {bias:.2g} "
            "at most: mend the move, or declare how far a finite step moves the law, as bias(sde, t, std) of Langevin does"
        )


def count_draws(run):
    """How many times something draws."""
    draws = 0

    def noise(like):
        nonlocal draws
        draws += 1
        return torch.zeros_like(like)

    run(noise)
    return draws


def impulses(draws):
    """Noise whose k-th draw is 1 in row k + 2, and 0 elsewhere."""
    rows = iter(range(2, draws + 2))

    def noise(like):
        z = torch.zeros_like(like)
        z[next(rows)] = 1
        return z

    return noise


LANGEVIN = [c for c in CORRECTORS if isinstance(c, Langevin | AnnealedLangevin | Unadjusted)]


@pytest.mark.parametrize("corrector", CORRECTORS, ids=name)
def test_every_corrector_has_a_finite_bias_somewhere(corrector):
    """A bias that is always infinite would pass every law."""
    t = torch.tensor(0.4, dtype=torch.float64)
    assert min(corrector.bias(sde, sde.snap(t * sde.T), sde.at(sde.snap(t * sde.T)).sigma) for sde in PROCESSES) < 0.1


@pytest.mark.parametrize("corrector", LANGEVIN, ids=name)
@pytest.mark.parametrize("sde", PROCESSES, ids=name)
def test_a_langevin_chain_keeps_the_law_of_its_step(corrector, sde):
    """On N(m, p) one move h gives variance (1 - h/p)^2 p + 2 h; its fixed point is p / (1 - h / (2 p)), where h is not small.

    Started there, the variance stays; so a move is neither too long nor too short, however little it moves."""
    t = sde.snap(torch.tensor(0.4 * sde.T, dtype=torch.float64))
    alpha, sigma, _ = sde.at(t)
    oracle = GaussianOracle(torch.tensor([0.7], dtype=torch.float64), 0.3)
    rsde = ReverseSDE(sde, oracle.score(sde))
    moves, draws = 100, 100 * corrector.steps
    p, h = alpha**2 * 0.09 + sigma**2, move(corrector, sde, sigma)
    if h >= 2 * p:
        pytest.skip("no step of this size has a law")
    fixed = p / (1 - h / (2 * p))
    x = (alpha * 0.7).expand(draws + 2, 1).clone()
    x[1] += fixed.sqrt()
    noise = impulses(draws)
    for _ in range(moves):
        x = corrector.correct(rsde, x, t, noise).x
    assert x[0].item() == pytest.approx(float(alpha * 0.7), abs=1e-9)
    variance = ((x[1:] - x[0]) ** 2).sum().item()
    assert variance == pytest.approx(float(fixed), rel=1e-9)
    moved, spread = (1 - h / p) ** draws, 1 - (1 - h / p) ** (2 * draws)  # of the start, and of the draws: of the fixed variance
    assert (x[1] - x[0]).item() == pytest.approx(float(moved * fixed.sqrt()), abs=1e-9 * float(fixed.sqrt()))
    assert ((x[2:] - x[0]) ** 2).sum().item() == pytest.approx(float(spread * fixed), rel=1e-6, abs=1e-12)
    assert rsde.calls == draws


def test_memory_does_not_outlive_a_move_that_is_not_the_predictors():
    """A second-order step begun anew at every time is the first-order one."""
    sde, score = VPSDE(), mixture(VPSDE())
    runs = [Sampler(DPMSolver(order), Langevin(), times=Uniform(10)).sample(sde, score, (2, 1, 4, 4)).x for order in (1, 2)]
    assert torch.equal(runs[0], runs[1])
    runs = [Sampler(DPMSolver(order), times=Uniform(10)).sample(sde, score, (2, 1, 4, 4)).x for order in (1, 2)]
    assert not torch.equal(runs[0], runs[1])


def test_published_langevin_step_divides_norms_averaged_over_the_batch():
    x = torch.tensor([[3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)
    z = torch.tensor([[0.0, 2.0], [4.0, 0.0]], dtype=torch.float64)
    rsde = ReverseSDE(VPSDE(), lambda x, t: -x)
    step = Langevin(snr=0.5, step="batch").correct(rsde, x, torch.tensor(0.5, dtype=torch.float64), lambda like: z)
    h = 2 * (0.5 * 3.0 / 3.0) ** 2  # mean |z| = (2 + 4) / 2, mean |s| = (5 + 1) / 2
    torch.testing.assert_close(step.mean, x - h * x)
    torch.testing.assert_close(step.x, x - h * x + math.sqrt(2 * h) * z)


def test_published_langevin_step_is_zero_for_a_zero_score():
    """A network that begins at zero, as ours do, gives no scale for a step: 0/0 is not let into the samples."""
    x = torch.ones(3, 2)
    step = Langevin(step="batch").correct(ReverseSDE(VPSDE(), lambda x, t: 0 * x), x, torch.tensor(0.5).double(), torch.ones_like)
    assert torch.equal(step.x, x)


def pc(sde):
    return Sampler(EulerMaruyama(), Langevin(), times=grid_to(20, sde))


def mixture(sde, shape=(1, 4, 4)):
    g = torch.Generator().manual_seed(5)
    return MixtureOracle([0.3, 0.7], torch.randn(2, *shape, generator=g, dtype=torch.float64), [0.2, 0.4]).score(sde)


@pytest.mark.parametrize("sde", PROCESSES, ids=name)
@pytest.mark.parametrize("sampler", [pc, lambda sde: FlowSampler(1e-3, 1e-3)], ids=["pc", "flow"])
def test_sample_depends_on_seed_and_index_alone(sampler, sde):
    """Law 6: sample 37 of 64, of 7 and alone; split in two batches; with other neighbours."""
    score, sampler = mixture(sde), sampler(sde)
    whole = sampler.sample(sde, score, (64, 1, 4, 4), seed=3, dtype=torch.float64).x
    alone = sampler.sample(sde, score, (1, 1, 4, 4), seed=3, index=37, dtype=torch.float64).x
    seven = sampler.sample(sde, score, (7, 1, 4, 4), seed=3, index=33, dtype=torch.float64).x
    scale = float(whole.abs().max())
    torch.testing.assert_close(alone[0], whole[37], rtol=0, atol=1e-11 * scale)
    torch.testing.assert_close(seven, whole[33:40], rtol=0, atol=1e-11 * scale)
    other = sampler.sample(sde, score, (1, 1, 4, 4), seed=4, index=37, dtype=torch.float64).x
    assert not torch.allclose(other, alone)
    rows = whole.flatten(1)
    assert torch.cdist(rows, rows).fill_diagonal_(1.0).min() > 1e-3


def test_batch_coupled_step_is_the_only_one_that_couples():
    sampler = Sampler(EulerMaruyama(), Langevin(step="batch"), times=Uniform(20))
    score = mixture(VPSDE())
    whole = sampler.sample(VPSDE(), score, (8, 1, 4, 4), dtype=torch.float64).x
    alone = sampler.sample(VPSDE(), score, (1, 1, 4, 4), index=3, dtype=torch.float64).x
    assert not torch.allclose(whole[3], alone[0], atol=1e-6)


def test_pairs_of_rows_are_independent():
    """Rows that shared their draws would pass every test of the marginal law."""
    sde = VPSDE()
    score = GaussianOracle(torch.zeros(1, dtype=torch.float64), 1.0).score(sde)
    x = Sampler(EulerMaruyama(), times=Uniform(10)).sample(sde, score, (20_000, 1), dtype=torch.float64).x[:, 0]
    x = (x - x.mean()) / x.std()
    for shift in (1, 2, 10_000):
        assert abs((x * x.roll(shift)).mean().item()) * 20_000**0.5 < 5


@pytest.mark.parametrize("sde", PROCESSES, ids=name)
@pytest.mark.parametrize("grid", GRIDS, ids=name)
def test_grids_run_from_T_to_t_min_and_add_up(grid, sde):
    times = grid(sde)
    assert times.dtype == torch.float64 and times.device.type == "cpu"
    assert times[0].item() == sde.T and times[-1].item() == pytest.approx(sde.t_min, abs=1e-15)
    assert (times.diff() < 0).all() and len(times) <= grid.steps + 1
    assert torch.equal(sde.snap(times), times)
    with pytest.raises(ValueError, match="t_min"):
        dataclasses.replace(grid, t_min=2 * sde.T)(sde)
    with pytest.raises(ValueError, match="one step"):
        dataclasses.replace(grid, steps=0)


def test_grids_are_even_in_their_variable():
    sde = VPSDE()
    assert Uniform(4, t_min=0.2)(sde).diff().std() < 1e-15
    assert sde.at(LogSNR(4)(sde)).log_snr.diff().std() < 1e-9


@pytest.mark.parametrize("predictor", PREDICTORS, ids=name)
def test_nfe_is_counted(predictor):
    calls = 0

    def score(x, t):
        nonlocal calls
        calls += 1
        return -x

    def calls_of_a_step():
        """Where a corrector stands before every step, each is a first one."""
        counter = ReverseSDE(VPSDE(), lambda x, t: -x)
        t = torch.tensor([0.5, 0.4], dtype=torch.float64)
        predictor.step(counter, torch.ones(2, 3), t[0], t[1], predictor.init(counter, torch.ones(2, 3), t[0]), torch.zeros_like)
        return counter.calls

    sampler = Sampler(predictor, Langevin(steps=2), times=Uniform(10))
    each = 2 + calls_of_a_step()
    for last, extra in (("mean", 0), ("denoise", 1), ("sample", 0)):
        calls = 0
        result = dataclasses.replace(sampler, last=last).sample(VPSDE(), score, (2, 3))
        assert result.nfe == calls == 10 * each + extra


def test_last_selects_the_result():
    sde, score = VPSDE(), mixture(VPSDE())
    results = {}
    for last in ("mean", "denoise", "sample"):
        sampler = Sampler(EulerMaruyama(), times=Uniform(20, t_min=0.05), last=last)
        results[last] = sampler.sample(sde, score, (4, 1, 4, 4), dtype=torch.float64).x
    frames = list(Sampler(EulerMaruyama(), times=Uniform(20, t_min=0.05)).stream(sde, score, (4, 1, 4, 4), dtype=torch.float64))
    assert torch.equal(results["mean"], frames[-1].mean) and torch.equal(results["sample"], frames[-1].x)
    alpha, sigma, _ = sde.at(0.05)
    t = torch.tensor(0.05, dtype=torch.float64)
    torch.testing.assert_close(results["denoise"], (frames[-1].x + sigma**2 * score(frames[-1].x, t)) / alpha)  # Tweedie
    with pytest.raises(ValueError, match="last"):
        Sampler(EulerMaruyama(), last="none")


@pytest.mark.parametrize(
    "parts",
    [{"predictor": EulerMaruyama}, {"predictor": "dpm"}, {"corrector": Langevin}, {"times": Uniform}, {"times": 100}],
    ids=str,
)
def test_parts_that_are_not_objects_of_their_kind_are_refused(parts):
    with pytest.raises(TypeError, match="objects were needed, as in"):
        Sampler(**{"predictor": EulerMaruyama()} | parts)


@pytest.mark.parametrize("answer", [lambda x: -x[:, :1], lambda x: -x.sum(1), lambda x: -x[:1]], ids=["column", "rows", "row"])
def test_a_score_that_only_broadcasts_is_refused(answer):
    for predictor in (EulerMaruyama(), DPMSolver()):
        with pytest.raises(ValueError, match="score function answered with shape"):
            Sampler(predictor, times=Uniform(3)).sample(VPSDE(), lambda x, t: answer(x), (2, 2))


def test_frames_have_the_step_time_and_calls():
    frames = list(Sampler(EulerMaruyama(), times=Uniform(5)).stream(VPSDE(), lambda x, t: -x, (2, 3)))
    assert [f.i for f in frames] == [0, 1, 2, 3, 4, 5] and [f.nfe for f in frames] == [0, 1, 2, 3, 4, 5]
    assert [f.t for f in frames] == pytest.approx(Uniform(5)(VPSDE()).tolist())


def test_stream_leaves_the_gradient_mode_of_its_caller_alone():
    """Two interleaved streams, and gradients between their frames."""
    one, two = (Sampler(EulerMaruyama(), times=Uniform(4)).stream(VPSDE(), lambda x, t: -x, (2, 3)) for _ in range(2))
    for _ in range(3):
        next(one), next(two)
        assert torch.is_grad_enabled()
    weight = torch.ones(1, requires_grad=True)
    x = Sampler(EulerMaruyama(), times=Uniform(4)).sample(VPSDE(), lambda x, t: -x * weight, (2, 3)).x
    assert not x.requires_grad


def test_inpainting_keeps_the_known_bit_for_bit_and_the_law_of_the_unknown():
    """A correlated Gaussian: given the first entry, the second has a known mean and variance."""
    sde, rho = VPSDE(), 0.8
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    score = GaussianOracle(torch.zeros(2, dtype=torch.float64), covariance=covariance).score(sde)
    known = torch.tensor([[0.5, 0.0]], dtype=torch.float64).expand(4000, 2).clone()
    mask = torch.tensor([True, False])
    sampler = Sampler(ReverseDiffusion(), Langevin(snr=0.3, steps=3), times=LogSNR(200, t_min=1e-3))
    x = sampler.sample(sde, score, known.shape, constraint=Inpaint(known, mask), dtype=torch.float64).x
    assert torch.equal(x[:, 0], known[:, 0])
    # Replacement is an approximation, whose bias falls with the corrector's work.
    assert x[:, 1].mean().item() == pytest.approx(rho * 0.5, abs=0.05)
    assert x[:, 1].var().item() == pytest.approx(1 - rho**2, abs=0.06)


def test_inpainting_starts_from_noised_pixels_and_drops_the_last_noise_everywhere():
    sde, known = VPSDE(), torch.full((2, 4), 3.0)
    constraint = Inpaint(known, torch.tensor([True, True, False, False]))
    frames = list(Sampler(EulerMaruyama(), times=Uniform(8)).stream(sde, lambda x, t: -x, (2, 4), constraint=constraint))
    alpha, sigma, _ = sde.at(sde.T)
    z = RowNoise(0, 2, Stream.CONSTRAINT)(known)
    torch.testing.assert_close(frames[0].x[:, :2], (alpha * known + sigma * z)[:, :2].float())
    assert not torch.equal(frames[-1].x[:, 2:], frames[-1].mean[:, 2:])
    with pytest.raises(TypeError, match="bool"):
        Inpaint(known, torch.ones(4))
    with pytest.raises(ValueError, match="broadcast"):
        Inpaint(known, torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="ask for that shape"):
        Sampler(EulerMaruyama()).sample(sde, lambda x, t: -x, (3, 4), constraint=constraint)


def test_an_algorithm_refuses_a_process_it_cannot_use():
    from sde_lib import SDE

    class Other(SDE):
        def drift(self, x, t):
            return -x

        def diffusion(self, x, t):
            return torch.ones(())

        def kernel(self, x0, t):
            raise NotImplementedError

        def prior(self, like):
            return VPSDE().prior(like)

    with pytest.raises(TypeError, match="ReverseDiffusion needs a process that is a LinearSDE"):
        Sampler(ReverseDiffusion()).sample(Other(), lambda x, t: -x, (2, 3))
    assert Sampler(EulerMaruyama(), times=Uniform(5)).sample(Other(), lambda x, t: -x, (2, 3)).nfe == 5


def test_a_score_of_another_process_is_refused():
    score = GaussianOracle(torch.zeros(2), 1.0).score(VPSDE())
    with pytest.raises(ValueError, match="was used with SubVPSDE"):
        Sampler(EulerMaruyama()).sample(SubVPSDE(), score, (2, 2))


def test_invalid_shapes_are_refused():
    with pytest.raises(ValueError, match="samples, \\*shape"):
        Sampler(EulerMaruyama()).sample(VPSDE(), lambda x, t: -x, (4,))
    with pytest.raises(ValueError, match="x_T has shape"):
        Sampler(EulerMaruyama()).sample(VPSDE(), lambda x, t: -x, (4, 2), x_T=torch.zeros(3, 2))
    for sampler in (Sampler(EulerMaruyama()), FlowSampler()):
        with pytest.raises(TypeError, match="decode them afterwards"):
            sampler.sample(VPSDE(), lambda x, t: -x, (4, 2), dtype=torch.uint8)
        assert sampler.sample(VPSDE(), lambda x, t: -x, (0, 2)).x.shape == (0, 2)


def test_a_predictor_of_a_user_needs_no_registration():
    """A user's multistep predictor: memory in and out, nothing registered, certified by the impulse response."""

    @dataclasses.dataclass(frozen=True)
    class AdamsBashforth(Predictor):
        order = 2
        multistep = True

        def step(self, rsde, x, t, s, memory, noise):
            slope, h = rsde.flow(x, t), t - s
            direction = slope
            if memory is not None:
                before, h_before = memory
                direction = slope + (0.5 * h / h_before) * (slope - before)
            x = x - h * direction
            return Step(x, x, (slope, h))

    errors = [
        abs(impulse_response(Sampler(AdamsBashforth(), times=LogSNR(n, t_min=1e-3)), VPSDE()).variance_error) for n in (400, 800)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("method", ["dopri5", "dop853"])
@pytest.mark.parametrize("sde", CONTINUOUS, ids=name)
def test_flow_sampler_is_the_exact_map(method, sde):
    oracle = GaussianOracle(torch.tensor([0.7], dtype=torch.float64), 0.3)
    x_T = float(sde.at(sde.T).sigma) * torch.tensor([[-1.3], [0.4]], dtype=torch.float64)
    result = FlowSampler(1e-9, 1e-9, method=method).sample(sde, oracle.score(sde), (2, 1), x_T=x_T, dtype=torch.float64)
    torch.testing.assert_close(result.x, exact_flow(sde, x_T, sde.T, sde.t_min, 0.7, 0.09), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("t_min", [0.0, 1.0, -1.0, 2.0])
def test_times_outside_the_process_are_refused(t_min):
    for sampler in (FlowSampler(t_min=t_min), Sampler(EulerMaruyama(), times=Uniform(5, t_min=t_min))):
        with pytest.raises(ValueError, match="inside \\(0, T"):
            sampler.sample(VPSDE(), lambda x, t: -x, (2, 3))


def test_rates_may_be_constants():
    """A user's process may answer a whole grid of times with 0-d tensors."""

    class Steady(LinearSDE):
        def __init__(self, number):
            object.__setattr__(self, "number", number)
            super().__init__()

        def alpha(self, t):
            return torch.exp(-t)

        def sigma(self, t):
            return torch.sqrt(-torch.expm1(-2 * t))

        def rates(self, t):
            return Rates(self.number(-1.0), self.number(2.0))

    number = partial(torch.tensor, dtype=torch.float64)
    x = Sampler(EulerMaruyama(), times=Uniform(5)).sample(Steady(number), lambda x, t: -x, (2, 3)).x
    assert x.isfinite().all()


def test_samples_that_are_not_finite_are_not_given_back():
    with pytest.raises(RuntimeError, match="1 of 2 samples are NaN or infinite"):
        Sampler(EulerMaruyama(), times=Uniform(3)).sample(VPSDE(), lambda x, t: x * torch.tensor([[1.0], [float("nan")]]), (2, 3))


def test_flow_sampler_says_why_it_failed():
    poisoned = lambda x, t: torch.where(x[:, :1] > 0, torch.nan, -x)
    start = torch.tensor([[-1.0, 0.5], [1.0, 0.5]])
    with pytest.raises(Unfinished, match="1 of 2 rows failed.*NaN") as caught:
        FlowSampler().sample(VPSDE(), poisoned, (2, 2), x_T=start)
    assert caught.value.result.x.isfinite().all(1).tolist() == [True, False]


def test_the_samples_beside_failed_ones_are_the_requested_result():
    """The guess of x0, where that was wanted, and rows counted as the seed's are."""
    poisoned = lambda x, t: torch.where(x[:, :1] > 0, torch.nan, -x)
    start = torch.tensor([[-1.0, 0.5], [1.0, 0.5]])
    with pytest.raises(Unfinished, match="the first being row 101") as caught:
        FlowSampler(last="denoise").sample(VPSDE(), poisoned, (2, 2), x_T=start, index=100)
    alone = FlowSampler(last="denoise").sample(VPSDE(), poisoned, (1, 2), x_T=start[:1])
    torch.testing.assert_close(caught.value.result.x[:1], alone.x)
    assert caught.value.result.nfe >= alone.nfe


def test_ve_starts_from_its_own_prior():
    x = next(Sampler(EulerMaruyama()).stream(VESDE(sigma_max=30.0), lambda x, t: -x, (4000, 1))).x
    assert x.std().item() == pytest.approx(30.0, rel=0.05)
