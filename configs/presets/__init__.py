"""Published experiments by name, as differences from configs/default.py. Each docstring states the published results.

python run.py --config ve_cifar10_ncsnpp_continuous --mode train --data cifar10.npy
"""

from __future__ import annotations

from collections.abc import Callable

from ml_collections import ConfigDict

from configs.presets import ddpm, ncsn, subvp, ve, vp

__all__ = ["PRESETS"]

PRESETS: dict[str, Callable[[], ConfigDict]] = {
    name: getattr(family, name) for family in (ddpm, ncsn, ve, vp, subvp) for name in family.__all__
}
