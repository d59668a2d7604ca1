"""Law 8, parity with EDM, improved-diffusion and diffusers, and with closed forms: whole runs, replayed with their noise.

Conventions of theirs that are not ours:
- EDM and improved-diffusion end with a step to no noise at all; ours end at t_min, and last="denoise" is that step.
- EDM's N is the number of its sigmas, and so of the times of a grid.
- diffusers takes its third-order multistep from the released DPM-Solver: published=True.
"""

from itertools import pairwise

import pytest
import torch

from samplers import (
    DDIM,
    Ancestral,
    AnnealedLangevin,
    DPMSolver,
    Heun,
    Karras,
    Respaced,
    Sampler,
    SDEDPMSolver,
    Table,
    Unadjusted,
    UniPC,
)
from sde_lib import VESDE, VPSDE, GaussianOracle, KarrasSDE, ReverseSDE, Tabulated
from sde_lib.tables import geometric_sigmas
from tests.recorded import Replay, entry, law_after, load, same, same_state, with_clean_level


def edm(g, predictor, steps, sde, noise=None, rho=7.0):
    """Its sampler: Karras's grid from 80 to 0.002, started from latents * 80."""
    score = GaussianOracle(g["mu"].expand(1, 2, 2), float(g["s2"]) ** 0.5).score(sde)
    ends = KarrasSDE()
    sampler = Sampler(predictor, times=lambda sde: Karras(steps - 1, rho=rho)(ends), last="denoise")
    return sampler.sample(sde, score, (3, 1, 2, 2), x_T=80 * g["latents"], noise=noise, dtype=torch.float64)


@pytest.mark.parametrize("steps", [5, 18, 40])
def test_heun_is_edm_s_sampler(steps):
    g = load("edm/edm_sampling")
    samples = edm(g, Heun(), steps, KarrasSDE())
    same_state(samples.x, g[f"edm/n{steps}/out"])
    assert samples.nfe == g[f"edm/n{steps}/nfe"] == 2 * steps - 1


@pytest.mark.parametrize("steps", [5, 18, 40])
def test_karras_grid_is_edm_s(steps):
    same(Karras(steps - 1)(KarrasSDE()), load("edm/edm_sampling")[f"edm/n{steps}/sigma_steps_closed_form"][:-1])


def test_heun_with_churn_is_edm_s_stochastic_sampler():
    """40 over 18 steps, between 0.05 and 50, noise times 1.003. Theirs draws in its last step too, and adds nothing there."""
    g = load("edm/edm_sampling")
    steps, churn, least, most, scale = g["edm/stochastic/params"].tolist()
    noise = Replay(g["edm/stochastic/noise"])
    same_state(edm(g, Heun(churn, least, most, scale), int(steps), KarrasSDE(), noise).x, g["edm/stochastic/out"])
    assert not noise.used_up() and noise.used_up()


def reverse(g, sde):
    return ReverseSDE(sde, GaussianOracle(g["mu"].expand(2, 3, 3), float(g["s2"]) ** 0.5).score(sde))


@pytest.mark.parametrize("row", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("predictor", "key", "noise"),
    [
        (DDIM(0.0), "ddim_step/eta0.0/sample", "ddim_step/noise"),
        (DDIM(0.5), "ddim_step/eta0.5/sample", "ddim_step/noise"),
        (DDIM(1.0), "ddim_step/eta1.0/sample", "ddim_step/noise"),
        (Ancestral("large"), "p_sample/FIXED_LARGE", "p_sample/noise"),
        (Ancestral("small"), "p_sample/FIXED_SMALL", "p_sample/noise"),
    ],
    ids=str,
)
def test_a_step_is_improved_diffusion_s(predictor, key, noise, row):
    """From entry t to t - 1. The step from entry 0 goes to the data without noise: the mean."""
    g = load("improved_diffusion/idd_sampling")
    sde, t = with_clean_level(g["betas"]), int(g["t"][row])
    rows = slice(row, row + 1)
    step = predictor.step(reverse(g, sde), g["x"][rows], entry(sde, t + 1), entry(sde, t), None, Replay(g[noise][None, rows]))
    same_state(step.x if t else step.mean, g[key][rows])


@pytest.mark.parametrize("row", [0, 1, 2])
def test_an_inverted_step_is_improved_diffusion_s(row):
    """From entry t to t + 1."""
    g = load("improved_diffusion/idd_sampling")
    sde, t, rows = Tabulated.from_betas(g["betas"]), int(g["ddim_reverse/t"][row]), slice(row, row + 1)
    step = DDIM().step(reverse(g, sde), g["x"][rows], entry(sde, t), entry(sde, t + 1), None, Replay(torch.empty(0)))
    same_state(step.x, g["ddim_reverse/sample"][rows])


@pytest.mark.parametrize("spec", ["10", "ddim10"])
def test_encoding_by_ddim_is_improved_diffusion_s_reverse_ode(spec):
    """Data taken as the state of the first entry, as there, and led to the last."""
    g = load("improved_diffusion/idd_sampling")
    sde = Tabulated.from_betas(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    score = GaussianOracle(g["mu"].expand(1, 2, 2), float(g["s2"]) ** 0.5).score(sde)
    latent = Sampler(DDIM(), times=Respaced(spec)).encode(sde, score, g[f"loop/{spec}/reverse_ode_x0"]).x
    same_state(latent, g[f"loop/{spec}/reverse_ode_xT"])


@pytest.mark.parametrize("spec", ["10", "ddim10"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_walks_improved_diffusion_s_loop(eta, spec):
    """The whole Sampler, on the grid that Respaced gives; the last step, without noise, is our last="denoise"."""
    g = load("improved_diffusion/idd_sampling")
    sde = Tabulated.from_betas(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    score = GaussianOracle(g["mu"].expand(1, 2, 2), float(g["s2"]) ** 0.5).score(sde)
    assert torch.equal(Respaced(spec)(sde), entry(sde, g[f"loop/{spec}/timestep_map"]).flip(0))
    sampler = Sampler(DDIM(eta), times=Respaced(spec), last="denoise")
    noise = Replay(g[f"loop/{spec}/noise"])
    x = sampler.sample(sde, score, (3, 1, 2, 2), x_T=g["loop/xT"], noise=noise, dtype=torch.float64).x
    same_state(x, g[f"loop/{spec}/ddim_eta{eta}/traj"][-1])


@pytest.mark.parametrize("steps", [10, 20, 50, 100, 1000])
@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
def test_ddim_with_half_its_noise_has_the_law_of_its_recursion(variance, steps):
    truths = load("closed_forms/analytic_truths")
    sde = with_clean_level(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    rsde = ReverseSDE(sde, GaussianOracle(torch.tensor([0.3], dtype=torch.float64), variance**0.5).score(sde))
    law, entries = (0.0, 1.0), [*range(1001 - 1000 // steps, 0, -1000 // steps), 0]
    for now, then in pairwise(entries):
        t, s = entry(sde, now), entry(sde, then)
        law = law_after(lambda x, noise, t=t, s=s: DDIM(0.5).step(rsde, x, t, s, None, noise).x, *law)
    same(torch.tensor(law, dtype=torch.float64), truths[f"ddim/s2={variance}/S{steps}/eta0.5/mean_var"])


@pytest.mark.parametrize(
    ("predictor", "key"),
    [
        (DPMSolver(1), "dpm++_1m"),
        (DPMSolver(2), "dpm++_2m"),
        (DPMSolver(3, published=True), "dpm++_3m"),
        (DPMSolver(1, data_prediction=False), "dpm_1m"),
        (DPMSolver(2, data_prediction=False), "dpm_2m"),
        (DPMSolver(3, data_prediction=False, published=True), "dpm_3m"),
        (SDEDPMSolver(), "sde_dpm++_2m"),
        (DDIM(eta=1.0), "sde_dpm++_1"),
        (UniPC(1), "unipc_1"),
        (UniPC(2), "unipc_2"),
        (UniPC(3), "unipc_3"),
    ],
    ids=str,
)
def test_twelve_steps_are_diffusers(predictor, key):
    """Every state on the way; its schedulers, without their lower order at the end, down to entry 0 of the table."""
    g = load("diffusers/schedulers")
    sde = Tabulated.from_betas(g["betas"])
    score = GaussianOracle(g["mu"].expand(1, 2, 2), float(g["s2"]) ** 0.5).score(sde)
    times = entry(sde, torch.cat([g["timesteps"], torch.zeros(1, dtype=torch.long)]))
    sampler = Sampler(predictor, times=lambda sde: times, last="sample")
    noise = Replay(g["noise"])
    frames = list(sampler.stream(sde, score, (3, 1, 2, 2), x_T=g["start"], noise=noise, dtype=torch.float64))
    for frame, expected in zip(frames[1:], g[key], strict=True):
        same_state(frame.x, expected)


@pytest.mark.parametrize("published", ["ncsn", "ncsnv2"])
def test_annealed_langevin_alone_has_the_biased_law_of_its_recursion(published):
    """NCSN's Algorithm 1: 10 levels, 1 to 0.01, 100 steps each, eps 2e-5, and half of that for NCSNv2, whose step is twice as long.

    A run of the whole Sampler, affine in its start and draws, 1002 rows at once.
    """
    truths = load("closed_forms/analytic_truths")
    sde = Tabulated.from_sigmas(geometric_sigmas(0.01, 1.0, 10))
    score = GaussianOracle(torch.tensor([0.3], dtype=torch.float64), 0.5).score(sde)
    corrector = AnnealedLangevin(2e-5 if published == "ncsn" else 1e-5, steps=100, published=published)
    draws = iter(torch.eye(1002, dtype=torch.float64)[:, 2:].T[..., None])
    x_T = torch.full((1002, 1), 0.5, dtype=torch.float64)
    x_T[1] += (1 / 12) ** 0.5
    sampler = Sampler(None, corrector, times=Table(), last="sample")
    samples = sampler.sample(sde, score, (1002, 1), x_T=x_T, noise=lambda like: next(draws), dtype=torch.float64)
    assert samples.nfe == 1000
    law = torch.stack([samples.x[0, 0], ((samples.x[1:] - samples.x[0]) ** 2).sum()])
    same(law, truths["ncsn_ald/T100_eps2e-5_L10/init_uniform01/mean_var"])


@pytest.mark.parametrize("eps", [0.01, 0.1, 0.5])
def test_unadjusted_langevin_has_the_stationary_variance_of_its_recursion(eps):
    for sde in (VPSDE(), VESDE()):
        t = torch.tensor(0.5, dtype=torch.float64)
        std = 1.0 if sde == VPSDE() else float((1 - sde.at(t).sigma ** 2).sqrt())
        rsde = ReverseSDE(sde, GaussianOracle(torch.tensor([0.0], dtype=torch.float64), std).score(sde))
        gain2 = law_after(lambda x, noise, rsde=rsde: Unadjusted(eps).correct(rsde, x, t, noise).x, 0.0, 0.0)[1]
        slope2 = law_after(lambda x, noise, rsde=rsde: Unadjusted(eps).correct(rsde, x, t, noise).x, 0.0, 1.0)[1] - gain2
        expected = load("closed_forms/analytic_truths")[f"langevin_stationary_var/N(0,1)/eps{eps}"]
        same(torch.tensor(gain2 / (1 - slope2), dtype=torch.float64), expected)
