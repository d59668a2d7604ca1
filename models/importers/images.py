"""Images as most projects give them to their networks: scaled to a range, without dequantization."""

from __future__ import annotations

from sde_lib import Images

__all__ = ["levels_from"]


def levels_from(low: float, levels: int = 256) -> Images:
    """Images whose levels stand evenly at low, ..., 1, both included. Each bin reaches half a spacing to both sides of its level.

    >>> levels_from(0.0, levels=3)
    Images(levels=3, low=-0.25, high=1.25)
    """
    half = (1 - low) / (2 * (levels - 1))
    return Images(levels, low - half, 1 + half)
