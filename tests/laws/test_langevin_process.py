"""A process that is not linear in alpha and sigma: critically damped Langevin diffusion, whose laws are known in closed form."""

import math
from dataclasses import dataclass

import pytest
import torch
from scipy import stats

from likelihood import Exact, Hutchinson, log_likelihood
from samplers import EulerMaruyama, FlowSampler, Sampler, Uniform
from sde_lib import SDE, VPSDE
from sde_lib.tensors import as_time, sum_over_state
from tests.registry import PROCESSES, interior, name

MEAN, STD = 0.7, 0.3


@dataclass(frozen=True, eq=False)
class PairGaussian:
    """N(mean, L L^T) for the pair of position and velocity, each entry of the data on its own; states (B, 2, *shape)."""

    mean: torch.Tensor
    L: torch.Tensor

    def sample(self, z):
        return self.mean + apply(self.L, z)

    def score(self, x):
        return -apply(torch.cholesky_inverse(self.L), x - self.mean)

    def log_prob(self, x):
        z = apply(torch.linalg.inv(self.L), x - self.mean)
        log_det = self.L.diagonal(dim1=-2, dim2=-1).log().sum(-1).to(x)
        return sum_over_state(-0.5 * z**2 - 0.5 * math.log(2 * math.pi)) - x[0, 0].numel() * log_det


def apply(A, x):
    return (A.to(x).expand(len(x), 2, 2) @ x.flatten(2)).reshape(x.shape)


@dataclass(frozen=True)
class CriticallyDamped(SDE):
    """dx = beta v / M dt, dv = -beta (x + Gamma v / M) dt + sqrt(2 Gamma beta) dw, Gamma^2 = 4 M.

    Reference: Dockhorn, Vahdat, Kreis, 2022, arXiv 2112.07068, equation 5.
    """

    beta: float = 10.0
    mass: float = 0.25
    start: float = 0.04  # of the variance M of the velocity, at t = 0
    t_min: float = 1e-2

    @property
    def A(self):
        return self.beta * torch.tensor([[0.0, 1 / self.mass], [-1.0, -2 * self.mass**-0.5]], dtype=torch.float64)

    @property
    def stationary(self):
        return torch.diag(torch.tensor([1.0, self.mass], dtype=torch.float64))

    def moments(self, t, variance=0.0):
        """exp(A t), and the covariance of the pair at t: A has one eigenvalue, r = -beta / sqrt(M), and (A - r)^2 = 0."""
        t, r, one = as_time(t)[..., None, None], -self.beta * self.mass**-0.5, torch.eye(2, dtype=torch.float64)
        E = torch.exp(r * t) * (one + t * (self.A - r * one))
        first = torch.diag(torch.tensor([variance, self.start * self.mass], dtype=torch.float64))
        return E, self.stationary + E @ (first - self.stationary) @ E.mT

    def drift(self, x, t):
        return apply(self.A, x)

    def diffusion(self, x, t):
        g = torch.tensor([0.0, (4 * self.mass**0.5 * self.beta) ** 0.5])
        return g.to(x).reshape(2, *[1] * (x.ndim - 2))

    def kernel(self, x0, t):
        E, covariance = self.moments(t)
        return PairGaussian(apply(E, torch.stack([x0, torch.zeros_like(x0)], 1)), torch.linalg.cholesky(covariance))

    def std(self, x, t):
        std = self.moments(t)[1].diagonal(dim1=-2, dim2=-1).sqrt()
        return std.to(x).reshape(*std.shape, *[1] * (x.ndim - 2))

    def prior(self, like):
        return PairGaussian(torch.zeros_like(like), self.stationary.sqrt())


def score_of_normal(sde):
    """That of data N(MEAN, STD^2), by the law of the pair."""

    def score(x, t):
        E, covariance = sde.moments(t, STD**2)
        mean = apply(E, torch.stack([torch.full_like(x[:, 0], MEAN), torch.zeros_like(x[:, 0])], 1))
        return PairGaussian(mean, torch.linalg.cholesky(covariance)).score(x)

    return score


@pytest.mark.parametrize("divergence", [Exact(), Hutchinson(probes=20)], ids=["exact", "hutchinson"])
def test_log_likelihood_is_the_law_of_the_pair(divergence):
    """scipy's normal in the plane, at t_min; two entries of data, each a pair of its own."""
    sde = CriticallyDamped()
    E, covariance = sde.moments(sde.t_min, STD**2)
    law = stats.multivariate_normal((E @ torch.tensor([MEAN, 0.0]).double()).numpy(), covariance.numpy())
    x = torch.tensor([[[0.7, 0.2], [0.0, 0.1]], [[1.1, 0.5], [-0.1, 0.2]], [[0.3, 0.9], [0.05, 0.0]]]).double()
    exact = torch.from_numpy(law.logpdf(x.movedim(1, 2).numpy())).sum(1)
    found = log_likelihood(sde, score_of_normal(sde), x, divergence=divergence, tolerance=1e-7)
    assert found.latent.shape == x.shape
    if isinstance(divergence, Exact):
        torch.testing.assert_close(found.log_prob, exact, rtol=0, atol=1e-5)
    else:
        assert (((found.log_prob - exact) / found.probe_error).abs() < 4).all()


def test_samplers_of_every_process_give_the_law():
    sde = CriticallyDamped()
    score_fn = score_of_normal(sde)
    for sampler, nfe in ((Sampler(EulerMaruyama(), times=Uniform(1000)), 1000), (FlowSampler(), None)):
        samples = sampler.sample(sde, score_fn, (4000, 2, 1), dtype=torch.float64)
        position = samples.x[:, 0, 0]
        assert position.mean().item() == pytest.approx(MEAN, abs=0.02) and position.std().item() == pytest.approx(STD, abs=0.02)
        assert nfe is None or samples.nfe == nfe


@pytest.mark.parametrize("sde", PROCESSES, ids=name)
def test_std_is_that_of_the_kernel(sde):
    x, t = torch.zeros(2, 3), interior(sde)[5]
    for time in (t, t.expand(2)):
        torch.testing.assert_close(sde.std(x, time), SDE.std(sde, x, time), rtol=0, atol=0)
    assert VPSDE().std(x, 0.5).item() == pytest.approx(math.sqrt(1 - math.exp(-(0.1 * 0.5 + 0.5 * 19.9 * 0.25))), rel=1e-12)
