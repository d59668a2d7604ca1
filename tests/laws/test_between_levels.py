"""Between the levels of a table: smooth for adaptive solvers, the table itself at its own times, log-SNR falling everywhere."""

import pytest
import torch

from likelihood import log_likelihood
from sde_lib import VESDE, VPSDE, CosineBeta, Epsilon, LinearSDE, ScoreModel, Tabulated
from sde_lib.parameterizations import LABELS
from sde_lib.tables import BETAS
from sde_lib.tabulated import ddpm, ncsn
from tests.laws.test_densities import correlated, mixture
from tests.registry import name

TABLES = [
    ddpm(),
    ddpm("cosine"),
    ddpm().respace("ddim25"),
    ddpm("linear", 100).respace(49),
    ncsn(),
    ncsn(0.01, 1.0, 10),
    Tabulated.from_betas([0.5, 0.9, 0.01, 0.01, 0.9, 0.3]),  # steps that differ by hundreds
    Tabulated.from_betas([0.5, 0.5]),
    Tabulated((0.0, -1.0, -0.5, -2.0), (-3.0, -2.0, 0.0, 1.0), (0, 1, 2, 3), 4, t_min=0.25),  # alpha falls and rises
]


def closed_form(oracle, sde, x, latent):
    """log p of x at the first level; of its latent the flow takes the prior's density for the exact one."""
    return oracle.log_prob(x, sde, sde.t_min) - oracle.log_prob(latent, sde, sde.T) + sde.prior(latent).log_prob(latent)


each_table = pytest.mark.parametrize("sde", TABLES, ids=name)


@each_table
def test_at_its_own_times_a_table_is_itself_to_the_bit(sde):
    """Whatever is between: where (i / N) N is not i in floats, too."""
    log_alphas, log_sigmas = (torch.tensor(table, dtype=torch.float64) for table in (sde.log_alphas, sde.log_sigmas))
    assert torch.equal(sde.log_alpha(sde.times), log_alphas)
    assert torch.equal(sde.sigma(sde.times), log_sigmas.exp())
    one_by_one = torch.stack([sde.sigma(t) for t in sde.times[:60]])
    assert torch.equal(one_by_one, log_sigmas.exp()[:60])
    assert torch.equal(sde.fractional_index(sde.times), torch.tensor(sde.indices).double())


def test_a_table_does_not_follow_torch_s_default_device():
    """It is fitted by scipy, on the CPU, and moved to where the times are."""
    sde = ddpm()
    vars(sde).pop("_pieces")
    with torch.device("meta"):
        assert sde._pieces.device.type == "cpu"


@each_table
def test_between_and_beyond_the_entries_log_snr_falls_and_its_slope_has_no_jumps(sde):
    n = len(sde.log_alphas)
    t = torch.linspace(0.01 / n, 1 + 1 / n, 40_001, dtype=torch.float64)
    level, rates = sde.at(t), sde.rates(t)
    assert (level.log_snr.diff() < 0).all() and (rates.g2 > 0).all() and rates.g2.isfinite().all()
    for closed, differentiated in zip(rates, LinearSDE.rates(sde, t), strict=True):
        torch.testing.assert_close(closed, differentiated, rtol=1e-10, atol=1e-10)
    before, after = (sde.rates(sde.times + d) for d in (-1e-9, 1e-9))
    for left, right in zip(before, after, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@each_table
def test_nothing_overshoots_its_entries(sde):
    """alpha and the log-SNR stay between two neighbours; the index too."""
    t = sde.times[:-1] + (sde.times[1:] - sde.times[:-1]) * torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
    for fn in (sde.log_alpha, lambda t: sde.at(t).log_snr, sde.fractional_index):
        low, high = fn(sde.times[:-1]), fn(sde.times[1:])
        inside = fn(t)
        assert (inside >= torch.minimum(low, high) - 1e-12).all() and (inside <= torch.maximum(low, high) + 1e-12).all()


@pytest.mark.parametrize("schedule", ["linear", "quadratic"])
def test_the_levels_between_are_those_of_a_table_cut_finer(schedule):
    """Every tenth level of 1000: the others lie between them, to the fourth power of the distance (lines leave its square)."""
    full = ddpm(schedule)
    kept = range(9, 1000, 10)
    part = Tabulated(
        tuple(full.log_alphas[i] for i in kept), tuple(full.log_sigmas[i] for i in kept), tuple(kept), 1000, t_min=0.01
    )
    t = full.times[29:-20]
    torch.testing.assert_close(part.log_alpha(t), full.log_alpha(t), rtol=0, atol=1e-6)
    torch.testing.assert_close(part.at(t).log_snr, full.at(t).log_snr, rtol=0, atol=5e-3)
    torch.testing.assert_close(part.fractional_index(t), full.fractional_index(t), rtol=0, atol=1e-9)


@pytest.mark.quick("linear-*", "ncsn-*")
@pytest.mark.parametrize("oracle", [correlated(), mixture()], ids=["correlated", "mixture"])
@pytest.mark.parametrize(
    ("table", "smooth"),
    [(ddpm(), VPSDE()), (ddpm("sigmoid"), VPSDE()), (ddpm("cosine"), VPSDE(beta=CosineBeta())), (ncsn(), VESDE())],
    ids=["linear", "sigmoid", "cosine", "ncsn"],
)
def test_the_flow_of_a_table_costs_about_what_that_of_a_continuous_process_does(table, smooth, oracle):
    """And its value is the density under the table's kernel at its first level, but for the prior's mismatch, known exactly."""
    x = oracle.sample(8, seed=3)
    of_table, of_process = (log_likelihood(sde, oracle.score(sde), x, tolerance=1e-6) for sde in (table, smooth))
    allowed = 2.5 if table == ddpm("cosine") else 2  # whose last betas, up to 0.999, no continuous process has
    assert of_table.nfe <= allowed * of_process.nfe
    torch.testing.assert_close(of_table.log_prob, closed_form(oracle, table, x, of_table.latent), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_a_real_label_keeps_the_flow_of_a_network_of_the_index_smooth():
    """A network that finds its level by the label: with integers its answers jump between the levels, and steps become small."""
    sde, oracle = ddpm(), mixture()
    x = oracle.sample(8, seed=3)

    def eps(x, label):
        level = sde.at((label.double() + 1) / 1000)
        return -level.sigma[:, None] * oracle.score_density(x, level.alpha, level.sigma)

    by_integer, by_real = (ScoreModel(eps, sde, Epsilon(label=label)) for label in ("index", "fractional_index"))
    jumping, smooth = (log_likelihood(sde, model, x, tolerance=1e-5) for model in (by_integer, by_real))
    assert 4 * smooth.nfe < jumping.nfe
    torch.testing.assert_close(smooth.log_prob, closed_form(oracle, sde, x, smooth.latent), rtol=0, atol=2e-3)
    at_levels = [model.predict(x, sde.times[[0, 1, 30, 500, 700, 800, 900, 999]]).eps for model in (by_integer, by_real)]
    assert torch.equal(*at_levels)


@pytest.mark.parametrize("schedule", BETAS)
def test_the_real_label_is_the_place_in_the_full_table(schedule):
    full = ddpm(schedule, 4000)
    part, t = full.respace(100), torch.linspace(0.001, 1, 333, dtype=torch.float64)
    torch.testing.assert_close(LABELS["fractional_index"](full, t), 4000 * t - 1, rtol=0, atol=1e-9)
    assert LABELS["fractional_index"](part, part.times).tolist() == LABELS["index"](part, part.times).tolist()
    torch.testing.assert_close(LABELS["index_of_1000"](full, t), (4000 * t - 1) / 4, rtol=0, atol=1e-9)
    assert (LABELS["fractional_index"](ncsn(), ncsn().times.flip(0)) == torch.arange(232)).all()
    with pytest.raises(ValueError, match="label='fractional_index' needs a process with a table"):
        LABELS["fractional_index"](VPSDE(), t)
