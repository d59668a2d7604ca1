"""VP experiments of the Score-SDE paper: DDPM, DDPM++ and NCSN++ trained at 1000 levels, or at all times (continuous).

Reference: Song et al., 2021, arXiv 2011.13456, appendices C, G and H; settings of the released configs/vp.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.presets.common import CENTRED, VP_ANCESTRAL, start

__all__ = [
    "vp_cifar10_ddpmpp",
    "vp_cifar10_ddpmpp_continuous",
    "vp_cifar10_ddpmpp_deep_continuous",
    "vp_cifar10_ncsnpp",
    "vp_cifar10_ncsnpp_continuous",
    "vp_cifar10_ncsnpp_deep_continuous",
    "vp_ddpm_bedroom",
    "vp_ddpm_celebahq",
    "vp_ddpm_church",
    "vp_ddpm_cifar10",
    "vp_ddpm_cifar10_continuous",
    "vp_ddpm_cifar10_unconditional",
]

NCSNPP = "ncsnpp(blocks={blocks}, fir=(1, 3, 3, 1), progressive_input='residual')"


def _levels(network: str, size: int = 32) -> ConfigDict:
    """Trained at the levels of DDPM's table; ancestral sampling."""
    if size == 32:
        config = start(size, CENTRED, steps=1_300_000, batch_size=128, learning_rate=2e-4, ema=0.9999)
    else:
        config = start(size, CENTRED, steps=2_400_000, batch_size=64, learning_rate=2e-5, ema=0.9999)
    config.sde, config.parameterization = "ddpm", "epsilon(label='index')"
    config.network = network
    config.sample.sampler = VP_ANCESTRAL
    return config


def _continuous(network: str, steps: int = 1_300_000) -> ConfigDict:
    """Trained at all times; Euler-Maruyama, 1000 network calls."""
    config = start(32, CENTRED, steps, batch_size=128, learning_rate=2e-4, ema=0.9999)
    config.sde, config.parameterization = "vp", "epsilon(label='time')"
    config.network = network
    config.sample.sampler = "pc(predictor=euler_maruyama, times=uniform(steps=999, t_min=0.001), last='denoise')"
    return config


def vp_ddpm_cifar10() -> ConfigDict:
    """DDPM on CIFAR-10.

    Published: FID 3.24 (ODE 3.37), 3.28 bits/dim; Song et al., 2021, arXiv 2011.13456, table 2, released code.
    """
    return _levels("ddpm")


def vp_ddpm_cifar10_unconditional() -> ConfigDict:
    """DDPM on CIFAR-10, not told the noise level.

    Published: not known.
    """
    return _levels("ddpm(conditional=False)")


def vp_ddpm_cifar10_continuous() -> ConfigDict:
    """DDPM cont. on CIFAR-10.

    Published: FID (ODE) 3.69, 3.21 bits/dim; Song et al., 2021, arXiv 2011.13456, table 2, released code.
    """
    return _continuous("ddpm")


def vp_ddpm_bedroom() -> ConfigDict:
    """DDPM on LSUN bedrooms.

    Published: not known.
    """
    return _levels("ddpm(multipliers=(1, 1, 2, 2, 4, 4), attention=(4,), dropout=0.0)", size=256)


def vp_ddpm_church() -> ConfigDict:
    """DDPM on LSUN churches.

    Published: not known.
    """
    return vp_ddpm_bedroom()


def vp_ddpm_celebahq() -> ConfigDict:
    """DDPM on CelebA-HQ, 256 pixels.

    Published: not known.
    """
    return vp_ddpm_bedroom()


def vp_cifar10_ddpmpp() -> ConfigDict:
    """DDPM++ on CIFAR-10.

    Published: FID 2.78, IS 9.64; Song et al., 2021, arXiv 2011.13456, table 3, released code.
    """
    return _levels("ncsnpp")


def vp_cifar10_ddpmpp_continuous() -> ConfigDict:
    """DDPM++ cont. on CIFAR-10.

    Published: FID 2.55 (ODE 3.93), IS 9.58, 3.16 bits/dim; Song et al., 2021, arXiv 2011.13456, tables 2, 3, released code.
    """
    return _continuous("ncsnpp")


def vp_cifar10_ddpmpp_deep_continuous() -> ConfigDict:
    """DDPM++ cont. (deep) on CIFAR-10.

    Published: FID 2.41 (ODE 3.08), IS 9.68, 3.13 bits/dim; Song et al., 2021, arXiv 2011.13456, tables 2, 3, released code.
    """
    return _continuous("ncsnpp(blocks=8)", steps=950_000)


def vp_cifar10_ncsnpp() -> ConfigDict:
    """NCSN++ under VP on CIFAR-10; reverse diffusion.

    Published: not known.
    """
    config = _levels(NCSNPP.format(blocks=4))
    config.sample.sampler = "pc(predictor=reverse_diffusion, times=table, last='denoise')"
    return config


def vp_cifar10_ncsnpp_continuous() -> ConfigDict:
    """NCSN++ cont. under VP on CIFAR-10.

    Published: not known.
    """
    return _continuous(NCSNPP.format(blocks=4))


def vp_cifar10_ncsnpp_deep_continuous() -> ConfigDict:
    """NCSN++ cont. (deep) under VP on CIFAR-10.

    Published: not known.
    """
    return _continuous(NCSNPP.format(blocks=8), steps=950_000)
