"""VE experiments of the Score-SDE paper: NCSN++ and DDPM trained at 1000 levels, or at all times (continuous).

Reference: Song et al., 2021, arXiv 2011.13456, appendices C, G and H; settings of the released configs/ve.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.presets.common import UNIT, VE_PC, start

__all__ = [
    "ve_bedroom_ncsnpp_continuous",
    "ve_celeba_ncsnpp",
    "ve_celebahq_256_ncsnpp_continuous",
    "ve_celebahq_ncsnpp_continuous",
    "ve_church_ncsnpp_continuous",
    "ve_cifar10_ddpm",
    "ve_cifar10_ncsnpp",
    "ve_cifar10_ncsnpp_continuous",
    "ve_cifar10_ncsnpp_deep_continuous",
    "ve_ffhq_256_ncsnpp_continuous",
    "ve_ffhq_ncsnpp_continuous",
]

NCSNPP = "ncsnpp(fir=(1, 3, 3, 1), progressive_input='residual', unit_range=True, scale_by_sigma=True, {more})"
LARGE = (
    "ncsnpp({more}, dropout=0.0, embedding='fourier', fir=(1, 3, 3, 1), "
    "progressive_input='input_skip', progressive_output='output_skip', unit_range=True, scale_by_sigma=True)"
)


def _levels(network: str, size: int, sigma_max: float, snr: float) -> ConfigDict:
    """An experiment that is trained at 1000 sigmas, and sampled by reverse diffusion with Langevin corrections."""
    config = start(size, UNIT, steps=1_300_000, batch_size=128, learning_rate=2e-4, ema=0.999)
    config.sde, config.parameterization = f"ncsn(sigma_min=0.01, sigma_max={sigma_max}, levels=1000)", "score(label='index')"
    config.network = network
    config.sample.sampler = VE_PC.format(snr=snr, times="table")
    return config


def _continuous(
    network: str, size: int, sigma_max: float, snr: float, calls: int, steps: int, batch_size: int, ema: float
) -> ConfigDict:
    """An experiment that is trained at all times, and sampled as `_levels` on a grid of so many network calls."""
    config = start(size, UNIT, steps, batch_size, learning_rate=2e-4, ema=ema)
    config.sde, config.parameterization = f"ve(sigma_min=0.01, sigma_max={sigma_max})", "score(label='sigma')"
    config.network = network
    config.sample.sampler = VE_PC.format(snr=snr, times=f"uniform(steps={calls - 1}, t_min=1e-05)")
    return config


def _cifar10(blocks: int, steps: int) -> ConfigDict:
    network = NCSNPP.format(more=f"embedding='fourier', blocks={blocks}")
    return _continuous(network, 32, 50.0, snr=0.16, calls=1000, steps=steps, batch_size=128, ema=0.999)


def _of_256(sigma_max: float) -> ConfigDict:
    network = LARGE.format(more="multipliers=(1, 1, 2, 2, 2, 2, 2), blocks=2, attention=(4,)")
    return _continuous(network, 256, sigma_max, snr=0.075, calls=2000, steps=2_400_000, batch_size=64, ema=0.999)


def _of_1024() -> ConfigDict:
    network = LARGE.format(more="channels=16, multipliers=(1, 2, 4, 8, 16, 32, 32, 32), blocks=1, attention=(6,)")
    return _continuous(network, 1024, 1348.0, snr=0.15, calls=2000, steps=2_400_000, batch_size=8, ema=0.9999)


def ve_cifar10_ddpm() -> ConfigDict:
    """DDPM's network under VE on CIFAR-10.

    Published: not known.
    """
    return _levels("ddpm(unit_range=True, sigmas=(0.01, 50.0, 1000))", 32, 50.0, snr=0.16)


def ve_cifar10_ncsnpp() -> ConfigDict:
    """NCSN++ on CIFAR-10.

    Published: FID 2.45, IS 9.73; Song et al., 2021, arXiv 2011.13456, table 3, released code.
    """
    return _levels(NCSNPP.format(more="sigmas=(0.01, 50.0, 1000)"), 32, 50.0, snr=0.16)


def ve_cifar10_ncsnpp_continuous() -> ConfigDict:
    """NCSN++ cont. on CIFAR-10.

    Published: FID 2.38, IS 9.83; Song et al., 2021, arXiv 2011.13456, table 3, released code.
    """
    return _cifar10(blocks=4, steps=1_300_000)


def ve_cifar10_ncsnpp_deep_continuous() -> ConfigDict:
    """NCSN++ cont. (deep) on CIFAR-10.

    Published: FID 2.20, IS 9.89; Song et al., 2021, arXiv 2011.13456, table 3, released code.
    """
    return _cifar10(blocks=8, steps=950_000)


def ve_celeba_ncsnpp() -> ConfigDict:
    """NCSN++ on CelebA, 64 pixels.

    Published: not known.
    """
    return _levels(NCSNPP.format(more="attention=(2,), sigmas=(0.01, 90.0, 1000)"), 64, 90.0, snr=0.17)


def ve_bedroom_ncsnpp_continuous() -> ConfigDict:
    """NCSN++ cont. on LSUN bedrooms, 256 pixels.

    Published: samples only.
    """
    return _of_256(sigma_max=378.0)


def ve_church_ncsnpp_continuous() -> ConfigDict:
    """NCSN++ cont. on LSUN churches, 256 pixels.

    Published: samples only.
    """
    return _of_256(sigma_max=380.0)


def ve_ffhq_256_ncsnpp_continuous() -> ConfigDict:
    """NCSN++ cont. on FFHQ, 256 pixels.

    Published: samples only.
    """
    return _of_256(sigma_max=348.0)


def ve_celebahq_256_ncsnpp_continuous() -> ConfigDict:
    """NCSN++ cont. on CelebA-HQ, 256 pixels.

    Published: samples only.
    """
    return _of_256(sigma_max=348.0)


def ve_ffhq_ncsnpp_continuous() -> ConfigDict:
    """NCSN++ cont. on FFHQ, 1024 pixels.

    Published: samples only.
    """
    return _of_1024()


def ve_celebahq_ncsnpp_continuous() -> ConfigDict:
    """NCSN++ cont. on CelebA-HQ, 1024 pixels.

    Published: samples only.
    """
    return _of_1024()
