"""What the output means: each pair (a, b) read in every way, and the traps of shapes."""

import pytest
import torch

from sde_lib import (
    EDM,
    VPSDE,
    Data,
    DenoisingScoreMatching,
    Epsilon,
    ImportanceTime,
    PreviousMean,
    ScoreModel,
    UniformTime,
    V,
    Velocity,
    WithVariance,
)
from sde_lib.parameterizations import LABELS, Score
from tests.registry import CONTINUOUS, PARAMETERIZATIONS, PROCESSES, name

SHAPES = [(5, 2), (5, 7, 3), (5, 1, 8, 8), (2, 3, 32, 20), (4, 4), (3, 5, 3), (8, 1, 8, 8), (3, 2, 4, 3, 5)]


@pytest.mark.parametrize("sde", PROCESSES, ids=name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_every_reading_of_every_output(sde, parameterization):
    """A network that answers a x0 + b eps for known x0 and eps is read as exactly those, at every level of noise."""
    if isinstance(parameterization, PreviousMean) and not sde.has_table:
        with pytest.raises(ValueError, match="needs a process with a table"):
            parameterization.target(sde, torch.tensor(0.5), sde.at(0.5))
        return
    g = torch.Generator().manual_seed(2)
    x0, eps = torch.randn(4, 3, generator=g, dtype=torch.float64), torch.randn(4, 3, generator=g, dtype=torch.float64)
    for t in sde.snap(sde.t_min + (sde.T - sde.t_min) * torch.tensor([0.01, 0.3, 0.7, 0.99], dtype=torch.float64)):
        alpha, sigma, _ = sde.at(t)
        a, b = parameterization.target(sde, t, sde.at(t))
        model = ScoreModel(lambda x, label, a=a, b=b: a * x0 + b * eps, sde, parameterization)
        p = model.predict(alpha * x0 + sigma * eps, t)
        readings = [(p.x0, x0), (p.eps, eps), (p.score, -eps / sigma), (p.v, alpha * eps - sigma * x0)]
        for reading, truth in readings:
            torch.testing.assert_close(reading, truth, rtol=1e-7, atol=1e-7 / float(alpha))


def test_v_pair_is_the_papers():
    """v = alpha eps - sigma x0, and x0 = alpha x - sigma v when alpha^2 + sigma^2 = 1 (Salimans and Ho, 2022)."""
    x0, eps, sde = torch.tensor([[0.3]]).double(), torch.tensor([[-1.2]]).double(), VPSDE()
    alpha, sigma, _ = level = sde.at(0.4)
    a, b = V().target(sde, torch.tensor(0.4), level)
    v, x = a * x0 + b * eps, alpha * x0 + sigma * eps
    torch.testing.assert_close(v, alpha * eps - sigma * x0)
    torch.testing.assert_close(alpha * x - sigma * v, x0)


def test_velocity_is_the_slope_of_the_path():
    x0, eps, t, h = torch.tensor([[0.3]]).double(), torch.tensor([[-1.2]]).double(), 0.4, 1e-6
    sde = VPSDE()
    a, b = Velocity().target(sde, torch.tensor(t, dtype=torch.float64), sde.at(t))
    (later, sooner) = ((sde.at(t + d).alpha * x0 + sde.at(t + d).sigma * eps) for d in (h, -h))
    torch.testing.assert_close(a * x0 + b * eps, (later - sooner) / (2 * h), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("sde", CONTINUOUS, ids=name)
def test_edm_inputs_and_targets_have_unit_variance(sde):
    """For data of variance sigma_data^2, at every level: the property from which the preconditioning is derived."""
    p = EDM(sigma_data=0.3)
    for t in torch.linspace(sde.t_min, sde.T, 9, dtype=torch.float64):
        level = sde.at(t)
        a, b = p.target(sde, t, level)
        assert float(p.scale(level) ** 2 * ((0.3 * level.alpha) ** 2 + level.sigma**2)) == pytest.approx(1)
        assert float((0.3 * a) ** 2 + b**2) == pytest.approx(1)


def test_labels():
    t = torch.tensor([0.25, 0.5], dtype=torch.float64)
    sde = VPSDE()
    assert LABELS["time"](sde, t).tolist() == [249.75, 499.5]
    torch.testing.assert_close(LABELS["sigma"](sde, t), sde.at(t).sigma)
    torch.testing.assert_close(LABELS["log_sigma"](sde, t), torch.log(sde.at(t).sigma / sde.at(t).alpha) / 4)
    with pytest.raises(ValueError, match="Tabulated"):
        LABELS["index"](sde, t)
    with pytest.raises(ValueError, match="label"):
        Epsilon(label="nonsense")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sde", PROCESSES, ids=name)
def test_times_of_each_row_act_on_its_row_alone(shape, sde):
    """Law 5: a batch with a time for each row equals its rows one by one, also where B equals another axis."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(shape, generator=g, dtype=torch.float64)
    z = torch.randn(shape, generator=g, dtype=torch.float64)
    t = sde.snap(sde.t_min + (sde.T - sde.t_min) * torch.linspace(0.1, 0.9, shape[0], dtype=torch.float64))
    model = ScoreModel(lambda x, label: x * x + label.reshape(-1, *[1] * (x.ndim - 1)), sde, V())
    loss = DenoisingScoreMatching("likelihood", ImportanceTime())

    def answers(x, z, t):
        return [
            sde.drift(x, t),
            sde.diffusion(x, t).expand_as(x),
            sde.kernel(x, t).sample(z),
            sde.posterior(x, z, sde.snap(t / 2), t).sample(z),
            model(x, t),
            sde.kernel(x, t).log_prob(z),
            loss(model, x, t=t.expand(len(x)), z=z),
        ]

    together = answers(x, z, t)
    for i in range(shape[0]):
        for batch, single in zip(together, answers(x[i : i + 1], z[i : i + 1], t[i]), strict=True):
            assert batch.shape == (shape if batch.ndim > 1 else shape[:1])
            torch.testing.assert_close(batch[i : i + 1], single, rtol=1e-12, atol=1e-12)


def test_a_time_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="one time for all rows"):
        VPSDE().kernel(torch.zeros(4, 3), torch.full((3,), 0.5, dtype=torch.float64))
    with pytest.raises(ValueError, match="one time for all rows"):
        VPSDE().drift(torch.zeros(4, 3), torch.full((4, 1), 0.5, dtype=torch.float64))


def test_conditions_have_a_row_for_each_sample():
    model = ScoreModel(lambda x, label, y: x * y.reshape(-1, 1), VPSDE(), Epsilon())
    x = torch.ones(4, 3)
    for rows in (1, 3, 5):
        with pytest.raises(ValueError, match="condition 'y' of shape"):
            model.bind(y=torch.ones(rows))(x, 0.5)
    assert torch.equal(model.bind(y=torch.ones(4))(x, 0.5), model.bind(y=torch.tensor(1.0))(x, 0.5))


@pytest.mark.parametrize("shape", [(3,), (1,), (4, 1)])
def test_a_model_refuses_times_of_another_shape_too(shape):
    model = ScoreModel(lambda x, label: x, VPSDE(), Epsilon())
    with pytest.raises(ValueError, match="one time for all rows"):
        model(torch.zeros(4, 3), torch.full(shape, 0.5))


def test_integer_states_are_refused():
    codes, t = torch.ones(4, 3, dtype=torch.int64), torch.full((4,), 0.5)
    with pytest.raises(TypeError, match="encode integers first"):
        VPSDE().kernel(codes, t)
    with pytest.raises(TypeError, match="encode integers first"):
        ScoreModel(lambda x, label: label[:, None] * x, VPSDE(), Epsilon())(codes, 0.5)


def test_a_network_that_answers_in_another_shape_is_refused():
    model = ScoreModel(lambda x, label: torch.cat([x, x], dim=1), VPSDE(), Epsilon())
    with pytest.raises(ValueError, match="WithVariance"):
        model(torch.zeros(2, 3), 0.5)


@pytest.mark.parametrize(("kind", "reading", "value"), [("log", "log_variance", 2.0), ("fraction", "variance_fraction", 1.5)])
def test_the_second_half_of_the_channels_is_about_the_variance(kind, reading, value):
    model = ScoreModel(lambda x, label: torch.cat([x, 2 * x], dim=1), VPSDE(), WithVariance(Epsilon(), kind=kind))
    p = model.predict(torch.ones(2, 3), 0.5)
    assert torch.equal(p.eps, torch.ones(2, 3)) and torch.equal(getattr(p, reading), torch.full((2, 3), value))
    with pytest.raises(ValueError, match="use one of 'fraction', 'log'"):
        WithVariance(kind="range")


def test_half_precision_stops_at_the_network():
    model = ScoreModel(lambda x, label: x.bfloat16(), VPSDE(), Data())
    assert model(torch.ones(2, 3), 0.5).dtype == torch.float32


@pytest.mark.parametrize("parameterization", [p for p in PARAMETERIZATIONS if not isinstance(p, PreviousMean)], ids=name)
@pytest.mark.parametrize("times", [UniformTime(), ImportanceTime()], ids=name)
@pytest.mark.parametrize("weighting", ["sigma2", "likelihood"])
def test_loss_is_the_weighted_error_of_the_score(parameterization, times, weighting):
    """lambda |s - grad log p(x_t | x0)|^2 / dims, over the density of t, from the score itself."""
    sde = VPSDE()
    g = torch.Generator().manual_seed(4)
    x0, z = torch.randn(6, 5, generator=g, dtype=torch.float64), torch.randn(6, 5, generator=g, dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    model = ScoreModel(lambda x, label: torch.sin(3 * x), sde, parameterization)
    loss = DenoisingScoreMatching(weighting, times)(model, x0, t=t, z=z)
    B = 0.1 * t + 9.95 * t**2
    beta, sigma2 = 0.1 + 19.9 * t, 1 - torch.exp(-B)
    x = torch.exp(-B / 2)[:, None] * x0 + sigma2.sqrt()[:, None] * z
    error = ((model(x, t) + z / sigma2.sqrt()[:, None]) ** 2).mean(1)
    weight = beta if weighting == "likelihood" else sigma2
    if isinstance(times, ImportanceTime):
        Z = 23.86447  # the integral of g^2 / sigma^2 on [1e-5, 1], of Song et al., 2021, recorded from their code
        weight = weight * Z * sigma2 / (beta * (1 - 1e-5))
    torch.testing.assert_close(loss, weight * error, rtol=1e-6, atol=0)


@pytest.mark.parametrize("sde", CONTINUOUS, ids=name)
def test_importance_times_have_their_density_and_estimate_the_same_integral(sde):
    """E[weight h(t)] under ImportanceTime equals E[h(t)] under uniform times; by quadrature in u."""
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    law = ImportanceTime()
    t = law.sample(sde, u)
    uniform = UniformTime().sample(sde, u)

    def h(t):
        return sde.rates(t).g2 / sde.at(t).sigma ** 2  # what a constant error of eps contributes

    mean = (law.weight(sde, t) * h(t)).mean()
    exact = (sde.at(sde.t_min).log_snr - sde.at(sde.T).log_snr) / (sde.T - sde.t_min)
    torch.testing.assert_close(mean, exact, rtol=1e-6, atol=0)
    torch.testing.assert_close((law.weight(sde, t) * torch.sin(5 * t)).mean(), torch.sin(5 * uniform).mean(), rtol=5e-3, atol=5e-4)


def test_loss_refuses_integers_and_unknown_weightings():
    model = ScoreModel(lambda x, label: x, VPSDE(), Score())
    with pytest.raises(TypeError, match="encode"):
        DenoisingScoreMatching()(model, torch.zeros(2, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="'sigma2', 'likelihood'"):
        DenoisingScoreMatching("nonsense")


def test_loss_of_the_true_score_is_the_irreducible_one():
    """Gaussian data: E|eps - eps*|^2 = alpha^2 s^2 / (alpha^2 s^2 + sigma^2) for each entry."""
    from sde_lib import GaussianOracle

    s, sde, n = 0.6, VPSDE(), 200_000
    oracle = GaussianOracle(torch.zeros(1, dtype=torch.float64), s)
    score = oracle.score(sde)
    t = torch.full((n,), 0.3, dtype=torch.float64)
    alpha, sigma, _ = sde.at(0.3)

    class Exact(torch.nn.Module):
        def forward(self, x, label):
            return score(x, t)

    loss = DenoisingScoreMatching()(
        ScoreModel(Exact(), sde, Score()), oracle.sample(n), t=t, z=torch.randn(n, 1, dtype=torch.float64)
    )
    expected = float(alpha**2 * s**2 / (alpha**2 * s**2 + sigma**2))
    assert loss.mean().item() == pytest.approx(expected, abs=5 * float(loss.std()) / n**0.5)
