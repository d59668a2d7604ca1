"""How well one number tells two sets apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["AUROC", "auroc"]


class AUROC(NamedTuple):
    """Area under the ROC curve and its standard error, which is 0, and says nothing, where the sets do not overlap.

    pairs is how many independent pairs, of one from each set, there are: the size of the smaller set.
    """

    value: float
    standard_error: float
    pairs: int

    @property
    def bound(self) -> float:
        """How near to its end the area is known to be, with 95 % confidence, where the sets do not overlap.

        All of the pairs are in one order with probability area^pairs, so that an area below 0.05^(1 / pairs) would have shown
        another one time in twenty: about 1 - 3 / pairs; and the mirror image of it at 0.

        Reference: Clopper and Pearson, 1934, Biometrika 26, 404-413; Hanley and Lippman-Hand, 1983, JAMA 249, 1743-1745.
        """
        least = 0.05 ** (1 / self.pairs)
        return least if self.value > 0.5 else 1 - least

    def __str__(self) -> str:
        if self.value in (0, 1):
            return f"{self.value:.3f} ({'>=' if self.value else '<='} {self.bound:.3f})"
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
    return AUROC(float(above.mean()), float(variance**0.5), min(len(strange), len(usual)))
