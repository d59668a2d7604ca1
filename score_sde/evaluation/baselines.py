"""Baselines: bits/dim of models without a network."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from likelihood.results import standard_error
from sde_lib import Images, RowNoise
from sde_lib.data import chunks
from sde_lib.noise import Stream

__all__ = ["Baseline", "baselines", "categorical", "gaussian_mixture", "standard_normal"]


class Baseline(NamedTuple):
    """The name of a baseline, and its mean on the test set with the standard error, in bits/dim or nats."""

    name: str
    mean: float
    standard_error: float


def baselines(train: Tensor, test: Tensor, images: Images, seed: int) -> list[Baseline]:
    """Up to three baselines on integer images (N, *shape), each fitted to train and scored on test.

    The mixture is left out when fitting it would take hours: 10 N d^2 is 6e7 for the digits, which take seconds. The categorical
    model is left out when its table would have more than 2^27 entries.
    """
    mixture = [gaussian_mixture(train, test, images, seed)] if 10 * len(train) * train[0].numel() ** 2 < 1e9 else []
    table = [categorical(train, test, images)] if train[0].numel() * images.levels <= 1 << 27 else []
    return [*table, *mixture, standard_normal(test, images, seed)]


def categorical(train: Tensor, test: Tensor, images: Images) -> Baseline:
    """Independent categorical pixels, with the frequencies of the levels in train plus half a count for each level."""
    counts = torch.full((train[0].numel(), images.levels), 0.5, dtype=torch.float64)
    for part in chunks(train):  # the data may be mapped, and larger than the memory
        pixels = part.flatten(1).long().T
        counts.scatter_add_(1, pixels, torch.ones(1, 1, dtype=torch.float64).expand(pixels.shape))
    log_p = (counts / counts.sum(1, keepdim=True)).log2()
    of_part = (log_p.expand(len(part), -1, -1).gather(2, part.flatten(1).long()[..., None]) for part in chunks(test))
    return _summary("independent categorical pixels", -torch.cat([each[..., 0].mean(1) for each in of_part]))


def gaussian_mixture(train: Tensor, test: Tensor, images: Images, seed: int) -> Baseline:
    """A mixture of Gaussians with full covariances. Its number of components is chosen on the last fifth of train.

    Each training image is dequantized ten times, so that the covariances do not fit the noise of one draw.
    """
    y = _dequantized(test, images, seed + 1)
    x = _dequantized(train.repeat(10, *[1] * (train.ndim - 1)), images, seed)
    cut = len(train) - len(train) // 5
    fit, held_out = _dequantized(train[:cut].repeat(4, *[1] * (train.ndim - 1)), images, seed), x[cut : len(train)]

    def mixture(components: int, data: np.ndarray) -> GaussianMixture:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return GaussianMixture(components, reg_covar=5e-4, max_iter=50, random_state=seed % 2**32).fit(data)

    most = min(9, len(fit))
    best = max(range(1, most + 1), key=lambda components: mixture(components, fit).score(held_out))
    nats = torch.from_numpy(mixture(best, x).score_samples(y))
    return _summary(f"mixture of {best} Gaussians, full covariance", _bits(nats, images, y.shape[1]))


def standard_normal(test: Tensor, images: Images, seed: int) -> Baseline:
    """N(0, 1) in the units of the states: the score of a model that has learned nothing."""
    nats, first = [], 0
    for part in chunks(test):
        y = torch.from_numpy(_dequantized(part, images, seed + 1, first))
        nats.append(-0.5 * (y**2 + math.log(2 * math.pi)).sum(1))
        first += len(part)
    return _summary("standard normal", _bits(torch.cat(nats), images, test[0].numel()))


def _dequantized(codes: Tensor, images: Images, seed: int, first: int = 0) -> np.ndarray:
    u = RowNoise(seed, torch.arange(first, first + len(codes)), Stream.DEQUANTIZE).uniform(
        torch.empty(codes.shape, dtype=torch.float64)
    )
    return images.dequantize(codes, u).flatten(1).numpy()


def _bits(nats: Tensor, images: Images, dims: int) -> Tensor:
    return -(nats + images.log_det(dims)) / (dims * math.log(2))


def _summary(name: str, bits: Tensor) -> Baseline:
    return Baseline(name, bits.mean().item(), standard_error(bits).item())
