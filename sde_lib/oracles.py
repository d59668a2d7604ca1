"""Oracles for Gaussians, mixtures of Gaussians, and points."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sde_lib.linear import LinearSDE
from sde_lib.noise import RowNoise
from sde_lib.oracle import Oracle
from sde_lib.tensors import Time, as_time

__all__ = ["GaussianOracle", "MixtureOracle", "PointsOracle"]


def _choose(noise: RowNoise, n: int, log_weights: Tensor) -> Tensor:
    """Indices, (n,), drawn in proportion to weights that sum to 1; one draw of the noise."""
    u = noise.uniform(torch.empty(n, 1, dtype=torch.float64))
    cumulative = log_weights.exp().cumsum(0).cpu()  # where the noise is
    return torch.searchsorted(cumulative, u.squeeze(1).contiguous()).clamp_max(len(cumulative) - 1)


class GaussianOracle(Oracle):
    """Gaussian data N(mean, std^2), or N(mean, covariance) with a full covariance.

    mean is (*shape); std is a number or broadcasts to mean; covariance is (d, d), d the number of entries of mean.

    Raises:
        ValueError: when both std and covariance are given, or neither is.

    >>> oracle = GaussianOracle(torch.zeros(2), std=2.0)
    >>> oracle.log_prob(torch.zeros(1, 2))
    tensor([-3.2242], dtype=torch.float64)
    """

    def __init__(self, mean: Tensor, std: Tensor | float | None = None, *, covariance: Tensor | None = None) -> None:
        if (std is None) == (covariance is None):
            raise ValueError("a Gaussian needs either std or covariance, and got both or neither")
        self.shape = tuple(mean.shape)
        self.mean = mean.double().flatten()
        self.axes: Tensor | None = None
        if covariance is None:
            self.variances = (torch.as_tensor(std, dtype=torch.float64).expand(self.shape).flatten()) ** 2
        else:
            self.variances, self.axes = torch.linalg.eigh(covariance.double())

    def _whiten(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(x - alpha mean) along the axes, and the variances alpha^2 v + sigma^2 there: both (B, d)."""
        centred = x.flatten(1) - alpha[:, None] * self.mean.to(x.device)
        if self.axes is not None:
            centred = centred @ self.axes.to(x.device)
        return centred, (alpha**2)[:, None] * self.variances.to(x.device) + (sigma**2)[:, None]

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log N(x; alpha mean, alpha^2 covariance + sigma^2), (B,)."""
        centred, variances = self._whiten(x, alpha, sigma)
        return -0.5 * (centred**2 / variances + torch.log(2 * math.pi * variances)).sum(1)

    def score_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """-(alpha^2 covariance + sigma^2)^-1 (x - alpha mean), (B, *shape)."""
        centred, variances = self._whiten(x, alpha, sigma)
        score = -centred / variances
        return (score if self.axes is None else score @ self.axes.to(x.device).T).reshape(x.shape)

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n data, (n, *shape), float64."""
        z = RowNoise(seed, n)(torch.empty(n, len(self.mean), dtype=torch.float64)) * self.variances.sqrt()
        return (self.mean + (z if self.axes is None else z @ self.axes.T)).reshape(n, *self.shape)


class MixtureOracle(Oracle):
    """A mixture of Gaussians: weights (K,), means (K, *shape), stds (K,) or (K, *shape). The weights are normalised.

    Raises:
        ValueError: when the numbers of weights, means and stds differ.

    >>> oracle = MixtureOracle(weights=[0.2, 0.8], means=torch.tensor([[-1.0], [1.0]]), stds=torch.tensor([0.1, 0.1]))
    >>> oracle.sample(1000, seed=0).mean() > 0.5
    tensor(True)
    """

    def __init__(self, weights: Tensor | list[float], means: Tensor, stds: Tensor | list[float]) -> None:
        w = torch.as_tensor(weights, dtype=torch.float64)
        self.log_weights = (w / w.sum()).log()
        self.shape = tuple(means.shape[1:])
        self.means = means.double().flatten(1)
        stds = torch.as_tensor(stds, dtype=torch.float64)
        stds = stds.reshape(len(w), -1) if stds.ndim > 1 else stds[:, None]
        if not len(w) == len(means) == len(stds):
            raise ValueError(f"a mixture got {len(w)} weights, {len(means)} means and {len(stds)} stds: one of each is needed")
        self.variances = stds**2  # (K, 1), or (K, d)

    def _terms(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log of weight times density (K, B); x - alpha mean (d, K, B); variances (d or 1, K, B).

        The rows come last, so that sums over few entries and few components run along long rows: four times as fast at
        d = 2, K = 8. A variance that is common to all entries has one logarithm.
        """
        means, variances = (v.to(x.device).T[:, :, None] for v in (self.means, self.variances))
        variances = alpha**2 * variances + sigma**2
        centred = x.flatten(1).T.contiguous()[:, None] - alpha * means
        log_det = torch.log(2 * math.pi * variances).sum(0) * (len(means) / len(variances))
        return self.log_weights.to(x.device)[:, None] - 0.5 * ((centred**2 / variances).sum(0) + log_det), centred, variances

    def components(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log of weight times density (B, K); x - alpha mean, and variances: (B, K, d)."""
        joint, centred, variances = self._terms(x, alpha, sigma)
        return joint.T, centred.permute(2, 1, 0), variances.expand_as(centred).permute(2, 1, 0)

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log of the mixture at x_t, (B,)."""
        return self._terms(x, alpha, sigma)[0].logsumexp(0)

    def score_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Gradient of log_density, (B, *shape)."""
        joint, centred, variances = self._terms(x, alpha, sigma)
        return -(joint.softmax(0) * centred / variances).sum(1).T.reshape(x.shape)

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n data, (n, *shape), float64."""
        noise = RowNoise(seed, n)
        k = _choose(noise, n, self.log_weights)
        z = noise(torch.empty(n, self.means.shape[1], dtype=torch.float64))
        return (self.means[k] + self.variances[k].sqrt() * z).reshape(n, *self.shape)


class PointsOracle(Oracle):
    """A discrete law on given points: points (K, *shape), weights (K,), equal unless given, and normalised.

    p_t(x) = sum_k w_k N(x; alpha y_k, sigma^2): the law of a network that has learnt its training set by heart. At t = 0 there is
    no density.

    Raises:
        ValueError: when there are no points, or another number of weights.
        ValueError: when a weight is below 0, or all are 0.
        ValueError: when a density at t = 0 is asked for.

    >>> oracle = PointsOracle(torch.tensor([[-1.0], [1.0]]), weights=[1, 3])
    >>> oracle.sample(4, seed=0).flatten(), round(oracle.entropy, 4)
    (tensor([ 1.,  1., -1.,  1.], dtype=torch.float64), 0.5623)
    """

    def __init__(self, points: Tensor, weights: Tensor | list[float] | None = None) -> None:
        if len(points) == 0:
            raise ValueError(f"points have shape {tuple(points.shape)}, and at least one point, (K, *shape), was needed")
        w = torch.ones(len(points)) if weights is None else torch.as_tensor(weights, dtype=torch.float64)
        if len(w) != len(points):
            raise ValueError(f"a law on points got {len(points)} points and {len(w)} weights: one of each is needed")
        if not ((w >= 0).all() and w.sum() > 0):
            raise ValueError(f"a law on points got weights from {w.min():g} to {w.max():g}: from 0 up, and not all 0, are needed")
        w = w.to(points.device, torch.float64)
        self.log_weights = (w / w.sum()).log()
        self.shape = tuple(points.shape[1:])
        self.points = points.double().flatten(1)
        self._centre = self.points.mean(0)

    @property
    def entropy(self) -> float:
        """-sum_k w_k log w_k of the distinct points, in nats."""
        _, which = self.points.unique(dim=0, return_inverse=True)
        w = torch.zeros_like(self.log_weights).index_add(0, which, self.log_weights.exp())
        return torch.special.entr(w).sum().item()

    def _kernels(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x - alpha c; y - c; and log of w_k N(x; alpha y_k, sigma^2) but for what is common to all k, (B, K).

        The square is expanded, so that K points of d entries cost a matrix product and no (B, K, d) numbers; c, the mean
        of the points, keeps |x - alpha c|^2 / sigma^2, whose round-off is that of the result, as small as it can be.
        """
        centre = self._centre.to(x.device)
        centred, points = x.flatten(1) - alpha[:, None] * centre, self.points.to(x.device) - centre
        cross = centred @ points.T - 0.5 * alpha[:, None] * (points**2).sum(1)
        return centred, points, self.log_weights.to(x.device) + (alpha / sigma**2)[:, None] * cross

    def log_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log of the mixture of kernels at x_t, (B,)."""
        centred, points, joint = self._kernels(x, alpha, sigma)
        common = -0.5 * (centred**2).sum(1) / sigma**2 - points.shape[1] * (math.sqrt(2 * math.pi) * sigma).log()
        return joint.logsumexp(1) + common

    def score_density(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(alpha E[y | x] - x) / sigma^2, (B, *shape)."""
        centred, points, joint = self._kernels(x, alpha, sigma)
        return ((alpha[:, None] * (joint.softmax(1) @ points) - centred) / (sigma**2)[:, None]).reshape(x.shape)

    def log_prob(self, x: Tensor, sde: LinearSDE | None = None, t: Time = 0.0) -> Tensor:
        """log p_t(x) in nats, (B,), float64, for t > 0.

        Raises:
            ValueError: when t is 0, or no process is given.
        """
        if sde is None or (as_time(t) <= 0).any():
            raise ValueError("points have no density at t = 0: give a process and a time, log_prob(x, sde, t) with t > 0")
        return super().log_prob(x, sde, t)

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n data, (n, *shape), float64."""
        return self.points[_choose(RowNoise(seed, n), n, self.log_weights)].reshape(n, *self.shape)
