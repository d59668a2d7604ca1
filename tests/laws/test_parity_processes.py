"""Law 8, parity of processes, grids, training times and what networks are told with four other implementations."""

import math

import pytest
import torch

from samplers import LogSNR, Quadratic, Uniform
from sde_lib import EDM, VESDE, VPSDE, Epsilon, ImportanceTime, ReverseSDE, ScaledScore, Score, ScoreModel, SubVPSDE
from sde_lib.tabulated import ddpm
from tests.recorded import load, same, same_state

SONG = {"vp": VPSDE(), "subvp": SubVPSDE(), "ve50": VESDE()}
# score_sde_pytorch and score_flow compute 1 - exp(-B), which is off by up to 2^-53, whatever its size; ours is expm1.
ROUNDING = 2.0**-53
# score_flow takes 1 - exp(-x) as x, and exp(-x) as 1 - x, for x below 1e-3: up to 1e-3 off. From here on it does not.
BEYOND_SWITCH = 0.05
every_process = pytest.mark.parametrize("kind", SONG)


@every_process
def test_kernel_is_score_sde_s_marginal_prob(kind):
    """At 25 times of [0, 1], the ends included: nothing of the library evaluates at 0, but the formulas hold there."""
    g = load(f"score_sde_pytorch/a_sde_{kind}")
    kernel = SONG[kind].kernel(g["x"], g["t"])
    power = 1 if kind == "subvp" else 2  # what is subtracted from 1 is the std for sub-VP, the variance for VP
    same(kernel.std.flatten() ** power, g["std"] ** power, atol=0 if kind == "ve50" else 2 * ROUNDING)
    same_state(kernel.mean[..., :2, :2], g["mean"] if kind != "ve50" else g["x"][..., :2, :2])


@every_process
def test_drift_and_diffusion_are_score_sde_s(kind):
    g, sde = load(f"score_sde_pytorch/a_sde_{kind}"), SONG[kind]
    drift = sde.drift(g["x"], g["t"])[..., :2, :2]
    if kind == "ve50":
        assert (drift == 0).all()
    else:
        same_state(drift, g["drift"])
    # beta (1 - exp(-2 B)) of sub-VP carries the rounding of the reference times beta, which is at most 20.
    atol = 40 * ROUNDING if kind == "subvp" else 0
    same(sde.diffusion(g["x"], g["t"]).flatten() ** 2, g["diffusion"] ** 2, atol=atol)


@every_process
def test_prior_density_is_score_sde_s_prior_logp(kind):
    g, sde = load(f"score_sde_pytorch/a_sde_{kind}"), SONG[kind]
    law = sde.prior(g["x"])
    if kind == "ve50":
        assert float(law.std) == pytest.approx(50.0, rel=1e-12)
    else:
        # Their prior is N(0, 1); ours has the process's own sigma(T), which is 1 - 2e-5 (VP) and 1 - 4e-5 (sub-VP).
        assert float(law.std) == pytest.approx(1.0, rel=5e-5)
        law = type(law)(law.mean, torch.ones_like(law.std))
    same(law.log_prob(g["x"]), g["prior_logp"])


@every_process
@pytest.mark.parametrize(("eta", "key"), [(1.0, "rev_sde_drift"), (0.0, "rev_ode_drift")])
def test_reverse_drift_is_score_sde_s(kind, eta, key):
    g = load(f"score_sde_pytorch/a_sde_{kind}")
    x, t = g["x"][1:, :, :2, :2], g["t"][1:]
    reverse = ReverseSDE(SONG[kind], lambda x, t: g["score_crop"])
    # Row by row: the drifts of VE span seven orders of magnitude.
    for ours, theirs in zip(reverse.drift(x, t, eta), g[key], strict=True):
        same_state(ours, theirs)


def test_transition_of_ve_is_score_sde_s_discretize():
    """Their table has sigma(t) at t = i / (N - 1), and 0 before its first entry: the sigma of t = -infinity."""
    g, sde = load("score_sde_pytorch/a_sde_ve50"), VESDE()
    N = int(g["N"])
    times = torch.arange(N, dtype=torch.float64) / (N - 1)
    same(sde.at(times).sigma, g["discrete_sigmas"])
    i = (g["t"] * (N - 1)).floor().long()
    before = torch.cat([torch.tensor([-torch.inf], dtype=torch.float64), times])
    same(sde.transition_coefficients(before[i], times[i])[1], g["G"])


@pytest.mark.parametrize("kind", ["vp", "subvp", "vp_b0.5_8", "subvp_b0.5_8"])
def test_coefficients_are_score_flow_s_for_two_schedules(kind):
    g = load("score_flow/scoreflow_time")
    sde = (SubVPSDE if "subvp" in kind else VPSDE)(*g[f"{kind}/betas_min_max"].tolist(), t_min=1e-5)
    level, rates = sde.at(g["t"]), sde.rates(g["t"])
    beyond = g["t"] >= BEYOND_SWITCH
    same(level.alpha[beyond], g[f"{kind}/mean_coef"][beyond])
    same(level.sigma, g[f"{kind}/std_exact"])
    same(rates.f, g[f"{kind}/drift_over_x"])
    exact = beyond if "subvp" in kind else g["t"] > 0
    same(rates.g2[exact], g[f"{kind}/g"][exact] ** 2)


def test_coefficients_are_score_flow_s_for_ve():
    g, sde = load("score_flow/scoreflow_time"), VESDE()
    same(sde.at(g["t"]).sigma, g["ve/std"])
    same(sde.rates(g["t"]).g2, g["ve/g"] ** 2)
    same(sde.rates(g["t"]).g2 / sde.at(g["t"]).sigma ** 2, g["ve/density_unnormalised_g2_over_std2"])


@pytest.mark.parametrize("eps", [1e-05, 0.001])
@pytest.mark.parametrize("kind", ["vp", "subvp", "vp_b0.5_8", "subvp_b0.5_8"])
def test_importance_times_invert_score_flow_s_cumulative_density(kind, eps):
    """Their density is g^2 / sigma^2 on [eps, 1], integrated by quadrature; Z is its integral."""
    g = load("score_flow/scoreflow_time")
    sde = (SubVPSDE if "subvp" in kind else VPSDE)(*g[f"{kind}/betas_min_max"].tolist(), t_min=1e-5)
    law, Z = ImportanceTime(t_min=eps), g[f"{kind}/eps{eps}/Z_exact"]
    same(law.sample(sde, g["quantile"]), g[f"{kind}/eps{eps}/inverse_cdf_t_exact"], rtol=1e-8)
    inside = g["t"][g["t"] >= eps]
    same(law.sample(sde, g[f"{kind}/eps{eps}/cum_quadrature"] / Z), inside, rtol=1e-8)
    density = g[f"{kind}/g"] ** 2 / g[f"{kind}/std_exact"] ** 2
    some = g["t"] >= (BEYOND_SWITCH if "subvp" in kind else eps)
    weight = law.weight(sde, g["t"][some])
    same(weight, Z / (density[some] * (1 - eps)))


def test_importance_times_of_ve_have_score_flow_s_normaliser():
    g, sde = load("score_flow/scoreflow_time"), VESDE()
    t = torch.tensor([0.3], dtype=torch.float64)
    density = sde.rates(t).g2 / sde.at(t).sigma ** 2
    same(ImportanceTime(t_min=1e-5).weight(sde, t) * density * (1 - 1e-5), g["ve/Z_exact_eps1e-5"].reshape(1))


def test_vp_and_its_inverse_are_dpm_solver_s_linear_schedule():
    """Their lambda is half of our log-SNR."""
    g, sde = load("dpm_solver/dpm_schedule"), VPSDE()
    level = sde.at(g["t"])
    same(level.alpha, g["linear/alpha"])
    same(level.alpha.log(), g["linear/log_alpha"])
    same(level.sigma, g["linear/sigma"])
    torch.testing.assert_close(0.5 * level.log_snr, g["linear/lambda"], rtol=1e-9, atol=1e-9)
    same(sde.t_of_log_snr(2 * g["lambda_grid"]), g["linear/inverse_lambda"])


GRIDS = {"logSNR": LogSNR, "time_uniform": Uniform, "time_quadratic": Quadratic}


@pytest.mark.parametrize("steps", [5, 10])
@pytest.mark.parametrize("key", GRIDS)
def test_grids_are_dpm_solver_s_time_steps(key, steps):
    same(GRIDS[key](steps, t_min=1e-3)(VPSDE()), load("dpm_solver/dpm_schedule")[f"time_steps/{key}/{steps}"])


@every_process
def test_labels_and_scores_are_those_of_score_sde_s_wrapper(kind):
    """Continuous models: 999 t and the noise for VP and sub-VP, sigma and the score itself for VE."""
    g, told = load("score_sde_pytorch/d_score_wrapper"), []
    reading = Score(label="sigma") if kind == "ve50" else Epsilon(label="time")
    model = ScoreModel(lambda x, label: told.append(label) or torch.ones_like(x), SONG[kind], reading)
    x = torch.zeros(len(g["t"]), 2, dtype=torch.float64)
    score = model(x, g["t"])
    same(told[0], g[f"{kind}/N1000/continuous1/labels"])
    same(score[:, 0], g[f"{kind}/N1000/continuous1/score_for_unit_network_output"])


def test_edm_preconditioning_is_edm_s():
    """Recorded in float32. c_skip is x0 for an output of 0, c_out is x0 for an output of 1 and a state of 0."""
    g = load("edm/edm_precond")
    sigma, sde, reading = g["sigma"], VESDE(sigma_min=1e-3, sigma_max=100.0), EDM(sigma_data=0.5)
    t = sde.t_of_log_snr(-2 * sigma.log())
    one = torch.ones(len(sigma), 1, dtype=torch.float64)
    skip = ScoreModel(lambda x, label: torch.zeros_like(x), sde, reading).predict(one, t).x0
    out = ScoreModel(lambda x, label: torch.ones_like(x), sde, reading).predict(torch.zeros_like(one), t).x0
    same(skip.flatten(), g["edm/c_skip"], rtol=1e-6)
    same(out.flatten(), g["edm/c_out"], rtol=1e-6)
    same(reading.scale(sde.at(t)), g["edm/c_in"], rtol=1e-6)
    same(reading.noise_label(sde, t), g["edm/c_noise"], rtol=1e-6, atol=1e-7)


def test_preconditioning_of_ve_and_of_iddpm_are_edm_s():
    """VE's state is theirs; iDDPM's is divided by alpha, and its sigmas are those of a table but for their rounding to float32."""
    g = load("edm/edm_precond")
    sigma, sde, reading = g["sigma"], VESDE(sigma_min=1e-3, sigma_max=100.0), ScaledScore("log_half_sigma")
    t = sde.t_of_log_snr(-2 * sigma.log())
    one = torch.ones(len(sigma), 1, dtype=torch.float64)
    out = ScoreModel(lambda x, label: torch.ones_like(x), sde, reading).predict(0 * one, t).x0
    same(out.flatten(), g["ve/c_out"], rtol=1e-6)
    same(reading.noise_label(sde, t), g["ve/c_noise"], rtol=1e-6, atol=1e-7)
    table = ddpm("cosine", 1000)
    level = table.at(table.times)
    same(level.sigma / level.alpha, g["iddpm/u"][:-1].flip(0), rtol=1e-3)
    labels = Epsilon(label="index").noise_label(table, table.times)
    nearest = (level.sigma / level.alpha - sigma[1:, None]).abs().argmin(1)
    same(labels[nearest].double(), g["iddpm/c_noise"][1:], rtol=0)


def test_vp_noise_to_signal_and_its_inverse_are_edm_s():
    """EDM divides the state by alpha: its sigma is our sigma / alpha, its c_in our alpha."""
    g, sde = load("edm/edm_precond"), VPSDE()
    level = sde.at(g["vp/t_grid"])
    same(level.sigma / level.alpha, g["vp/sigma_of_t"])
    t = sde.t_of_log_snr(-2 * g["sigma"].log())
    same(t, g["vp/t_of_sigma"])
    same(sde.at(t).alpha, g["vp/c_in"], rtol=1e-6)
    assert math.isclose(sde.beta.beta_max - sde.beta.beta_min, 19.9)  # their beta_d
