"""Oracles against their definitions: quadrature over the data, sums over the points, and their own samples."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import stats

from likelihood import log_likelihood
from sde_lib import VESDE, VPSDE, CheckerboardOracle, GaussianOracle, MixtureOracle, PointsOracle, RingOracle
from tests.laws.common import normal
from tests.registry import PROCESSES, name

every_process = pytest.mark.parametrize("sde", PROCESSES, ids=name)
POINTS = torch.tensor([[-1.0, 0.5], [0.3, -0.2], [0.9, 0.8]], dtype=torch.float64)
WEIGHTS = [0.2, 0.5, 0.3]


def points():
    return PointsOracle(POINTS, WEIGHTS)


PLANAR = [points(), RingOracle(1.0, 0.1), CheckerboardOracle(4, side=2.0), CheckerboardOracle(3)]
every_oracle = pytest.mark.parametrize("oracle", PLANAR, ids=["points", "ring", "board4", "board3"])


def plane(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def at(sde, t):
    t = float(sde.snap(torch.tensor(t * sde.T, dtype=torch.float64)))
    alpha, sigma, _ = (v.item() for v in sde.at(t))
    return t, alpha, sigma


def at_ratio(sde, ratio):
    """Where sigma / alpha is nearest to a number: processes have their own clocks, and quadrature wants noise it can see."""
    return at(sde, sde.t_of_log_snr(-2 * torch.tensor(ratio, dtype=torch.float64).log()).item() / sde.T)


def mixed(x, nodes, log_weights, alpha, variance):
    """log of sum_k w_k N(x; alpha y_k, variance) and its gradient: the definition of p_t for any law of y given by nodes."""
    centred = x[:, None] - alpha * nodes
    joint = log_weights - (centred**2).sum(2) / (2 * variance) - math.log(2 * math.pi * variance)
    return joint.logsumexp(1), -(joint.softmax(1)[..., None] * centred).sum(1) / variance


def on_circle(n=20_000):
    """Nodes of the trapezoidal rule on the unit circle, which converges exponentially."""
    angle = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    return torch.stack([angle.cos(), angle.sin()], 1), torch.full((n,), -math.log(n), dtype=torch.float64)


def on_dark_squares(cells, side, n=40):
    """Gauss-Legendre nodes on the squares (i, j), i + j even, and the log of their weights over the area."""
    u, w = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(n))
    u, w = 0.5 * (u + 1), 0.5 * w
    dark = [(i, j) for i in range(cells) for j in range(cells) if (i + j) % 2 == 0]
    square = torch.cartesian_prod(u, u)
    nodes = torch.cat([(square + torch.tensor(ij, dtype=torch.float64)) * side / cells - side / 2 for ij in dark])
    weights = torch.outer(w, w).flatten().repeat(len(dark)) / len(dark)
    return nodes, weights.log()


@every_process
@pytest.mark.parametrize("time", [0.02, 0.3, 1.0])
def test_points_are_the_sum_of_their_kernels(sde, time):
    t, alpha, sigma = at(sde, time)
    x = plane([0.3, 0.1], [-2.0, 1.0], [0.0, 0.0]) * math.hypot(alpha, sigma)
    density, score = mixed(x, POINTS, torch.tensor(WEIGHTS, dtype=torch.float64).log(), alpha, sigma**2)
    torch.testing.assert_close(points().log_prob(x, sde, t), density, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(points().score(sde)(x, t), score, rtol=1e-9, atol=1e-9 / sigma)
    one = PointsOracle(POINTS[:1])
    torch.testing.assert_close(one.log_prob(x, sde, t), sde.kernel(POINTS[:1].expand(3, 2), t).log_prob(x), rtol=1e-9, atol=1e-9)


def test_points_of_any_shape_with_a_time_for_each_row():
    """Four rows of 3 x 5 x 3 under four times, next to scipy's normal."""
    g = torch.Generator().manual_seed(1)
    data = torch.randn(7, 3, 5, 3, generator=g, dtype=torch.float64)
    x, t = torch.randn(4, 3, 5, 3, generator=g, dtype=torch.float64), torch.tensor([0.1, 0.4, 0.7, 1.0]).double()
    sde, oracle = VPSDE(), PointsOracle(data)
    levels = zip(x, *sde.at(t)[:2], strict=True)
    parts = np.array([[stats.norm(a * y, s).logpdf(row).sum() for y in data] for row, a, s in levels])
    expected = torch.from_numpy(parts).logsumexp(1) - math.log(7)
    torch.testing.assert_close(oracle.log_prob(x, sde, t), expected, rtol=1e-9, atol=1e-9)
    assert oracle.score(sde)(x.float(), t).dtype == torch.float32 and oracle.score(sde)(x, t).shape == x.shape


def test_points_stay_exact_where_noise_is_small():
    """64 dims of size 100, sigma 1e-2: the squares of states are 1e9 times the noise's, and must not swallow it."""
    sde = VESDE()
    data = normal((5, 64), 2) + 100
    t, _, sigma = at(sde, 1e-5)
    x = data[2:3] + sigma * torch.linspace(-1, 1, 64, dtype=torch.float64)
    expected = stats.norm(data[2].numpy(), sigma).logpdf(x[0].numpy()).sum() - math.log(5)
    assert PointsOracle(data).log_prob(x, sde, t).item() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(PointsOracle(data).score(sde)(x, t), (data[2] - x) / sigma**2, rtol=1e-6, atol=1e-6)


def test_entropies():
    assert PointsOracle(POINTS).entropy == pytest.approx(math.log(3), rel=1e-12)
    assert PointsOracle(POINTS, [2, 1, 1]).entropy == pytest.approx(1.5 * math.log(2), rel=1e-12)
    assert PointsOracle(POINTS, [1, 0, 0]).entropy == 0
    assert PointsOracle(POINTS[[0, 1, 0, 1]]).entropy == pytest.approx(math.log(2), rel=1e-12)  # two points, each of them twice
    assert CheckerboardOracle(4, side=4.0).entropy == pytest.approx(math.log(8), rel=1e-12)  # eight unit squares
    assert CheckerboardOracle(3, side=3.0).entropy == pytest.approx(math.log(5), rel=1e-12)
    assert CheckerboardOracle(2, side=1.0).entropy == pytest.approx(-math.log(2), rel=1e-12)


@every_process
@pytest.mark.parametrize("time", [0.02, 0.3, 1.0])
def test_ring_is_the_integral_over_the_circle(sde, time):
    t, alpha, sigma = at(sde, time)
    radius, width = 1.3, 0.15
    x = plane([0.0, 0.0], [0.4, -0.2], [1.3, 0.1], [-5.0, 7.0], [1e-9, 0.0]) * math.hypot(alpha, sigma)
    nodes, log_weights = on_circle()
    density, score = mixed(x, radius * nodes, log_weights, alpha, (alpha * width) ** 2 + sigma**2)
    oracle = RingOracle(radius, width)
    torch.testing.assert_close(oracle.log_prob(x, sde, t), density, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(oracle.score(sde)(x, t), score, rtol=1e-8, atol=1e-9)


def test_ring_without_a_process_is_the_data():
    nodes, log_weights = on_circle()
    x = plane([0.9, 0.1], [0.0, 0.0], [-0.6, -0.9])
    oracle = RingOracle(1.0, 0.1)
    torch.testing.assert_close(oracle.log_prob(x), mixed(x, nodes, log_weights, 1.0, 0.01)[0], rtol=1e-9, atol=1e-9)


def test_thin_ring_far_away_keeps_its_digits():
    """A ring of width 1e-5 looks flat: normal in the radius, divided by its circumference; no overflow of I0."""
    oracle, x = RingOracle(2.0, 1e-5), plane([2.0 + 2e-5, 0.0], [0.0, 5.0])
    r = torch.linalg.vector_norm(x, dim=1)
    flat = torch.from_numpy(stats.norm(2.0, 1e-5).logpdf(r.numpy())) - (2 * math.pi * torch.sqrt(2 * r)).log()
    torch.testing.assert_close(oracle.log_prob(x), flat, rtol=1e-9, atol=1e-9)


@every_process
@pytest.mark.parametrize(("cells", "side"), [(4, 4.0), (3, 1.5), (2, 5.0)])
def test_checkerboard_is_the_integral_over_its_squares(sde, cells, side):
    nodes, log_weights = on_dark_squares(cells, side)
    oracle = CheckerboardOracle(cells, side=side)
    for ratio in (0.5, 1e9):
        t, alpha, sigma = at_ratio(sde, ratio)
        x = plane([0.0, 0.0], [0.3, -0.2], [side / 2, 0.7], [0.4, 1.9]) * math.hypot(alpha, sigma)
        density, score = mixed(x, nodes, log_weights, alpha, sigma**2)
        round_off = max(1e-9, 1e-14 * sigma / (alpha * side))  # of the probability of a square that is small beside sigma
        torch.testing.assert_close(oracle.log_prob(x, sde, t), density, rtol=1e-9, atol=round_off)
        torch.testing.assert_close(oracle.score(sde)(x, t), score, rtol=1e-8, atol=round_off)


def test_checkerboard_far_away_and_at_small_noise():
    """300 sigma from the board, where every CDF is 0 or 1; and inside a square, at its edge and between two, at sigma 0.01."""
    sde, oracle = VESDE(), CheckerboardOracle(4, side=4.0)
    nodes, log_weights = on_dark_squares(4, 4.0, n=120)
    t = sde.t_of_log_snr(-2 * torch.tensor(0.1, dtype=torch.float64).log()).item()
    far = plane([32.0, 0.3], [-1.5, -32.0], [20.0, 20.0])
    density, score = mixed(far, nodes, log_weights, 1.0, 0.01)
    torch.testing.assert_close(oracle.log_prob(far, sde, t), density, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(oracle.score(sde)(far, t), score, rtol=1e-9, atol=1e-9)
    t, _, sigma = at(sde, 1e-5)
    inside = plane([-1.5, -1.5], [-1.0, -1.5], [-1.5, -0.995])
    share = torch.tensor([1.0, 0.5, stats.norm(0, sigma).cdf(-0.005)], dtype=torch.float64)
    torch.testing.assert_close(oracle.log_prob(inside, sde, t), (share / 8).log(), rtol=1e-9, atol=1e-9)
    slope = -stats.norm(0, sigma).pdf(0) / 0.5
    torch.testing.assert_close(oracle.score(sde)(inside[1:2], t), plane([slope, 0.0]), rtol=1e-9, atol=1e-9)
    assert oracle.score(sde)(plane([1e4, -3e5]), t).isfinite().all()


def test_checkerboard_without_a_process_is_uniform_on_the_dark_squares():
    x = plane([-1.5, -1.5], [-0.5, -1.5], [0.5, 0.5], [3.0, 0.1], [1.5, 1.2])
    log_p = CheckerboardOracle(4, side=4.0).log_prob(x)
    torch.testing.assert_close(log_p, torch.tensor([1 / 8, 0, 1 / 8, 0, 1 / 8], dtype=torch.float64).log())


@every_process
@every_oracle
def test_score_is_the_gradient_of_the_density(sde, oracle):
    for time in (0.1, 0.9):
        t, alpha, sigma = at(sde, time)
        x = plane([0.0, 0.0], [0.9, 0.2], [-0.3, 0.7], [4.0, -3.0]) * math.hypot(alpha, sigma)
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(oracle.log_prob(x, sde, t).sum(), x)
        torch.testing.assert_close(oracle.score(sde)(x, t), gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.quick("board3")
@every_oracle
def test_log_likelihood_under_the_exact_flow_is_the_density(oracle):
    """The score has derivatives of its own: the divergence comes from them. The prior's mismatch is accounted for exactly."""
    sde, t_min = VPSDE(), 0.02
    x = sde.kernel(oracle.sample(4, seed=3), t_min).sample(plane([0.1, 1.0], [-0.5, 0.3], [0.8, -0.9], [-1.1, -0.2]))
    result = log_likelihood(sde, oracle.score(sde), x, t_min=t_min, tolerance=1e-9, method="dop853")
    expected = oracle.log_prob(x, sde, t_min) - oracle.log_prob(result.latent, sde, sde.T) + sde.prior(x).log_prob(result.latent)
    torch.testing.assert_close(result.log_prob, expected, rtol=0, atol=1e-5)


@every_oracle
def test_densities_integrate_to_one(oracle):
    """The midpoint rule on a plane, at t = 0.1 of VP, where sigma is 0.32."""
    u = (torch.arange(300, dtype=torch.float64) + 0.5) * (10 / 300) - 5
    p = oracle.log_prob(torch.cartesian_prod(u, u), VPSDE(), 0.1).exp()
    assert p.sum().item() * (10 / 300) ** 2 == pytest.approx(1, abs=1e-9)


@every_oracle
def test_samples_are_of_the_law(oracle):
    """Stein's identities at t = 0.1: E[score] = 0 and E[x . score] = -2, within five standard errors; rows are their own."""
    sde = VPSDE()
    x0 = oracle.sample(50_000, seed=2)
    assert x0.shape == (50_000, 2) and x0.dtype == torch.float64
    z = normal(x0.shape, 3)
    x = sde.kernel(x0, 0.1).sample(z)
    score = oracle.score(sde)(x, 0.1)
    dot = (x * score).sum(1)
    assert abs(dot.mean().item() + 2) < 5 * dot.std().item() / len(x) ** 0.5
    assert (score.mean(0).abs() < 5 * score.std(0) / len(x) ** 0.5).all()
    torch.testing.assert_close(oracle.sample(10, seed=2), x0[:10])
    assert not torch.equal(oracle.sample(10, seed=1), x0[:10])


def test_samples_fall_where_the_data_are():
    """Points with their frequencies; dark squares equally often, uniform in each; radii around the ring's."""
    x = points().sample(20_000)
    counts = [(x == point).all(1).sum().item() for point in POINTS]
    assert stats.chisquare(counts, [20_000 * w for w in WEIGHTS]).pvalue > 1e-6
    board = CheckerboardOracle(4, side=4.0)
    x = board.sample(20_000)
    assert (board.log_prob(x) + board.entropy).abs().max() < 1e-12
    corners = (x + 2).floor()
    squares, counts = corners.unique(dim=0, return_counts=True)
    assert len(squares) == 8 and stats.chisquare(counts.numpy()).pvalue > 1e-6
    assert stats.kstest((x + 2 - corners).flatten().numpy(), "uniform").pvalue > 1e-6
    x = RingOracle(2.0, 0.01).sample(20_000)
    assert stats.kstest(((torch.linalg.vector_norm(x, dim=1) - 2) / 0.01).numpy(), "norm").pvalue > 1e-6
    assert stats.kstest(torch.atan2(x[:, 1], x[:, 0]).numpy() / (2 * math.pi) + 0.5, "uniform").pvalue > 1e-6


def test_rows_are_independent_and_can_be_taken():
    sde, oracle = VPSDE(), RingOracle(1.0, 0.1)
    x, t = oracle.sample(6), torch.linspace(0.1, 1, 6, dtype=torch.float64)
    score = oracle.score(sde)
    torch.testing.assert_close(score.take(torch.tensor([4]))(x[4:5], t[4]), score(x, t)[4:5])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: points().log_prob(POINTS), "no density at t = 0"),
        (lambda: points().log_prob(POINTS, VPSDE(), 0.0), "no density at t = 0"),
        (lambda: PointsOracle(POINTS, [0.5, 0.5]), "3 points and 2 weights"),
        (lambda: PointsOracle(POINTS, [0.5, 1.0, -0.5]), "from -0.5 to 1: from 0 up"),
        (lambda: PointsOracle(POINTS, [0.0, 0.0, 0.0]), "not all 0"),
        (lambda: PointsOracle(POINTS, [0.5, math.nan, 0.5]), "from 0 up"),
        (lambda: PointsOracle(POINTS[:0]), "at least one point"),
        (lambda: RingOracle(1.0, 0.0), "positive radius and width"),
        (lambda: RingOracle(-1.0, 0.1), "positive radius and width"),
        (lambda: CheckerboardOracle(1), "at least 2 cells"),
        (lambda: CheckerboardOracle(4, side=-1.0), "positive side"),
        (lambda: RingOracle(1.0, 0.1).log_prob(torch.zeros(2, 3)), "states of shape (2, 3), and (rows, 2)"),
        (lambda: CheckerboardOracle().score(VPSDE())(torch.zeros(2, 1, 2), 0.5), "and (rows, 2)"),
    ],
)
def test_invalid_laws_are_refused(make, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make()


def test_the_older_oracles_have_the_same_interface():
    for oracle in (GaussianOracle(torch.zeros(2), 1.0), MixtureOracle([1.0], torch.zeros(1, 2), [1.0]), *PLANAR):
        assert oracle.shape == (2,)
        assert oracle.score(VPSDE())(torch.zeros(3, 2), 0.5).shape == (3, 2)
