"""Probes that share their signs: exact where theory says so, unbiased everywhere, and less noisy between neighbours."""

import pytest
import torch

from likelihood import Exact, Hutchinson, Probing, log_likelihood
from sde_lib import VPSDE, GaussianOracle, RowNoise
from tests.laws.common import normal


def estimates(J, shape, divergence, rows=2000, seed=0):
    """The divergence of x -> J x for many rows, (rows, channels)."""
    x = torch.zeros(rows, *shape, dtype=torch.float64)
    field = lambda x: (x.flatten(1) @ J.T).reshape(-1, *shape)
    return divergence(field, x, divergence.probe(RowNoise(seed, rows), x))[1]


def matrix(d, seed=0):
    return normal((d, d), seed)


@pytest.mark.parametrize(("shape", "probes"), [((6,), 8), ((1, 4, 4), 16), ((3, 4, 2), 32), ((2, 2, 2, 2), 16)])
def test_as_many_probes_as_entries_are_exact(shape, probes):
    J = matrix(torch.Size(shape).numel())
    torch.testing.assert_close(estimates(J, shape, Probing(probes), rows=3), J.trace().expand(3, 1), rtol=1e-12, atol=1e-12)


def test_few_are_exact_for_neighbours_alone():
    """A chain needs two; a plane with its diagonals four; what is two apart, more."""
    d = 12
    chain = torch.diag(torch.arange(1.0, 13.0)).double()
    chain += torch.diag(torch.full((d - 1,), 2.0).double(), 1) + torch.diag(torch.full((d - 1,), -5.0).double(), -1)
    torch.testing.assert_close(estimates(chain, (d,), Probing(2), rows=5), chain.trace().expand(5, 1))
    assert estimates(chain, (d,), Probing(1), rows=500).std() > 1
    side = 5
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    near = (place[:, None] - place).abs().amax(2) <= 1
    J = matrix(side**2) * near
    torch.testing.assert_close(estimates(J, (1, side, side), Probing(4), rows=5), J.trace().expand(5, 1))
    straight = J * ((place[:, None] - place).abs().sum(2) <= 1)
    torch.testing.assert_close(estimates(straight, (side, side), Probing(2), rows=5), J.trace().expand(5, 1))


@pytest.mark.parametrize("probes", [1, 2, 4, 8])
def test_unbiased_with_the_variance_that_theory_gives(probes):
    """Of the pairs (i, j), those that differ in the bits that the characters look at vanish; the others stay, once for all."""
    J = matrix(16, seed=1)
    symmetric = (J + J.T) / 2
    coordinates = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    x, y = coordinates.T
    seen = torch.stack([(x + y) % 2, y % 2, (x // 2 + y // 2) % 2][: probes.bit_length() - 1] or [torch.zeros(16)])
    same = (seen[:, :, None] == seen[:, None]).all(0) & ~torch.eye(16, dtype=torch.bool)
    expected = 2 * (symmetric**2)[same].sum()
    found = estimates(J, (4, 4), Probing(probes), rows=20_000)
    assert abs(found.mean() - J.trace()) < 5 * (expected / 20_000) ** 0.5
    assert found.var().item() == pytest.approx(expected.item(), rel=0.06)


def test_repeats_are_independent_channels_that_state_their_error():
    sde = VPSDE()
    J = matrix(6, seed=3)
    oracle = GaussianOracle(torch.zeros(6, dtype=torch.float64), covariance=J @ J.T / 6 + 0.1 * torch.eye(6, dtype=torch.float64))
    x = oracle.sample(1, seed=1).expand(300, 6).clone()
    score, settings = oracle.score(sde), {"tolerance": 1e-4}
    exact = log_likelihood(sde, score, x[:1], divergence=Exact(), tolerance=1e-6).log_prob
    result = log_likelihood(sde, score, x, divergence=Probing(2, repeats=8), **settings)
    assert result.by_probe.shape == (300, 8)
    actual = result.log_prob.std().item()
    assert abs(result.log_prob.mean() - exact) < 5 * actual / 300**0.5
    assert (result.probe_error**2).mean().sqrt().item() == pytest.approx(actual, rel=0.2)
    assert log_likelihood(sde, score, x[:2], divergence=Probing(2), **settings).probe_error.isnan().all()
    everything = log_likelihood(sde, score, x[:2], divergence=Probing(8), tolerance=1e-6)
    torch.testing.assert_close(everything.log_prob, exact.expand(2), rtol=0, atol=1e-4)


def test_one_probe_is_hutchinsons():
    J = matrix(5)
    torch.testing.assert_close(estimates(J, (5,), Probing(1)), estimates(J, (5,), Hutchinson(1)))


@pytest.mark.parametrize("arguments", [{"probes": 3}, {"probes": 0}, {"repeats": 0}])
def test_invalid_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="power of two"):
        Probing(**arguments)
    with pytest.raises(ValueError, match="8 are exact"):
        estimates(matrix(6), (6,), Probing(16), rows=2)
