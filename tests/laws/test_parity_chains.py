"""Law 8, parity with improved-diffusion's sampling loops, and with closed forms of whole chains on Gaussian data."""

from functools import partial
from itertools import pairwise

import pytest
import torch

from samplers import DPMSolver, Langevin, ReverseDiffusion, Sampler
from sde_lib import (
    VESDE,
    VPSDE,
    DenoisingScoreMatching,
    GaussianOracle,
    MixtureOracle,
    ReverseSDE,
    Score,
    ScoreModel,
    Tabulated,
)
from tests.recorded import Replay, entry, law_after, load, same, same_state, with_clean_level

LINEAR = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)


def one_number(mean, variance):
    return GaussianOracle(torch.tensor([mean], dtype=torch.float64), variance**0.5)


@pytest.mark.parametrize("spec", ["10", "ddim10"])
def test_first_order_dpm_solver_walks_improved_diffusion_s_ddim_loop(spec):
    """The whole Sampler. Their last step goes to the data: E[x0 | x] at the least entry visited, our last="denoise"."""
    g = load("improved_diffusion/idd_sampling")
    sde = Tabulated.from_betas(LINEAR)
    score = GaussianOracle(g["mu"].expand(1, 2, 2), float(g["s2"]) ** 0.5).score(sde)
    times = entry(sde, g[f"loop/{spec}/timestep_map"]).flip(0)
    sampler = Sampler(DPMSolver(order=1), times=lambda sde: times, last="denoise")
    frames = list(sampler.stream(sde, score, (3, 1, 2, 2), x_T=g["loop/xT"], dtype=torch.float64))
    path = g[f"loop/{spec}/ddim_eta0.0/traj"]
    for frame, expected in zip(frames[1:], path[:-1], strict=True):
        same_state(frame.x, expected)
    samples = sampler.sample(sde, score, (3, 1, 2, 2), x_T=g["loop/xT"], dtype=torch.float64)
    same_state(samples.x, path[-1])
    assert samples.nfe == 10


@pytest.mark.parametrize("spec", ["10", "ddim10"])
def test_chain_of_posteriors_is_improved_diffusion_s_ddim_loop_with_eta_1(spec):
    g = load("improved_diffusion/idd_sampling")
    sde = with_clean_level(LINEAR)
    reverse = ReverseSDE(sde, GaussianOracle(g["mu"].expand(1, 2, 2), float(g["s2"]) ** 0.5).score(sde))
    noise, x = Replay(g[f"loop/{spec}/noise"]), g["loop/xT"]
    entries = [*reversed((g[f"loop/{spec}/timestep_map"] + 1).tolist()), 0]
    for (now, then), expected in zip(pairwise(entries), g[f"loop/{spec}/ddim_eta1.0/traj"], strict=True):
        t, s = entry(sde, now), entry(sde, then)
        x = sde.posterior(x, reverse.predict(x, t).x0, s, t).sample(noise(x))
        same_state(x, expected)
    assert noise.used_up()


@pytest.mark.parametrize("steps", [10, 20, 50, 100, 1000])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
def test_ddim_has_the_mean_and_variance_of_its_recursion(variance, eta, steps):
    """Entries 0, 1000 / steps, ..., started from N(0, 1), down to the data; eta = 0: DPMSolver, eta = 1: posteriors."""
    truths = load("closed_forms/analytic_truths")
    sde = with_clean_level(LINEAR)
    score = one_number(0.3, variance).score(sde)

    def move(t, s, x, noise):
        reverse = ReverseSDE(sde, score)
        if eta == 0:
            return DPMSolver(order=1).step(reverse, x, t, s, None, noise).x
        return sde.posterior(x, reverse.predict(x, t).x0, s, t).sample(noise(x))

    law = (0.0, 1.0)
    entries = [*range(1001 - 1000 // steps, 0, -1000 // steps), 0]
    assert len(entries) == steps + 1
    for now, then in pairwise(entries):
        law = law_after(partial(move, entry(sde, now), entry(sde, then)), *law)
    keys = [f"ddim/s2={variance}/S{steps}/eta{eta}/mean_var"]
    if (eta, steps) == (1.0, 1000):
        keys.append(f"ddpm1000_linear/s2={variance}/beta_tilde/mean_var")
    for key in keys:
        same(torch.tensor(law, dtype=torch.float64), truths[key])


@pytest.mark.parametrize("eps", [0.01, 0.1, 0.5])
def test_langevin_has_the_stationary_variance_of_its_recursion(eps):
    """Steps x + eps/2 score + sqrt(eps) z on N(0, 1); ours have h = 2 (snr sigma)^2 = eps / 2."""
    sde, t = VPSDE(), torch.tensor(0.5, dtype=torch.float64)
    reverse = ReverseSDE(sde, one_number(0.0, 1.0).score(sde))
    corrector = Langevin(snr=float(0.5 * eps**0.5 / sde.at(t).sigma))
    # One step takes a variance v to slope^2 v + gain^2.
    gain2 = law_after(lambda x, noise: corrector.correct(reverse, x, t, noise).x, 0.0, 0.0)[1]
    slope2 = law_after(lambda x, noise: corrector.correct(reverse, x, t, noise).x, 0.0, 1.0)[1] - gain2
    expected = load("closed_forms/analytic_truths")[f"langevin_stationary_var/N(0,1)/eps{eps}"]
    same(torch.tensor(gain2 / (1 - slope2), dtype=torch.float64), expected)


def test_annealed_langevin_has_the_biased_law_of_its_recursion():
    """NCSN's Algorithm 1: 10 levels, 1 to 0.01, 100 steps each of eps sigma^2 / (2 sigma_L^2), from uniform numbers."""
    truths, sde = load("closed_forms/analytic_truths"), VESDE(sigma_min=0.01, sigma_max=1.0)
    reverse = ReverseSDE(sde, one_number(0.3, 0.25).score(sde))
    corrector = Langevin(snr=(2e-5 / 4) ** 0.5 / 0.01)
    law = (0.5, 1 / 12)
    for t in torch.linspace(1, 0, 10, dtype=torch.float64):
        for _ in range(100):
            law = law_after(lambda x, noise, t=t: corrector.correct(reverse, x, t, noise).x, *law)
    same(torch.tensor(law, dtype=torch.float64), truths["ncsn_ald/T100_eps2e-5_L10/init_uniform01/mean_var"])


@pytest.mark.quick("ve-*")
@pytest.mark.parametrize("corrections", [0, 1])
@pytest.mark.parametrize("kind", ["ve", "vp"])
def test_predictor_corrector_has_the_law_of_its_recursion(kind, corrections):
    """Algorithms 2 and 3 as printed: after each step a correction of size 0.05 sigma^2; entries 999 to 0."""
    truths = load("closed_forms/analytic_truths")
    sde = VESDE() if kind == "ve" else Tabulated.from_betas(LINEAR)
    reverse = ReverseSDE(sde, one_number(0.3, 0.25).score(sde))
    corrector = Langevin(snr=(0.05 / 2) ** 0.5)
    i = torch.arange(1000).flip(0)
    law = (0.0, 50.0**2 if kind == "ve" else 1.0)
    for t, s in pairwise(i.double() / 999 if kind == "ve" else entry(sde, i)):
        law = law_after(lambda x, noise, t=t, s=s: ReverseDiffusion().step(reverse, x, t, s, None, noise).x, *law)
        if corrections:
            law = law_after(lambda x, noise, s=s: corrector.correct(reverse, x, s, noise).x, *law)
    same(torch.tensor(law, dtype=torch.float64), truths[f"pc_{kind}/N1000/M{corrections}/c0.05/mean_var"])


def test_denoising_score_matching_has_its_closed_expectation():
    """1/2 E|s(x0 + sigma z) + z / sigma|^2, Gaussian data, affine model, by a Gauss rule exact for quadratics."""
    truths = load("closed_forms/analytic_truths")
    settings = truths["score_matching/d_mu_s2_modelmean_modelvar_sigma"].tolist()
    dims, mean, variance, model_mean, model_variance, sigma = settings
    nodes = torch.tensor([-(3**0.5), 0.0, 3**0.5], dtype=torch.float64)
    weights = torch.tensor([1 / 6, 2 / 3, 1 / 6], dtype=torch.float64)
    x0, z = torch.cartesian_prod(mean + variance**0.5 * nodes, nodes).T[..., None]
    sde = VESDE()
    t = sde.t_of_log_snr(-2 * torch.tensor(sigma, dtype=torch.float64).log())
    model = ScoreModel(lambda x, label: (model_mean - x) / model_variance, sde, Score())
    loss = DenoisingScoreMatching(weighting=lambda sde, t: torch.ones_like(t))(model, x0, t=t.expand(len(x0)), z=z)
    # The same in each of the dims entries, over which the loss is a mean.
    same(0.5 * dims * (torch.outer(weights, weights).flatten() * loss).sum(), truths["score_matching/dsm"])


def test_mixture_scores_are_the_closed_forms():
    """Of a mixture of two, and of its first component; the difference is the guidance of an exact classifier."""
    truths = load("closed_forms/analytic_truths")
    u1, u2, variance, p1 = truths["guidance/2gauss_1d/params_u1_u2_var_p1"].tolist()
    x = truths["guidance/2gauss_1d/x"][:, None]
    one, zero = torch.ones(len(x), dtype=torch.float64), torch.zeros(len(x), dtype=torch.float64)
    means = torch.tensor([[u1], [u2]], dtype=torch.float64)
    whole = MixtureOracle([p1, 1 - p1], means, [variance**0.5] * 2).score_density(x, one, zero)[:, 0]
    first = one_number(u1, variance).score_density(x, one, zero)[:, 0]
    torch.testing.assert_close(whole, truths["guidance/2gauss_1d/uncond_score"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(first, truths["guidance/2gauss_1d/cond_score"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(first - whole, truths["guidance/2gauss_1d/grad_log_p(y=1|x)"], rtol=1e-9, atol=1e-12)
