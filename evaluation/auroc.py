"""How well one number tells two sets apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["AUROC", "auroc"]


class AUROC(NamedTuple):
    """Area under the ROC curve and its standard error, which is 0, and says nothing, where the sets do not overlap."""

    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:.3f} +- {self.standard_error:.3f}"


def auroc(strange: np.ndarray, usual: np.ndarray) -> AUROC:
    """P(a strange one's score is above a usual one's), ties for half, from scores (m,) and (n,), with DeLong's standard error.

    The variance is that of P(s > usual) over strange s, over m, and that of P(strange > u) over usual u, over n.
    Raises ValueError for fewer than two scores in a set, or scores that are NaN.

    Reference: DeLong, DeLong, Clarke-Pearson, 1988, Biometrics 44, equations 1 to 5.

    >>> print(auroc(np.array([1.0, 3.0]), np.array([0.0, 2.0])))
    0.750 +- 0.354
    """
    if min(len(strange), len(usual)) < 2 or np.isnan(strange).any() or np.isnan(usual).any():
        raise ValueError(f"auroc got {len(strange)} and {len(usual)} scores: two or more of each, and none NaN, are needed")
    above = (strange[:, None] > usual) + 0.5 * (strange[:, None] == usual)
    variance = above.mean(1).var(ddof=1) / len(strange) + above.mean(0).var(ddof=1) / len(usual)
    return AUROC(float(above.mean()), float(variance**0.5))
