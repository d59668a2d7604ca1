"""Tables: the papers' schedules, fewer levels, the limit of many, and NCSNv2's techniques; against closed forms and records."""

import numpy as np
import pytest
import torch

from sde_lib import VESDE, VPSDE, Tabulated
from sde_lib.ncsnv2 import langevin_step, largest_distance, level_count, spacing, variance_ratio
from sde_lib.parameterizations import LABELS
from sde_lib.tables import BETAS, cosine_betas, geometric_sigmas, linear_betas, quadratic_betas, sigmoid_betas, strided
from sde_lib.tabulated import ddpm, ncsn
from tests.recorded import load, same

SPECS = ["300|10,15,20", "1000|10,15,20", "1000|ddim25", "1000|ddim50", "1000|ddim250", "4000|ddim50", "1000|[250]"]
SPECS += ["1000|[25]", "4000|[100]", "1000|2,3"]


@pytest.mark.parametrize(("schedule", "betas"), [("linear", linear_betas), ("cosine", cosine_betas)])
def test_linear_and_cosine_betas_are_improved_diffusion_s(schedule, betas):
    g = load("improved_diffusion/idd_schedules")
    for steps in (100, 1000):
        same(betas(steps), g[f"{schedule}{steps}_betas"], rtol=1e-12)


def test_quadratic_and_sigmoid_betas_are_what_their_names_say():
    roots = quadratic_betas(50).sqrt()
    torch.testing.assert_close(roots.diff().diff(), torch.zeros(48, dtype=torch.float64), atol=1e-15, rtol=0)
    same(quadratic_betas(50)[[0, -1]], torch.tensor([1e-4, 0.02], dtype=torch.float64))
    s = sigmoid_betas(50)
    torch.testing.assert_close(s + s.flip(0), torch.full((50,), 0.0201, dtype=torch.float64))
    assert (s.diff() > 0).all()


def test_geometric_sigmas_are_ncsn_s():
    g = load("ncsnv2/ncsnv2_sigmas")
    for key, (low, high, n) in {"cifar10": (0.01, 50, 232), "ffhq256": (0.01, 348, 2311), "ncsn_original": (0.01, 1, 10)}.items():
        same(geometric_sigmas(low, high, n)[g[f"sigmas/{key}/index"].long()], g[f"sigmas/{key}/values_f64"])


@pytest.mark.parametrize("key", SPECS)
def test_places_are_improved_diffusion_s_space_timesteps(key):
    length, spec = key.split("|")
    steps = int(spec.strip("[]")) if spec.startswith("[") else spec
    assert strided(int(length), steps) == load("improved_diffusion/idd_respace")[f"steps/{key}"].tolist()


@pytest.mark.parametrize("spec", ["10,15,20", "ddim25", "[25]", "2,3"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_respaced_table_is_improved_diffusion_s_respaced_diffusion(schedule, spec):
    """Its betas are theirs, its levels are those of the full table, and the network is told the full table's index."""
    g = load("improved_diffusion/idd_respace")
    full = ddpm(schedule)
    part = full.respace(int(spec.strip("[]")) if spec.startswith("[") else spec)
    before = part.before(part.times)
    same(1 - (part.at(part.times).alpha / before.alpha) ** 2, g[f"betas/{schedule}/1000|{spec}"], rtol=1e-8)
    kept = g[f"steps/1000|{spec}"]
    assert torch.equal(part.index(part.times), kept)
    for ours, theirs in zip(part.at(part.times), full.at(full.times[kept]), strict=True):
        same(ours, theirs, rtol=1e-12, atol=1e-14)
    assert LABELS["index_of_1000"](ddpm(schedule, 4000).respace(5), torch.tensor(1.0)).item() == pytest.approx(3999 / 4)


def test_respacing_again_remembers_the_first_table():
    part = ddpm().respace(100).respace((3, 4))
    assert set(part.indices) <= set(ddpm().respace(100).indices) and part.full_length == 1000


def test_counts_that_a_table_does_not_have_are_refused():
    for steps, match in [
        ("ddim7x", "number"),
        ("a,b", "number"),
        ("ddim700", "integer stride"),
        (1001, "1001 levels"),
        ("0,3", "0 levels"),
    ]:
        with pytest.raises(ValueError, match=match):
            ddpm().respace(steps)
    with pytest.raises(ValueError, match="at least two"):
        ddpm().respace(1)


@pytest.mark.parametrize("order", ["falling", "rising"])
def test_a_table_of_sigmas_is_ve(order):
    sigmas = torch.tensor([2.0, 0.5, 0.1], dtype=torch.float64)
    sde = Tabulated.from_sigmas(sigmas if order == "falling" else sigmas.flip(0))
    level = sde.at(sde.times)
    same(level.alpha, torch.ones(3, dtype=torch.float64))
    same(level.sigma, sigmas.flip(0))
    assert sde.index(sde.times).tolist() == ([2, 1, 0] if order == "falling" else [0, 1, 2])
    _, std = sde.transition_coefficients(sde.times[:-1], sde.times[1:])
    same(std**2, sigmas.flip(0).square().diff())  # x_i = x_{i-1} + sqrt(sigma_i^2 - sigma_{i-1}^2) z


@pytest.mark.parametrize("sigmas", [[1.0], [1.0, 1.0], [1.0, 2.0, 1.5], [1.0, -1.0], [[1.0, 2.0]]])
def test_sigmas_that_are_not_a_table_are_refused(sigmas):
    with pytest.raises(ValueError, match="rising or falling"):
        Tabulated.from_sigmas(sigmas)


def test_a_fine_table_of_sigmas_tends_to_ve():
    """NCSN's sigma_i, i = 1..N, at the time i/N: VE's, off by one part in N of the interval, so at the rate 1/N."""
    errors = []
    for n in (500, 1000, 2000):
        table, t = ncsn(0.01, 50.0, n), torch.tensor([0.25, 0.5], dtype=torch.float64)
        errors.append((table.at(t).sigma / VESDE().at(t).sigma - 1).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05) and errors[1] / errors[2] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(("make", "limit"), [(lambda n: ddpm("linear", n), VPSDE()), (lambda n: ncsn(0.01, 50.0, n), VESDE())])
def test_the_rates_of_a_fine_table_tend_to_those_of_the_process(make, limit):
    """f and g^2, between the entries too, at the rate 1/N."""
    t = torch.linspace(0.103, 0.897, 9, dtype=torch.float64)
    errors = []
    for n in (1000, 2000):
        rates, exact = make(n).rates(t), limit.rates(t)
        errors.append((rates.g2 / exact.g2 - 1).abs().mean().item())
        torch.testing.assert_close(rates.f, exact.f, rtol=10 / n * 5, atol=1e-12)
    assert 1.6 < errors[0] / errors[1] < 2.4


@pytest.mark.parametrize("schedule", BETAS)
@pytest.mark.parametrize("steps", [1000, 4000])
def test_every_schedule_makes_a_table(schedule, steps):
    sde = ddpm(schedule, steps)
    betas = BETAS[schedule](steps)
    alpha2 = np.cumprod(1 - betas.numpy())
    np.testing.assert_allclose(sde.at(sde.times).alpha.numpy() ** 2, alpha2, rtol=1e-10)
    assert sde.at(sde.times).sigma.isfinite().all()


def test_before_is_the_level_one_place_down():
    sde = Tabulated.from_betas([0.1, 0.2, 0.3])
    level = sde.before(sde.times)
    same(level.alpha**2, torch.tensor([1.0, 0.9, 0.72], dtype=torch.float64))
    same(level.sigma**2, torch.tensor([0.0, 0.1, 0.28], dtype=torch.float64), atol=1e-16)
    assert level.log_snr[0] == torch.inf


def test_uniform_times_visit_every_level_alike():
    sde, u = ddpm(steps=100), (torch.arange(1000) + 0.5) / 1000
    counts = torch.bincount(sde.place(sde.time_at(u.double(), sde.t_min)), minlength=100)
    assert (counts == 10).all()
    late = sde.place(sde.time_at(u.double(), 0.5))
    assert late.min() == 49 and (torch.bincount(late)[49:] > 15).all()
    assert sde.place(sde.time_at(torch.tensor([1 - 1e-17]).double(), sde.t_min)).item() == 99


def test_technique_1_is_the_largest_distance():
    x = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0))
    brute = max((a - b).norm().item() for a in x for b in x)
    assert largest_distance(x, chunk=7) == pytest.approx(brute, rel=1e-6)


def test_techniques_2_and_4_are_the_papers_numbers():
    g = load("ncsnv2/ncsnv2_sigmas")
    rows = dict(zip(("cifar10", "celeba", "church", "bedroom", "ffhq", "ncsn"), g["technique4/table"].tolist(), strict=True))
    # The paper's own steps for CIFAR-10, CelebA, bedroom and FFHQ, to their two digits; their T and gamma are the records'.
    for name, published in {"cifar10": 6.2e-6, "celeba": 3.3e-6, "bedroom": 1.8e-6, "ffhq": 9e-7}.items():
        _, steps, gamma, *_ = rows[name]
        assert langevin_step(0.01, gamma, int(steps)) == pytest.approx(published, rel=0.03)
    for name, dims in {"cifar10": 3 * 32 * 32, "celeba": 3 * 64 * 64, "bedroom": 3 * 128 * 128, "ffhq": 3 * 256 * 256}.items():
        assert spacing(dims) == pytest.approx(rows[name][7], rel=1e-9)
    for steps in (1, 3, 5, 100):
        ours = [variance_ratio(e, 0.01, 1.037, steps) for e in g["technique4/eps_grid"].tolist()]
        np.testing.assert_allclose(ours, g[f"technique4/F4_gamma1.037_sL.01_T{steps}"].numpy(), rtol=1e-9)
    assert level_count(0.01, 50.0, spacing(3 * 32 * 32)) == pytest.approx(219, abs=1)
    assert level_count(1.0, 8.0, 2.0) == 4
    with pytest.raises(ValueError, match="overlap"):
        spacing(10, 1.0)
