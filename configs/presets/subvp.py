"""sub-VP experiments of the Score-SDE paper: those of VP at all times, under another process.

Reference: Song et al., 2021, arXiv 2011.13456, equation 12 and appendices C and H; settings of the released configs/subvp.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.presets import vp

__all__ = [
    "subvp_cifar10_ddpm_continuous",
    "subvp_cifar10_ddpmpp_continuous",
    "subvp_cifar10_ddpmpp_deep_continuous",
    "subvp_cifar10_ncsnpp_continuous",
    "subvp_cifar10_ncsnpp_deep_continuous",
]


def _under_subvp(config: ConfigDict) -> ConfigDict:
    """A config changed to sub-VP. Its training times go down to t = 1e-5, as under VP."""
    config.sde = "subvp"
    config.objective = "dsm(times=uniform(t_min=1e-05))"
    return config


def subvp_cifar10_ddpm_continuous() -> ConfigDict:
    """DDPM cont. on CIFAR-10.

    Published: FID (ODE) 3.56, 3.05 bits/dim; Song et al., 2021, arXiv 2011.13456, table 2, released code.
    """
    return _under_subvp(vp.vp_ddpm_cifar10_continuous())


def subvp_cifar10_ddpmpp_continuous() -> ConfigDict:
    """DDPM++ cont. on CIFAR-10.

    Published: FID 2.61 (ODE 3.16), IS 9.56, 3.02 bits/dim; Song et al., 2021, arXiv 2011.13456, tables 2, 3, released code.
    """
    return _under_subvp(vp.vp_cifar10_ddpmpp_continuous())


def subvp_cifar10_ddpmpp_deep_continuous() -> ConfigDict:
    """DDPM++ cont. (deep) on CIFAR-10.

    Published: FID 2.41 (ODE 2.92), IS 9.57, 2.99 bits/dim; Song et al., 2021, arXiv 2011.13456, tables 2, 3, released code.
    """
    return _under_subvp(vp.vp_cifar10_ddpmpp_deep_continuous())


def subvp_cifar10_ncsnpp_continuous() -> ConfigDict:
    """NCSN++ cont. under sub-VP on CIFAR-10.

    Published: not known.
    """
    return _under_subvp(vp.vp_cifar10_ncsnpp_continuous())


def subvp_cifar10_ncsnpp_deep_continuous() -> ConfigDict:
    """NCSN++ cont. (deep) under sub-VP on CIFAR-10.

    Published: not known.
    """
    return _under_subvp(vp.vp_cifar10_ncsnpp_deep_continuous())
