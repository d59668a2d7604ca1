"""Laws of training time and weightings: densities by quadrature, records of other implementations, closed forms."""

import math

import pytest
import torch

from sde_lib import (
    VESDE,
    VPSDE,
    DenoisingScoreMatching,
    EDMWeighting,
    Epsilon,
    ImportanceTime,
    KarrasSDE,
    LogNormalTime,
    LossAwareTime,
    LowDiscrepancy,
    MinSNR,
    RectifiedFlow,
    ScoreModel,
    UniformTime,
)
from sde_lib.tabulated import ddpm
from sde_lib.weightings import WEIGHTINGS
from tests.registry import CONTINUOUS, name

LAWS = [UniformTime(), ImportanceTime(), LogNormalTime(), LogNormalTime(0.3, 0.7), LowDiscrepancy(ImportanceTime())]
U = (torch.arange(4_000, dtype=torch.float64) + 0.5) / 4_000


@pytest.mark.parametrize("sde", CONTINUOUS, ids=name)
@pytest.mark.parametrize("law", LAWS, ids=name)
def test_times_have_the_density_that_their_weight_says(law, sde):
    """P(t <= q) under the law is the integral of 1 / weight, over T - t_min, up to q; by quadrature in log t."""
    t = law.sample(sde, U)
    assert (t >= sde.t_min * (1 - 1e-12)).all() and (t <= sde.T * (1 + 1e-12)).all()
    grid = torch.exp(torch.linspace(math.log(sde.t_min), math.log(sde.T), 4_001, dtype=torch.float64))
    grid = torch.unique(torch.cat([grid, sde.T + sde.t_min - grid]))  # fine at both ends, where densities are steep
    density = 1 / (law.weight(sde, grid) * (sde.T - sde.t_min))
    cdf = torch.cumulative_trapezoid(density, grid)
    assert cdf[-1].item() == pytest.approx(1, rel=2e-3)
    for q in (0.1, 0.5, 0.9):
        at = t.sort().values[int(q * len(t))]
        assert cdf[torch.searchsorted(grid[1:], at).clamp_max(len(cdf) - 1)].item() == pytest.approx(q, abs=1e-2)


def test_low_discrepancy_times_are_spread_over_the_batch():
    u = torch.rand(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = LowDiscrepancy().sample(VPSDE(), u).sort().values
    torch.testing.assert_close(t.diff(), torch.full((63,), (1 - 1e-5) / 64, dtype=torch.float64))
    draws = torch.stack([LowDiscrepancy().sample(VPSDE(), torch.rand(4, dtype=torch.float64)) for _ in range(4000)])
    assert draws.mean().item() == pytest.approx(0.5, abs=5 * 0.29 / (4 * 16000) ** 0.5 + 2e-3)


@pytest.mark.parametrize("law", [ImportanceTime(), LogNormalTime()], ids=name)
def test_laws_with_a_density_refuse_a_table(law):
    with pytest.raises(ValueError, match="has levels: use UniformTime"):
        law.sample(ddpm(), U[:3])


def test_loss_aware_times_are_improved_diffusion_s_rule():
    """Equation 18, with the code's history: uniform until each level has been seen as often as the history is long."""
    sde, law = ddpm(steps=25), LossAwareTime(levels=25, history=3, uniform=0.1)
    g = torch.Generator().manual_seed(1)
    seen = {i: [] for i in range(25)}
    for _ in range(40):
        place = torch.randint(0, 25, (7,), generator=g)
        loss = torch.rand(7, generator=g, dtype=torch.float64) * (1 + place)
        law.observe(sde, (place + 1).double() / 25, loss)
        for i, value in zip(place.tolist(), loss.tolist(), strict=True):
            seen[i].append(value)
        expected = torch.full((25,), 1 / 25, dtype=torch.float64)
        if all(len(values) >= 3 for values in seen.values()):
            size = torch.tensor([math.sqrt(sum(v * v for v in seen[i][-3:]) / 3) for i in range(25)], dtype=torch.float64)
            expected = 0.9 * size / size.sum() + 0.1 / 25
        torch.testing.assert_close(law.probabilities(), expected)
    assert (law.probabilities() - 1 / 25).abs().max() > 0.01
    again = LossAwareTime(levels=25, history=3, uniform=0.1)
    again.load_state_dict(law.state_dict())
    assert torch.equal(again.probabilities(), law.probabilities())


def test_loss_aware_times_belong_to_a_table_of_their_size():
    with pytest.raises(ValueError, match="a table of 1000 levels is needed"):
        LossAwareTime().sample(VPSDE(), U[:3])
    with pytest.raises(ValueError, match="a table of 1000 levels is needed"):
        LossAwareTime().sample(ddpm(steps=25), U[:3])
    with pytest.raises(ValueError, match="history >= 1"):
        LossAwareTime(history=0)


@pytest.mark.parametrize("sde", [VPSDE(), VESDE(), RectifiedFlow()], ids=name)
def test_weightings_are_the_errors_that_they_are_named_after(sde):
    """A network that errs by d in eps errs by sigma/alpha d in x0, and by (alpha^2 + sigma^2)/alpha d in v."""
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    alpha, sigma, _ = sde.at(t)
    x0, z, d = torch.zeros(5, 4).double(), torch.zeros(5, 4).double(), 0.1
    model = ScoreModel(lambda x, label: torch.full_like(x, d), sde, Epsilon())
    p = model.predict(x0, t)
    truths = {"sigma2": p.eps, "x0": p.x0, "v": p.v}
    for weighting, reading in truths.items():
        loss = DenoisingScoreMatching(weighting)(model, x0, t=t, z=z)
        torch.testing.assert_close(loss, (reading**2).mean(1))
    snr = alpha**2 / sigma**2
    loss = DenoisingScoreMatching(MinSNR(2.0))(model, x0, t=t, z=z)
    torch.testing.assert_close(loss, snr.clamp_max(2.0) * (p.x0**2).mean(1))


def test_edm_weighting_with_its_times_is_edm_s_loss():
    """(s^2 + sd^2) / (s sd)^2 |D - y|^2, over T - t_min, whatever the process's clock."""
    for sde in (KarrasSDE(), VESDE(0.002, 80.0), VPSDE()):
        t = LogNormalTime().sample(sde, torch.tensor([0.2, 0.5, 0.8]).double())
        s = sde.at(t).sigma / sde.at(t).alpha
        model = ScoreModel(lambda x, label: torch.full_like(x, 0.1), sde, Epsilon())
        zero = torch.zeros(3, 2).double()
        loss = DenoisingScoreMatching(EDMWeighting(), LogNormalTime())(model, zero, t=t, z=zero)
        expected = (s**2 + 0.25) / (0.5 * s) ** 2 * (0.1 * s) ** 2 / (sde.T - sde.t_min)
        torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)


def test_invalid_weightings_and_laws_are_refused():
    with pytest.raises(ValueError, match=", ".join(map(repr, WEIGHTINGS))):
        DenoisingScoreMatching("nonsense")
    with pytest.raises(ValueError, match="needs a process with a table"):
        WEIGHTINGS["previous"](VPSDE(), U[:2])
    with pytest.raises(ValueError, match="gamma must be positive"):
        MinSNR(0.0)
    with pytest.raises(ValueError, match="std must be positive"):
        LogNormalTime(std=0.0)
