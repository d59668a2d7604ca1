"""The area under the ROC curve: how well a score separates two sets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["AUROC", "auroc"]


class AUROC(NamedTuple):
    """The area under the ROC curve and its standard error. When the sets do not overlap the error is 0: use bound instead.

    pairs is the number of independent pairs with one element of each set: the size of the smaller set.
    """

    value: float
    standard_error: float
    pairs: int

    @property
    def bound(self) -> float:
        """The 95 % confidence bound of the area when the sets do not overlap: 0.05^(1 / pairs), about 1 - 3 / pairs.

        All pairs are in one order with probability area^pairs. For an area below the bound that is less than 5 %. The bound of
        an area of 0 is the mirror image.

        Reference: Clopper and Pearson, 1934, Biometrika 26, 404-413; Hanley and Lippman-Hand, 1983, JAMA 249, 1743-1745.
        """
        least = 0.05 ** (1 / self.pairs)
        return least if self.value > 0.5 else 1 - least

    def __str__(self) -> str:
        if self.value in (0, 1):
            return f"{self.value:.3f} ({'>=' if self.value else '<='} {self.bound:.3f})"
        return f"{self.value:.3f} +- {self.standard_error:.3f}"


def auroc(strange: np.ndarray, usual: np.ndarray) -> AUROC:
    """P(s > u) + P(s = u) / 2 for a strange score s and a usual score u, with DeLong's standard error.

    strange is (m,) and usual (n,). The variance is var_s P(s > u | s) / m + var_u P(s > u | u) / n.

    Raises:
        ValueError: when a set has fewer than two scores, or a score is NaN.

    Reference: DeLong, DeLong, Clarke-Pearson, 1988, Biometrics 44, equations 1 to 5.

    >>> print(auroc(np.array([1.0, 3.0]), np.array([0.0, 2.0])))
    0.750 +- 0.354
    """
    if min(len(strange), len(usual)) < 2 or np.isnan(strange).any() or np.isnan(usual).any():
        raise ValueError(f"auroc got {len(strange)} and {len(usual)} scores: two or more of each, and none NaN, are needed")
    above = (strange[:, None] > usual) + 0.5 * (strange[:, None] == usual)
    variance = above.mean(1).var(ddof=1) / len(strange) + above.mean(0).var(ddof=1) / len(usual)
    return AUROC(float(above.mean()), float(variance**0.5), min(len(strange), len(usual)))
