"""Law 8, parity with score_sde_pytorch: single steps and trajectories, replayed with their noise.

Conventions of theirs that are not ours, and how a step of ours is asked for the same numbers:
- The score is asked at t, the tables of ReverseDiffusion at entry floor(t (N - 1)). Here the score keeps its own clock.
- N updates of size 1/N on N times that span 1 - eps. Here EulerMaruyama is given s = t - 1/N.
- The VP table is betas linspace(0.1 / N, 20 / N, N), with alpha = 1 before it; the VE one sigma(i / (N - 1)), with 0.
- ReverseDiffusion of sub-VP, which has no table, is Euler-Maruyama.
- The correctors' step has a factor alpha, 1 - beta_i for VP and 1 for VE. Ours has none: it is in snr, as sqrt(alpha).
"""

from functools import cache

import pytest
import torch

from samplers import EulerMaruyama, Inpaint, Langevin, ReverseDiffusion
from sde_lib import VESDE, VPSDE, GaussianOracle, ReverseSDE, SubVPSDE
from tests.recorded import Replay, entry, load, same_state, with_clean_level

SDES = {"vp": VPSDE(), "subvp": SubVPSDE(), "ve50": VESDE(), "ve348": VESDE(sigma_max=348.0)}
with_correctors = pytest.mark.parametrize("kind", ["vp", "ve50", "ve348"])


@cache
def vp_table(N):
    """Their betas, and their table as a process."""
    betas = torch.linspace(0.1 / N, 20 / N, N, dtype=torch.float64)
    return betas, with_clean_level(betas)


def oracle(g, kind):
    """The score that all was recorded with: that of N(mu, 1/4)."""
    return GaussianOracle(g["mu"], float(g["s"])).score(SDES[kind])


def euler_maruyama(kind, score, x, t, N, noise, eta=1.0):
    return EulerMaruyama(eta).step(ReverseSDE(SDES[kind], score), x, t, t - 1 / N, None, noise)


def reverse_diffusion(kind, score, x, t, N, noise, eta=1.0):
    if kind == "subvp":
        return euler_maruyama(kind, score, x, t, N, noise, eta)
    i = int(t * (N - 1))
    if kind == "vp":
        sde = vp_table(N)[1]
        now, then = entry(sde, i + 1), entry(sde, i)
    else:
        sde = SDES[kind]
        now, then = (torch.tensor(j / (N - 1) if j >= 0 else -torch.inf, dtype=torch.float64) for j in (i, i - 1))
    return ReverseDiffusion(eta).step(ReverseSDE(sde, lambda x, _: score(x, t)), x, now, then, None, noise)


def langevin(kind, score, x, t, N, noise, snr, step, steps=1):
    alpha = 1 - vp_table(N)[0][int(t * (N - 1))] if kind == "vp" else torch.tensor(1.0)
    corrector = Langevin(snr=float(snr * alpha**0.5), steps=steps, step=step)
    return corrector.correct(ReverseSDE(SDES[kind], score), x, t, noise)


PREDICTORS = {"euler_maruyama": euler_maruyama, "reverse_diffusion": reverse_diffusion}
CORRECTORS = {"ald": "time", "langevin": "batch"}


def crop(x):
    """What was kept of the results."""
    return x[..., :4, :4]


@pytest.mark.parametrize(
    ("predictor", "eta"),
    [("euler_maruyama", 1.0), ("reverse_diffusion", 1.0), ("reverse_diffusion", 0.0)],
)
@pytest.mark.parametrize("kind", SDES)
def test_a_step_is_score_sde_s(kind, predictor, eta):
    """At three times, one for each row; eta = 0 is their probability_flow, with which their euler_maruyama crashes."""
    g = load("score_sde_pytorch/b_single_steps")
    key = f"{kind}/pred/{predictor}" + ("/pf" if eta == 0 else "")
    for row, t in enumerate(g["t_mixed"]):
        rows = slice(row, row + 1)
        noise = Replay(g["noise"][:1, rows])
        step = PREDICTORS[predictor](kind, oracle(g, kind), g[f"{kind}/x_mixed"][rows], t, int(g["N"]), noise, eta)
        same_state(crop(step.x), g[f"{key}/x"][rows])
        same_state(crop(step.mean), g[f"{key}/x_mean"][rows])
        assert noise.used_up() or eta == 0


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("corrector", CORRECTORS)
@with_correctors
def test_a_correction_is_score_sde_s(kind, corrector, steps):
    g = load("score_sde_pytorch/b_single_steps")
    for i, t in enumerate(g["t_uniform"]):
        noise, x = Replay(g["noise"][:steps]), g[f"{kind}/x_t{i}"]
        step = langevin(kind, oracle(g, kind), x, t, int(g["N"]), noise, g["snr"], CORRECTORS[corrector], steps)
        same_state(crop(step.x), g[f"{kind}/corr/{corrector}/n{steps}/t{i}/x"])
        same_state(crop(step.mean), g[f"{kind}/corr/{corrector}/n{steps}/t{i}/x_mean"])
        assert noise.used_up()


@pytest.mark.parametrize("corrector", CORRECTORS)
@pytest.mark.parametrize("predictor", PREDICTORS)
@with_correctors
def test_a_correction_and_then_a_step_are_score_sde_s(kind, predictor, corrector):
    g = load("score_sde_pytorch/b_single_steps")
    t, N, noise, score = g["t_uniform"][0], int(g["N"]), Replay(g["noise"][:2]), oracle(g, kind)
    x = langevin(kind, score, g[f"{kind}/x_t0"], t, N, noise, g["snr"], CORRECTORS[corrector]).x
    step = PREDICTORS[predictor](kind, score, x, t, N, noise)
    same_state(crop(step.x), g[f"{kind}/pc/{predictor}+{corrector}/x"])
    same_state(crop(step.mean), g[f"{kind}/pc/{predictor}+{corrector}/x_mean"])


def grid(g):
    return torch.linspace(1.0, float(g["eps"]), int(g["N"]), dtype=torch.float64)


@pytest.mark.parametrize(("kind", "name"), [("vp", "vp"), ("ve50", "ve")])
def test_fifty_corrections_and_steps_are_score_sde_s_trajectory(kind, name):
    g = load(f"score_sde_pytorch/b_traj_{name}_rd_langevin")
    noise, N, score = Replay(g["noise"]), int(g["N"]), oracle(g, kind)
    x = noise(g["x"]) * (50 if kind == "ve50" else 1)
    calls = 0
    for t in grid(g):
        x = langevin(kind, score, x, t, N, noise, g["snr"], "batch").x
        x, mean, _ = reverse_diffusion(kind, score, x, t, N, noise)
        calls += 2
    assert noise.used_up() and calls == g["score_calls"]
    same_state(x, g["x"])
    same_state(mean, g["x_mean"])


@pytest.mark.parametrize("kind", ["vp", "ve50"])
def test_inpainting_is_score_sde_s(kind):
    """VP: Euler-Maruyama; VE: correction and reverse diffusion. Their start is known data without noise: ours adds it.

    Their x_mean is made of the noised x on the unknown entries, and is not compared.
    """
    g = load("score_sde_pytorch/g_controllable")
    noise, N, score, known = Replay(g[f"{kind}/inpaint/noise"]), int(g["N"]), oracle(g, kind), g["mask"].bool()
    impose = Inpaint(g["data"], known)
    x = torch.where(known, g["data"], noise(g["data"]) * (50 if kind == "ve50" else 1))
    for t in grid(g):
        if kind == "ve50":
            x = langevin(kind, score, x, t, N, noise, g["snr"], "batch").x
        x = impose(SDES[kind], x, x, t, noise).x  # also after no correction
        x = PREDICTORS["reverse_diffusion" if kind == "ve50" else "euler_maruyama"](kind, score, x, t, N, noise).x
        x = impose(SDES[kind], x, x, t, noise).x  # at t, where the step came from; our Sampler imposes at s
    assert noise.used_up()
    same_state(x, g[f"{kind}/inpaint/x"])
