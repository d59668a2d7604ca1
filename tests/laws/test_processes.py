"""Law 1: moments, and the identities that tie a process's functions together."""

import math
import re

import pytest
import torch
from scipy.integrate import solve_ivp

import sde_lib
from sde_lib import VESDE, VPSDE, CosineBeta, GeometricVPSDE, LinearBeta, LinearSDE, SubVPSDE, Tabulated
from tests.registry import CONTINUOUS, PROCESSES, cubic_beta, interior, name

every_process = pytest.mark.parametrize("sde", PROCESSES, ids=name)
every_continuous_process = pytest.mark.parametrize("sde", CONTINUOUS, ids=name)


@every_continuous_process
def test_moments_of_drift_and_diffusion_are_those_of_the_kernel(sde):
    """m' = f m and v' = 2 f v + g^2, from drift and diffusion themselves, give alpha and sigma^2 up to T."""

    def slope(t, moments):
        time = torch.tensor(t, dtype=torch.float64)
        one = torch.ones(1, 1, dtype=torch.float64)
        f, g = sde.drift(one, time).item(), float(sde.diffusion(one, time))
        return [f * moments[0], 2 * f * moments[1] + g**2]

    start = sde.at(sde.t_min)
    ends = [sde.t_min + fraction * (sde.T - sde.t_min) for fraction in (0.1, 0.5, 0.9, 1.0)]
    solved = solve_ivp(
        slope, (sde.t_min, sde.T), [start.alpha, start.sigma**2], t_eval=ends, method="DOP853", rtol=1e-11, atol=1e-13
    )
    level = sde.at(torch.tensor(ends, dtype=torch.float64))
    torch.testing.assert_close(torch.from_numpy(solved.y[0]), level.alpha, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(torch.from_numpy(solved.y[1]).sqrt(), level.sigma, rtol=1e-7, atol=1e-9)


@every_continuous_process
def test_closed_rates_are_the_derivatives(sde):
    t = interior(sde)
    ours, derived = sde.rates(t), LinearSDE.rates(sde, t)
    for closed, differentiated in zip(ours, derived, strict=True):
        torch.testing.assert_close(closed, differentiated, rtol=1e-10, atol=1e-10)


@every_process
def test_rates_work_under_inference_mode_and_vmap(sde):
    t = interior(sde, 5)
    with torch.inference_mode():
        inside = LinearSDE.rates(sde, t.clone())
    mapped = torch.vmap(lambda one: torch.stack(tuple(LinearSDE.rates(sde, one))))(t)
    expected = torch.stack(tuple(LinearSDE.rates(sde, t)))
    torch.testing.assert_close(torch.stack(tuple(inside)).clone(), expected)
    torch.testing.assert_close(mapped.T, expected)


@pytest.mark.quick("VPSDE(LinearBeta*", "RectifiedFlow*", "Tabulated*-10.12)")
@every_process
def test_levels_rates_and_steps_are_one_graph(sde):
    """torch.compile traces them whole, without running any compiler here, and gives the same numbers."""
    t, x = interior(sde, 5)[1:4], torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)

    def everything(x, t):
        law = sde.posterior(x, 0.5 * x, sde.snap(t / 2), t)
        return *sde.at(t), *sde.rates(t), sde.drift(x, t), sde.kernel(x, t).mean, law.mean, law.std

    torch.compiler.reset()  # the limit on graphs of one function is for one process of a kind
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")
    for ours, eager in zip(compiled(x, t), everything(x, t), strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-12, atol=1e-12, equal_nan=True)


@every_process
def test_log_snr_is_that_of_alpha_and_sigma_and_falls(sde):
    level = sde.at(interior(sde, 200))
    torch.testing.assert_close(level.log_snr, 2 * torch.log(level.alpha / level.sigma), rtol=1e-9, atol=1e-9)
    assert (level.log_snr.diff() < 0).all()
    assert (level.alpha > 0).all() and (level.sigma > 0).all()


@every_process
def test_t_of_log_snr_is_the_inverse(sde):
    t = interior(sde)
    for inverse in (sde.t_of_log_snr, lambda value: LinearSDE.t_of_log_snr(sde, value)):
        torch.testing.assert_close(inverse(sde.at(t).log_snr), t, rtol=1e-7, atol=1e-9)


@every_process
def test_t_of_log_snr_never_leaves_the_interval(sde):
    t = sde.t_of_log_snr(torch.tensor([1e3, -1e3], dtype=torch.float64))
    torch.testing.assert_close(t, torch.tensor([sde.t_min, sde.T], dtype=torch.float64), rtol=1e-9, atol=1e-9)


@every_process
def test_kernel_then_transition_is_the_later_kernel(sde):
    """Chapman and Kolmogorov: alpha_t = a alpha_s, sigma_t^2 = a^2 sigma_s^2 + b^2."""
    t = interior(sde)
    s, t = t[:-1], t[1:]
    a, b = sde.transition_coefficients(s, t)
    early, late = sde.at(s), sde.at(t)
    torch.testing.assert_close(a * early.alpha, late.alpha, rtol=1e-12, atol=0)
    torch.testing.assert_close(a**2 * early.sigma**2 + b**2, late.sigma**2, rtol=1e-10, atol=0)


@every_process
def test_posterior_obeys_bayes(sde):
    """log q(x_s | x_t, x0) = log q(x_t | x_s) + log q(x_s | x0) - log q(x_t | x0), at points of all three."""
    g = torch.Generator().manual_seed(1)
    x0, x_s, x_t = (torch.randn(6, 3, generator=g, dtype=torch.float64) for _ in range(3))
    pairs = [(0.1, 0.2), (0.3, 0.9), (0.5, 0.51)]
    for low, high in pairs:
        s, t = sde.snap(torch.tensor([low * sde.T, high * sde.T], dtype=torch.float64)).unbind()
        x_t = sde.kernel(x0, t).sample(x_t)
        x_s = sde.posterior(x_t, x0, s, t).sample(x_s)
        direct = sde.posterior(x_t, x0, s, t).log_prob(x_s)
        bayes = sde.transition(x_s, s, t).log_prob(x_t) + sde.kernel(x0, s).log_prob(x_s) - sde.kernel(x0, t).log_prob(x_t)
        torch.testing.assert_close(direct, bayes, rtol=1e-8, atol=1e-8)


@every_process
def test_prior_is_the_noise_at_T_and_its_mismatch_is_bounded(sde):
    x0 = torch.full((2, 5), 0.7, dtype=torch.float64)
    prior, law = sde.prior(x0), sde.kernel(x0, sde.T)
    assert torch.equal(prior.mean, torch.zeros_like(x0))
    torch.testing.assert_close(prior.std, law.std)
    kl = (law.mean**2 / (2 * prior.std**2)).sum(1)  # two Gaussians of one variance
    torch.testing.assert_close(sde.prior_mismatch(x0), kl)


@every_process
def test_repr_and_equality(sde):
    import dataclasses
    import pickle

    assert pickle.loads(pickle.dumps(sde)) == sde
    if "function" not in repr(sde) and "levels" not in repr(sde):
        assert eval(repr(sde), {**vars(sde_lib), type(sde).__name__: type(sde)}) == sde
    with pytest.raises(dataclasses.FrozenInstanceError):
        sde.T = 2.0


@every_process
def test_coefficients_are_finite_and_exact_in_float32_states(sde):
    """The schedule is float64 whatever the state: float32 would be 1 % off at t = 1e-5."""
    x = torch.ones(3, 2)
    t = torch.full((3,), sde.t_min, dtype=torch.float64)
    law = sde.kernel(x, t)
    assert law.mean.dtype == law.std.dtype == torch.float32
    torch.testing.assert_close(law.std[0, 0].double(), sde.at(sde.t_min).sigma, rtol=1e-6, atol=0)
    for value in (sde.drift(x, t), sde.diffusion(x, t), law.score(law.sample(x))):
        assert value.isfinite().all() and value.dtype == torch.float32


def test_small_times_do_not_cancel():
    """sqrt(1 - alpha^2) in float64 already loses digits here; the series does not: sigma^2 = B - B^2/2 + B^3/6."""
    t = torch.tensor(1e-9, dtype=torch.float64)
    B = 0.1 * 1e-9 + 0.5 * 19.9 * 1e-18
    assert VPSDE().at(t).sigma.item() == pytest.approx(math.sqrt(B - B**2 / 2), rel=1e-13, abs=0)
    assert SubVPSDE().at(t).sigma.item() == pytest.approx(B - B**2 / 2, rel=1e-13, abs=0)
    d = 1e-9 / 1.008 * math.pi / 2
    first = 2 * math.tan(0.008 / 1.008 * math.pi / 2) * d + d**2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert VPSDE(beta=CosineBeta()).at(t).sigma.item() == pytest.approx(math.sqrt(first), rel=1e-7, abs=0)


def test_schedule_without_an_integral_is_integrated():
    t = torch.linspace(0.01, 1, 7, dtype=torch.float64)
    expected = torch.exp(-0.5 * (0.2 * t + 7.5 * t**4))
    torch.testing.assert_close(VPSDE(beta=cubic_beta).at(t).alpha, expected, rtol=1e-12, atol=0)


def test_two_functions_make_a_process():
    class Sine(sde_lib.LinearSDE):
        def alpha(self, t):
            return torch.cos(1.5 * t)

        def sigma(self, t):
            return torch.sin(1.5 * t)

    rates = Sine().rates(torch.tensor([0.3, 0.8]))
    torch.testing.assert_close(rates.f, -1.5 * torch.tan(1.5 * torch.tensor([0.3, 0.8], dtype=torch.float64)), rtol=1e-6, atol=0)
    assert repr(Sine()).endswith("Sine(T=1.0, t_min=1e-05)")


def test_invalid_processes_are_refused():
    class Backwards(LinearSDE):
        def alpha(self, t):
            return t

        def sigma(self, t):
            return 1 - t + 1e-3

    with pytest.raises(ValueError, match="strictly decreasing"):
        Backwards()
    with pytest.raises(ValueError, match="strictly decreasing"):
        VESDE(sigma_min=2.0, sigma_max=1.0)
    with pytest.raises(ValueError, match="t_min"):
        VPSDE(t_min=2.0)
    with pytest.raises(ValueError, match="one or the other"):
        VPSDE(0.1, 20.0, beta=CosineBeta())
    with pytest.raises(ValueError, match="inside \\(0, 1\\)"):
        Tabulated.from_betas([0.1, 1.5])


def test_a_table_is_its_betas():
    """alpha_i^2 is the product of 1 - beta_j, at time i/N, and index and snap find it."""
    betas = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    sde = Tabulated.from_betas(betas)
    t = torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    torch.testing.assert_close(sde.at(t).alpha ** 2, torch.tensor([0.9, 0.72, 0.504, 0.3024], dtype=torch.float64))
    torch.testing.assert_close(sde.at(t).alpha ** 2 + sde.at(t).sigma ** 2, torch.ones(4, dtype=torch.float64))
    assert sde.index(t).tolist() == [0, 1, 2, 3]
    assert sde.snap(torch.tensor([0.0, 0.3, 0.9, 1.0])).tolist() == [0.25, 0.25, 1.0, 1.0]
    a, b = sde.transition_coefficients(t[:-1], t[1:])
    torch.testing.assert_close(a**2, 1 - betas[1:])
    torch.testing.assert_close(b**2, betas[1:])


def test_a_fine_table_tends_to_the_continuous_process():
    """DDPM with beta(i/N)/N tends to VP, with an error in proportion to 1/N."""
    errors = []
    for n in (500, 1000, 2000):
        t = torch.arange(1, n + 1, dtype=torch.float64) / n
        table = Tabulated.from_betas(LinearBeta()(t) / n)
        at = torch.tensor([0.25, 0.5], dtype=torch.float64)
        errors.append((table.at(at).alpha - VPSDE().at(at).alpha).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VPSDE(beta=3), "got beta=3, and a function of t was needed"),
        (lambda: SubVPSDE(beta=CosineBeta), "a function of t was needed, such as CosineBeta()"),
        (lambda: VPSDE(beta_min="0.1"), "LinearBeta got beta_min='0.1', and a number was needed"),
        (lambda: VPSDE(T="1"), "VPSDE got T='1', and a number was needed"),
        (lambda: VESDE(sigma_min="0.1"), "VESDE got sigma_min='0.1', and a number was needed"),
        (lambda: GeometricVPSDE(variance_max=None), "GeometricVPSDE got variance_max=None, and a number was needed"),
    ],
)
def test_an_argument_of_another_type_is_refused_by_name(make, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        make()


@pytest.mark.parametrize("sigmas", [(0.0, 50.0), (-1.0, 50.0), (1.0, -1.0)])
def test_ve_needs_positive_sigmas(sigmas):
    with pytest.raises(ValueError, match="a positive sigma_min and sigma_max are needed"):
        VESDE(*sigmas)
