"""Encoding, mixing and watching: closed forms on Gaussian data, orders, exact laws of what is mixed."""

import math

import numpy as np
import pytest
import torch

from samplers import (
    DDIM,
    Ancestral,
    AnnealedLangevin,
    DPMSolver,
    FlowSampler,
    From,
    Langevin,
    LogSNR,
    ReverseDiffusion,
    Sampler,
    Table,
    Uniform,
    UniPC,
    interpolate,
    progressive,
    slerp,
)
from sde_lib import VPSDE, GaussianOracle, MixtureOracle, RowNoise
from sde_lib.tabulated import ddpm
from tests.laws.common import normal
from tests.laws.test_samplers import SMOOTH, STEPS, Uneven, deterministic, exact_flow
from tests.registry import CONTINUOUS, name

MEAN, STD = 0.7, 0.3
VAR = STD**2
TIGHT = FlowSampler(rtol=1e-11, atol=1e-11, method="dop853")


def gaussian(sde, shape=(1,)):
    return GaussianOracle(torch.full(shape, MEAN, dtype=torch.float64), STD).score(sde)


def mixture(sde):
    return MixtureOracle([0.3, 0.7], normal((2, 3), 5), [0.2, 0.4]).score(sde)


@pytest.mark.quick("VESDE*", "VPSDE(LinearBeta*")
@pytest.mark.parametrize("sde", CONTINUOUS, ids=name)
def test_the_flow_encodes_gaussian_data_by_the_affine_map_and_decodes_them_again(sde):
    """Whatever the data are: the map is that of the flow, far out as well."""
    x0 = torch.tensor([[-1.0], [0.7], [1.2], [3.0]], dtype=torch.float64)
    encoded = TIGHT.encode(sde, gaussian(sde), x0)
    truth = exact_flow(sde, x0, sde.t_min, sde.T, MEAN, VAR)
    torch.testing.assert_close(encoded.x, truth, rtol=1e-8, atol=1e-8)
    back = TIGHT.sample(sde, gaussian(sde), x0.shape, x_T=encoded.x, dtype=torch.float64)
    torch.testing.assert_close(back.x, x0, rtol=1e-7, atol=1e-7)
    assert encoded.nfe > 0


def test_the_flow_turns_a_full_covariance_into_the_prior():
    """Along each axis of the covariance by its own factor; the latents of the axes stay on the axes."""
    sde, covariance = VPSDE(), torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    oracle = GaussianOracle(torch.zeros(2), covariance=covariance)
    variances, axes = torch.linalg.eigh(covariance)
    latents = TIGHT.encode(sde, oracle.score(sde), axes.T.contiguous()).x
    scale = [exact_flow(sde, torch.ones(1, dtype=torch.float64), sde.t_min, sde.T, 0.0, v).item() for v in variances]
    torch.testing.assert_close(latents, torch.tensor(scale)[:, None].double() * axes.T, rtol=1e-7, atol=1e-9)


TURNED = [(p, sde) for p, sde in SMOOTH if deterministic(p) and type(p) is not ReverseDiffusion]


@pytest.mark.quick("DDIM*-VESDE*", "DPMSolver(2, *", "DPMSolver(3, True, True, F*", "Heun*", "UniPC(3)*", "Euler*")
@pytest.mark.parametrize(("predictor", "sde"), [(p, sde) for p, sde in TURNED if p == DDIM() or sde == VPSDE()], ids=name)
def test_order_of_the_inversion(predictor, sde):
    """Halving the steps divides the distance of the latents to the affine map by 2^order: DDIM's by 2, for every other by its own.

    UniPC(order=3) begins with a step whose error is h^3. From T that is forgotten on the way; from the data it is not.
    """
    x0 = torch.tensor([[-0.2], [0.6], [1.9]], dtype=torch.float64)
    errors = []
    for steps in STEPS[predictor.convergence]:
        sampler = Sampler(predictor, times=Uneven(steps, t_min=max(1e-3, sde.t_min)))
        end = sampler.times(sde)[-1]
        latent = sampler.encode(sde, gaussian(sde), x0).x
        errors.append((latent - exact_flow(sde, x0, end, sde.T, MEAN, VAR)).abs().max().item())
    measured = math.log2(errors[0] / errors[1])
    assert measured == pytest.approx(predictor.convergence, abs=0.15 if predictor.convergence < 4 else 1)


@pytest.mark.slow
def test_encoding_and_decoding_converge_at_the_order_of_the_predictor():
    """Data of a mixture, whose flow is not affine, encoded and decoded with the same steps: h^2 cancels, there and back."""
    sde = VPSDE()
    x0 = MixtureOracle([0.3, 0.7], normal((2, 3), 5), [0.2, 0.4]).sample(20, seed=3)
    for predictor, order, counts in (
        (DDIM(), 1, (800, 1600)),
        (DPMSolver(order=2), 3, (200, 400)),
        (DPMSolver(order=3), 3, (200, 400)),
    ):
        errors = []
        for steps in counts:
            sampler = Sampler(predictor, times=LogSNR(steps, t_min=1e-3))
            latent = sampler.encode(sde, mixture(sde), x0).x
            back = sampler.sample(sde, mixture(sde), x0.shape, x_T=latent, dtype=torch.float64).x
            errors.append((back - x0).square().mean().sqrt().item())
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15), predictor


def test_an_inverted_step_of_ddim_is_the_paper_s():
    """x_(t+1) = sqrt(a') (x_t - sqrt(1 - a) eps) / sqrt(a) + sqrt(1 - a') eps, eps asked at x_t and t, in the table's own terms."""
    sde = ddpm("cosine", 4)
    a = torch.tensor(sde.log_alphas, dtype=torch.float64).mul(2).exp()
    eps = lambda x, i: 0.3 * x + 0.1 * (i + 1)
    score = lambda x, t: -eps(x, int(sde.index(t))) / sde.at(t).sigma
    x0 = normal((3, 2), 1)
    x = x0
    for i in range(3):
        e = eps(x, i)
        x = a[i + 1].sqrt() * (x - (1 - a[i]).sqrt() * e) / a[i].sqrt() + (1 - a[i + 1]).sqrt() * e
    encoded = Sampler(DDIM(), times=Table()).encode(sde, score, x0)
    torch.testing.assert_close(encoded.x, x, rtol=1e-12, atol=1e-12)
    assert encoded.nfe == 3


def test_samplers_that_cannot_encode_are_refused():
    sde, x0 = VPSDE(), torch.zeros(2, 1)
    for sampler in (
        Sampler(Ancestral()),
        Sampler(DDIM(eta=0.5)),
        Sampler(DDIM(), Langevin()),
        Sampler(None, AnnealedLangevin(2e-6)),
    ):
        with pytest.raises(ValueError, match="draws noise"):
            sampler.encode(sde, gaussian(sde), x0)
    with pytest.raises(RuntimeError, match="use DDIM"):
        Sampler(ReverseDiffusion(eta=0.0), times=Uniform(10)).encode(sde, gaussian(sde), x0)
    for sampler in (Sampler(DDIM(), times=LogSNR(5)), FlowSampler()):
        with pytest.raises(TypeError, match="encode integers first"):
            sampler.encode(sde, gaussian(sde), torch.zeros(2, 1, dtype=torch.uint8))
        with pytest.raises(ValueError, match="NaN"):
            sampler.encode(sde, gaussian(sde), torch.full((2, 1), math.nan))


@pytest.mark.parametrize("shape", [(2,), (7, 3), (1, 8, 8)])
@pytest.mark.parametrize("sampler", [FlowSampler(), Sampler(DDIM(), times=LogSNR(10)), Sampler(UniPC(order=3), times=LogSNR(10))])
def test_rows_are_encoded_on_their_own_in_any_shape_and_dtype(sampler, shape):
    sde, x0 = VPSDE(), normal((5, *shape), 2)
    means = normal((2, *shape), 3)
    score = MixtureOracle([0.5, 0.5], means, [0.3, 0.6]).score(sde)
    whole = sampler.encode(sde, score, x0).x
    assert whole.shape == x0.shape
    torch.testing.assert_close(sampler.encode(sde, score, x0[3:4]).x, whole[3:4], rtol=1e-10, atol=1e-10)
    assert sampler.encode(sde, score, x0.float()).x.dtype == torch.float32


def test_conditions_are_bound_beforehand_and_rows_may_leave():
    """A score function that holds a mean for each row: taken along where it knows how, kept whole where it does not."""
    sde = VPSDE()
    means = torch.tensor([[-2.0], [0.5], [30.0]], dtype=torch.float64)

    class Bound:
        def __init__(self, means):
            self.means = means

        def __call__(self, x, t):
            level = sde.at(torch.as_tensor(t, dtype=torch.float64).expand(len(x)))
            return -(x - level.alpha[:, None] * self.means) / (level.alpha**2 * VAR + level.sigma**2)[:, None]

    class Taking(Bound):
        def take(self, rows):
            return Taking(self.means[rows])

    x0 = means + 0.1
    truth = torch.cat([exact_flow(sde, x0[i : i + 1], sde.t_min, sde.T, float(means[i]), VAR) for i in range(3)])
    for score in (Bound(means), Taking(means)):
        torch.testing.assert_close(TIGHT.encode(sde, score, x0).x, truth, rtol=1e-8, atol=1e-8)


# Mixing


def test_slerp_is_the_paper_s_for_rows_of_one_length_and_keeps_it():
    """sin((1 - w) theta) / sin(theta) a + sin(w theta) / sin(theta) b, by numpy; orthonormal rows stay of length 1."""
    a, b = (5 * torch.nn.functional.normalize(normal((6, 12), seed), dim=1) for seed in (0, 1))
    for w in (0.0, 0.2, 0.5, 0.9, 1.0):
        theta = np.arccos((a * b).sum(1).numpy() / 25)[:, None]
        truth = np.sin((1 - w) * theta) / np.sin(theta) * a.numpy() + np.sin(w * theta) / np.sin(theta) * b.numpy()
        x = slerp(a.reshape(6, 3, 4), b.reshape(6, 3, 4), w)
        np.testing.assert_allclose(x.reshape(6, 12).numpy(), truth, rtol=1e-12, atol=1e-12)
        e = torch.eye(4, dtype=torch.float64)
        torch.testing.assert_close(slerp(e, e.roll(1, 0), w).norm(dim=1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_of_slerp_are_exact_and_a_weight_may_belong_to_a_row(dtype):
    a, b = 3 * normal((4, 2, 5), 0).to(dtype), normal((4, 2, 5), 1).to(dtype)
    assert torch.equal(slerp(a, b, 0.0), a) and torch.equal(slerp(a, b, 1), b)
    weights = torch.tensor([0.0, 0.3, 1.0, 0.5])
    each = torch.cat([slerp(a[i : i + 1], b[i : i + 1], float(w)) for i, w in enumerate(weights)])
    x = slerp(a, b, weights)
    assert x.dtype == dtype and torch.equal(x, each)


def test_rows_that_are_nearly_parallel_are_safe():
    """On the arc still: equal rows stay, and a small angle is divided by the weight, where an arccos would see none."""
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 0.0], [math.cos(1e-9), math.sin(1e-9)], [0.0, 5.0]], dtype=torch.float64)
    x = slerp(a, b, 0.25)
    torch.testing.assert_close(x[0], a[0], rtol=0, atol=0)
    assert x[1, 1].item() == pytest.approx(0.25e-9, rel=1e-6)
    assert x[2, 1].item() == pytest.approx(math.sqrt(0.75 * 4 + 0.25 * 25))


@pytest.mark.parametrize("d", [2, 3, 40])
def test_slerp_of_independent_normal_draws_has_their_mean_and_covariance(d):
    """At each weight and in any dimension; |x|^2 has the variance 2 d ((1 - w)^2 + w^2) of its formula."""
    n = 100_000 if d < 10 else 20_000
    a, b = normal((n, d), 0), normal((n, d), 1)
    for w in (0.1, 0.5, 0.7):
        x = slerp(a, b, w)
        squares = x.square().sum(1)
        spread = 2 * d * ((1 - w) ** 2 + w**2)
        assert squares.mean().item() == pytest.approx(d, abs=4.5 * (spread / n) ** 0.5)
        assert squares.var().item() == pytest.approx(spread, rel=0.05)
        assert x.mean(0).abs().max() < 4.5 / n**0.5
        covariance = x.T @ x / n - torch.eye(d, dtype=torch.float64)
        assert covariance.abs().max() < 7 / n**0.5


def test_invalid_interpolations_are_refused():
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    for b in (-a, 0 * a):
        with pytest.raises(ValueError, match="opposite"):
            slerp(a, b, 0.5)
    with pytest.raises(ValueError, match="one shape"):
        slerp(a, a[:1], 0.5)
    with pytest.raises(ValueError, match="for each row"):
        slerp(a, a, torch.ones(3))
    with pytest.raises(TypeError, match="encode integers"):
        slerp(a.int(), a.int(), 0.5)
    sde = VPSDE()
    with pytest.raises(ValueError, match="leaves no step"):
        interpolate(Sampler(DDIM(), times=LogSNR(5)), sde, gaussian(sde, (2,)), a, a, 0.5, t=0.0)


FINE = Sampler(UniPC(order=3), times=LogSNR(150, t_min=1e-3))


@pytest.mark.parametrize("w", [0.0, 0.3, 0.5])
def test_ddpm_interpolation_of_gaussian_data_has_its_affine_law_without_noise_in_the_steps(w):
    """x_t ~ N(alpha ((1 - w) a + w b), sigma^2 ((1 - w)^2 + w^2)), and then the flow's affine map: not the data's law at 1/2."""
    sde, n = VPSDE(), 40_000
    a, b = torch.full((n, 1), 0.2, dtype=torch.float64), torch.full((n, 1), 1.1, dtype=torch.float64)
    t = From(0.4, FINE.times)(sde)[0]
    x = interpolate(FINE, sde, gaussian(sde), a, b, w, t=0.4, seed=2).x
    alpha, sigma, _ = sde.at(t)
    centre = (alpha * ((1 - w) * 0.2 + w * 1.1)).reshape(1, 1)
    mean = exact_flow(sde, centre, t, torch.tensor(1e-3).double(), MEAN, VAR).item()
    slope = exact_flow(sde, centre + 1, t, torch.tensor(1e-3).double(), MEAN, VAR).item() - mean
    std = slope * float(sigma) * ((1 - w) ** 2 + w**2) ** 0.5
    assert x.mean().item() == pytest.approx(mean, abs=4.5 * std / n**0.5)
    assert x.std().item() == pytest.approx(std, rel=4.5 / (2 * n) ** 0.5)


def posterior_chain(sde, places):
    """What a chain of DDPM's posteriors makes of x at the last of places: slope, offset and variance, by its recursion."""
    a = torch.tensor(sde.log_alphas, dtype=torch.float64).mul(2).exp()
    slope, offset, variance = 1.0, 0.0, 0.0
    for i in reversed(range(1, places + 1)):
        beta = 1 - a[i] / a[i - 1]
        k = a[i].sqrt() * VAR / (a[i] * VAR + 1 - a[i])  # E[x0 | x] = MEAN + k (x - sqrt(a) MEAN)
        of_x0 = a[i - 1].sqrt() * beta / (1 - a[i])
        of_x = (a[i] / a[i - 1]).sqrt() * (1 - a[i - 1]) / (1 - a[i])
        step, shift = of_x + of_x0 * k, of_x0 * MEAN * (1 - k * a[i].sqrt())
        noise = beta * (1 - a[i - 1]) / (1 - a[i]) if i > 1 else 0.0  # the last noise is dropped
        slope, offset, variance = step * slope, step * offset + shift, step**2 * variance + noise
    return float(slope), float(offset), float(variance)


def test_ddpm_interpolation_has_the_law_of_its_recursion():
    sde, n, w = ddpm("cosine", 30), 100_000, 0.5
    sampler = Sampler(Ancestral(), times=Table())
    t = sde.times[17]
    alpha, sigma, _ = sde.at(t)
    a, b = torch.full((n, 1), -0.5, dtype=torch.float64), torch.full((n, 1), 1.5, dtype=torch.float64)
    result = interpolate(sampler, sde, gaussian(sde), a, b, w, t=float(t), seed=1)
    slope, offset, variance = posterior_chain(sde, 17)
    assert result.nfe == 17
    variance += slope**2 * float(sigma**2) * ((1 - w) ** 2 + w**2)
    assert result.x.mean().item() == pytest.approx(slope * float(alpha) * 0.5 + offset, abs=4.5 * (variance / n) ** 0.5)
    assert result.x.var().item() == pytest.approx(variance, rel=4.5 * (2 / n) ** 0.5)


def test_interpolations_of_one_seed_share_their_noise_and_rows_their_seed_alone():
    """Through an affine sampler the middle is the mean of the ends; the ends know nothing of the other data."""
    sde, score = VPSDE(), gaussian(VPSDE(), (3,))
    a, b, c = (normal((6, 3), seed) for seed in range(3))
    between = lambda w, a=a, b=b, **kw: interpolate(FINE, sde, score, a, b, w, t=0.6, seed=5, **kw).x
    low, middle, high = between(0.0), between(0.5), between(1.0)
    torch.testing.assert_close(middle, 0.5 * (low + high), rtol=1e-12, atol=1e-12)
    assert torch.equal(low, between(0.0, b=c)) and torch.equal(high, between(1.0, a=c))
    assert (low - high).abs().min() > 1e-6 and not torch.allclose(between(0.0, b=a), between(1.0, b=a))  # two noises
    torch.testing.assert_close(between(0.5, a=a[4:], b=b[4:], index=4), middle[4:], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(between(torch.tensor([0.0, 0.5, 1.0, 0.5, 0.5, 0.5]))[:3], torch.stack([low[0], middle[1], high[2]]))


def test_samples_that_share_a_state_have_the_law_of_data_given_it():
    """The same x_t in many rows, each with noise of its own: the chain's law given x_t, near the posterior's N(x0-hat, hidden)."""
    sde, n, place = ddpm("cosine", 400), 20_000, 250
    t = sde.times[place]
    x_t = torch.tensor([[0.9]], dtype=torch.float64)
    sampler = Sampler(Ancestral(), times=From(float(t), Table()))
    x = sampler.sample(sde, gaussian(sde), (n, 1), x_T=x_t.expand(n, 1), seed=3, dtype=torch.float64).x
    slope, offset, variance = posterior_chain(sde, place)
    assert x.mean().item() == pytest.approx(slope * 0.9 + offset, abs=4.5 * (variance / n) ** 0.5)
    assert x.var().item() == pytest.approx(variance, rel=4.5 * (2 / n) ** 0.5)
    alpha, sigma, _ = sde.at(t)
    k = alpha * VAR / (alpha**2 * VAR + sigma**2)
    assert slope * 0.9 + offset == pytest.approx(float(MEAN + k * (0.9 - alpha * MEAN)), abs=1e-3)
    assert variance == pytest.approx(float(VAR * sigma**2 / (alpha**2 * VAR + sigma**2)), rel=0.05)


def test_the_times_from_t_on_are_the_end_of_the_grid():
    sde = VPSDE()
    whole = Uniform(10)(sde)
    assert torch.equal(From(0.5, Uniform(10))(sde), whole[5:]) and torch.equal(From(2.0, Uniform(10))(sde), whole)
    table = ddpm(steps=50)
    assert torch.equal(From(0.503, Table())(table), table.times[:25].flip(0))
    with pytest.raises(ValueError, match="leaves no step"):
        From(0.0, Uniform(10))(sde)


# Watching


@pytest.mark.parametrize(
    "sampler", [Sampler(Ancestral(), Langevin(), Uniform(7)), Sampler(None, AnnealedLangevin(2e-6, steps=2), LogSNR(5))]
)
def test_progressive_estimates_are_the_posterior_means_of_the_states_of_the_stream(sampler):
    sde, score = VPSDE(), gaussian(VPSDE(), (2,))
    frames = list(sampler.stream(sde, score, (4, 2), seed=3, index=2, dtype=torch.float64))
    guesses = list(progressive(sampler, sde, score, (4, 2), every=3, seed=3, index=2, dtype=torch.float64))
    wanted = sorted({*range(0, len(frames), 3), len(frames) - 1})
    assert [guess.i for guess in guesses] == wanted
    for calls, guess in enumerate(guesses, start=1):
        frame = frames[guess.i]
        alpha, sigma, _ = sde.at(frame.t)
        truth = MEAN + alpha * VAR / (alpha**2 * VAR + sigma**2) * (frame.x - alpha * MEAN)
        assert torch.equal(guess.x, frame.x) and guess.t == frame.t and guess.nfe == frame.nfe + calls
        torch.testing.assert_close(guess.x0, truth, rtol=1e-10, atol=1e-10)


def test_progressive_estimates_converge():
    """Along the flow from x_T, a guess is an affine map of the result; the last one is E[x0 | x] there."""
    sde, score = VPSDE(), gaussian(VPSDE())
    x_T = RowNoise(0, 5)(torch.empty(5, 1, dtype=torch.float64))
    *_, last = progressive(FINE, sde, score, (5, 1), every=50, x_T=x_T, dtype=torch.float64)
    end = exact_flow(sde, x_T, sde.T, torch.tensor(1e-3).double(), MEAN, VAR)
    torch.testing.assert_close(last.x, end, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(last.x0, end, rtol=0, atol=float(sde.at(1e-3).sigma))
    with pytest.raises(ValueError, match="every=0"):
        next(progressive(FINE, sde, score, (1, 1), every=0))
