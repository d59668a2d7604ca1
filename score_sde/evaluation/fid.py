"""The Frechet distance between two sets of features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Distance", "frechet", "frechet_distance"]


class Distance(NamedTuple):
    """A Frechet distance, and its standard error from resamples of the first set."""

    value: float
    standard_error: float


def frechet(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), of two Gaussians; never negative.

    Reference: Dowson and Landau, 1982; Heusel et al., 2017, arXiv 1706.08500, equation 6.

    >>> frechet(np.zeros(1), np.eye(1), np.ones(1), 4 * np.eye(1))
    2.0
    """
    # tr (C_a C_b)^(1/2) = tr (C_a^(1/2) C_b C_a^(1/2))^(1/2), and this matrix is symmetric.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return max(0.0, float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross))


def frechet_distance(a: np.ndarray, b: np.ndarray, resamples: int = 50, seed: int = 0) -> Distance:
    """The Frechet distance of features a (N, d) from features b (M, d), each modelled as a Gaussian.

    It is biased upwards, and more so for fewer rows. So compare only sets of the same size.

    Raises:
        ValueError: when a set has fewer than two rows, or the widths differ.

    Reference: Heusel et al., 2017, arXiv 1706.08500.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features of shapes {a.shape} and {b.shape}: (rows, width) of one width and two rows at least are needed")

    def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x.mean(0), np.atleast_2d(np.cov(x, rowvar=False))

    of_b = moments(b)
    rng = np.random.default_rng(seed)
    again = [frechet(*moments(a[rng.integers(0, len(a), len(a))]), *of_b) for _ in range(resamples)]
    return Distance(frechet(*moments(a), *of_b), float(np.std(again, ddof=1)))
