"""Law 8, parity of tables with improved-diffusion, score_sde_pytorch and dpm-solver."""

import pytest
import torch

from sde_lib import VPSDE, CosineBeta, Data, Epsilon, ScoreModel, Tabulated
from tests.recorded import entry, load, same, same_state, with_clean_level

every_table = pytest.mark.parametrize("table", ["linear1000", "cosine1000"])


def test_transition_of_the_vp_table_is_score_sde_s_discretize():
    """Their entry i = floor(t (N - 1)) of betas linspace(0.1 / N, 20 / N, N): x_i = x_{i-1} + f + G z."""
    g = load("score_sde_pytorch/a_sde_vp")
    N = int(g["N"])
    sde = with_clean_level(torch.linspace(0.1 / N, 20 / N, N, dtype=torch.float64))
    i = (g["t"] * (N - 1)).floor()
    crop = g["x"][..., :2, :2]
    step = sde.transition(crop, entry(sde, i), entry(sde, i + 1))
    same_state(step.mean - crop, g["f"])
    same(step.std.flatten(), g["G"])
    same(sde.at(entry(sde, torch.arange(1, N + 1))).alpha ** 2, g["alphas_cumprod"])


@every_table
def test_tables_are_improved_diffusion_s(table):
    g = load("improved_diffusion/idd_schedules")
    betas = g[f"{table}_betas"]
    N = len(betas)
    plain, sde = Tabulated.from_betas(betas), with_clean_level(betas)
    i = torch.arange(N)
    s, t = entry(sde, i), entry(sde, i + 1)
    same(plain.at(entry(plain, i)).alpha ** 2, g[f"{table}_alphas_cumprod"])
    same(sde.at(t).alpha ** 2, g[f"{table}_alphas_cumprod"])
    assert torch.equal(plain.index(entry(plain, i)), i)
    # The posterior's mean is coef1 x0 + coef2 x_t. At the first entry it is x0, and its variance 0.
    one, zero = torch.ones(N, 1, dtype=torch.float64), torch.zeros(N, 1, dtype=torch.float64)
    of_x0, of_x = sde.posterior(zero, one, s, t), sde.posterior(one, zero, s, t)
    same(of_x0.mean.flatten(), g[f"{table}_posterior_mean_coef1"])
    same(of_x.mean.flatten(), g[f"{table}_posterior_mean_coef2"], atol=1e-25)
    same(of_x.std.flatten() ** 2, g[f"{table}_posterior_variance"], atol=1e-25)


def test_cosine_beta_is_improved_diffusion_s_table_but_for_its_clipped_end():
    alphas_cumprod = load("improved_diffusion/idd_schedules")["cosine1000_alphas_cumprod"]
    t = torch.arange(1, 1000, dtype=torch.float64) / 1000
    same(VPSDE(beta=CosineBeta()).at(t).alpha ** 2, alphas_cumprod[:-1])


@pytest.mark.parametrize("spec", ["10,15,20", "ddim25"])
@every_table
def test_transition_between_distant_entries_is_improved_diffusion_s_respaced_beta(table, spec):
    betas, g = load("improved_diffusion/idd_schedules")[f"{table}_betas"], load("improved_diffusion/idd_respace")
    steps = g[f"steps/1000|{spec}"]
    expected = g[f"betas/{table.removesuffix('1000')}/1000|{spec}"]
    sde = with_clean_level(betas)
    times = entry(sde, torch.cat([torch.tensor([-1]), steps]) + 1)
    scale, std = sde.transition_coefficients(times[:-1], times[1:])
    same(std**2, expected)
    same(scale**2, 1 - expected)


def test_kernel_and_posterior_are_improved_diffusion_s_q_sample_and_q_posterior():
    g = load("improved_diffusion/idd_losses")
    sde = with_clean_level(g["betas"])
    s, t = entry(sde, g["t"]), entry(sde, g["t"] + 1)
    x0 = g["codes"].double() / 127.5 - 1
    same_state(sde.kernel(x0, t).sample(g["noise"]), g["x_t"])
    posterior = sde.posterior(g["x_t"], x0, s, t)
    same_state(posterior.mean, g["q_post_mean"])
    same((posterior.std**2).expand_as(g["q_post_var"]), g["q_post_var"], atol=1e-25)


@pytest.mark.parametrize(("kind", "parameterization"), [("EPSILON", Epsilon("index")), ("START_X", Data("index"))])
def test_predictions_are_improved_diffusion_s_p_mean_variance(kind, parameterization):
    """Without clipping, and with the smaller of the fixed variances, which is that of the posterior given x0."""
    g, key = load("improved_diffusion/idd_p_mean_variance"), f"{kind}/FIXED_SMALL/clip0"
    sde = with_clean_level(g["betas"])
    s, t = entry(sde, g["t"]), entry(sde, g["t"] + 1)
    told = []
    model = ScoreModel(lambda x, label: told.append(label) or g["out_mean"], sde, parameterization)
    x0 = model.predict(g["x"], t).x0
    assert torch.equal(told[0] - 1, g["t"])  # one entry more than theirs: the clean one
    same_state(x0, g[f"{key}/pred_xstart"])
    reverse = sde.posterior(g["x"], x0, s, t)
    same_state(reverse.mean, g[f"{key}/mean"])
    if kind == "EPSILON":
        same((reverse.std**2).expand_as(x0), g[f"{key}/variance"], atol=1e-25)


def test_table_is_dpm_solver_s_discrete_schedule():
    """The entries agree. In between log alpha is linear for them, smooth for us: apart by at most an eighth of a change of step."""
    g = load("dpm_solver/dpm_schedule")
    betas = load("improved_diffusion/idd_schedules")["linear1000_betas"]
    sde, t = Tabulated.from_betas(betas), g["t_discrete"]
    level, entry = sde.at(t), (t * 1000 - (t * 1000).round()).abs() < 1e-9
    assert entry.sum() == 9
    same(level.alpha.log()[entry], g["discrete_linear1000/log_alpha"][entry])
    same(level.sigma[entry], g["discrete_linear1000/sigma"][entry])
    torch.testing.assert_close(0.5 * level.log_snr[entry], g["discrete_linear1000/lambda"][entry], rtol=1e-9, atol=1e-9)
    bend = 0.5 * torch.log1p(-betas).diff().abs().max().item() / 8
    torch.testing.assert_close(level.alpha.log(), g["discrete_linear1000/log_alpha"], rtol=1e-9, atol=1.05 * bend)
