"""DDPM and improved-diffusion, as their authors trained them.

Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B; Nichol and Dhariwal, 2021, arXiv 2102.09672; the settings of their
released code, and the steps in the names of their checkpoints.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.presets.common import CENTRED, UNBOUNDED, VP_ANCESTRAL, start

__all__ = [
    "ddpm_bedroom",
    "ddpm_bedroom_large",
    "ddpm_cat",
    "ddpm_celebahq",
    "ddpm_church",
    "ddpm_cifar10",
    "iddpm_bedroom",
    "iddpm_bedroom_slow",
    "iddpm_cifar10_hybrid",
    "iddpm_cifar10_vlb",
    "iddpm_imagenet64_conditional",
    "iddpm_imagenet64_hybrid",
    "iddpm_imagenet64_vlb",
]

HYBRID, VLB = "hybrid", "vlb(times=loss_aware(levels=4000))"


def _ddpm(config: ConfigDict, network: str) -> ConfigDict:
    config.sde, config.parameterization = "ddpm", "epsilon(label='index')"
    config.network = network
    config.sample.sampler = VP_ANCESTRAL
    config.likelihood.update(estimator="bound", variance="large")
    return config


def _of_256(steps: int, channels: int = 128) -> ConfigDict:
    config = start(256, CENTRED, steps, batch_size=64, learning_rate=2e-5, ema=0.9999)
    network = f"channels={channels}, multipliers=(1, 1, 2, 2, 4, 4), attention=(4,), attend_last=False, dropout=0.0"
    return _ddpm(config, f"ddpm({network})")


def _iddpm(size: int, steps: int, learning_rate: float, sde: str, label: str, objective: str, network: str) -> ConfigDict:
    """An experiment of improved-diffusion, which learns a variance between those of the posterior and of the transition."""
    config = start(size, CENTRED, steps, 128, learning_rate, ema=0.9999, warmup=0, clip=UNBOUNDED)
    config.train.flip = False
    config.sde, config.parameterization = sde, f"with_variance(of=epsilon(label='{label}'))"
    config.objective, config.network = objective, network
    config.sample.sampler = "pc(predictor=ancestral(variance='learned'), times=table, last='denoise')"
    config.likelihood.estimator = "bound"
    return config


def _cifar10(objective: str) -> ConfigDict:
    """Levels of the cosine schedule, rescaled to 1000 for the network."""
    network = "channels=128, multipliers=(1, 2, 2, 2), attention=(1, 2), heads=4, head_channels=None, dropout=0.3, resample='conv'"
    return _iddpm(32, 500_000, 1e-4, "ddpm(schedule=cosine, steps=4000)", "index_of_1000", objective, f"adm({network})")


def _imagenet64(objective: str) -> ConfigDict:
    network = "channels=128, attention=(2, 3), heads=4, head_channels=None, dropout=0.0, resample='conv'"
    return _iddpm(64, 1_500_000, 1e-4, "ddpm(schedule=cosine, steps=4000)", "index_of_1000", objective, f"adm({network})")


def _bedroom(steps: int, learning_rate: float) -> ConfigDict:
    network = (
        "adm(channels=128, multipliers=(1, 1, 2, 2, 4, 4), blocks=2, attention=(4,), head_channels=None, dropout=0.0, "
        "modulation='add', resample='conv')"
    )
    return _iddpm(256, steps, learning_rate, "ddpm", "index", HYBRID, network)


def ddpm_cifar10() -> ConfigDict:
    """DDPM on CIFAR-10.

    Published: FID 3.17, IS 9.46, at most 3.75 bits/dim; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, table 1.
    """
    config = start(32, CENTRED, 800_000, batch_size=128, learning_rate=2e-4, ema=0.9999)
    return _ddpm(config, "ddpm(attend_last=False)")


def ddpm_celebahq() -> ConfigDict:
    """DDPM on CelebA-HQ, 256 pixels.

    Published: samples only.
    """
    return _of_256(steps=500_000)


def ddpm_bedroom() -> ConfigDict:
    """DDPM on LSUN bedrooms, 256 pixels.

    Published: FID 6.36; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, table 3.
    """
    return _of_256(steps=2_400_000)


def ddpm_bedroom_large() -> ConfigDict:
    """DDPM on LSUN bedrooms, 256 pixels, of 256 million parameters, which are those of 192 channels.

    Published: FID 4.90; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, table 3.
    """
    return _of_256(steps=1_150_000, channels=192)


def ddpm_church() -> ConfigDict:
    """DDPM on LSUN churches, 256 pixels.

    Published: FID 7.89; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, table 3.
    """
    return _of_256(steps=1_200_000)


def ddpm_cat() -> ConfigDict:
    """DDPM on LSUN cats, 256 pixels.

    Published: FID 19.75; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, table 3.
    """
    config = _of_256(steps=1_800_000)
    config.train.flip = False
    return config


def iddpm_cifar10_hybrid() -> ConfigDict:
    """Improved DDPM on CIFAR-10, hybrid objective.

    Published: FID 3.19, at most 3.17 bits/dim; Nichol and Dhariwal, 2021, arXiv 2102.09672, ablations of schedule and objective.
    """
    return _cifar10(HYBRID)


def iddpm_cifar10_vlb() -> ConfigDict:
    """Improved DDPM on CIFAR-10, variational bound.

    Published: FID 11.47, at most 2.94 bits/dim; Nichol and Dhariwal, 2021, arXiv 2102.09672, ablations of schedule and objective.
    """
    return _cifar10(VLB)


def iddpm_imagenet64_hybrid() -> ConfigDict:
    """Improved DDPM on ImageNet, 64 pixels, hybrid objective.

    Published: FID 19.2, at most 3.57 bits/dim; Nichol and Dhariwal, 2021, arXiv 2102.09672, ablations of schedule and objective.
    """
    return _imagenet64(HYBRID)


def iddpm_imagenet64_vlb() -> ConfigDict:
    """Improved DDPM on ImageNet, 64 pixels, variational bound.

    Published: FID 40.1, at most 3.53 bits/dim; Nichol and Dhariwal, 2021, arXiv 2102.09672, ablations of schedule and objective.
    """
    return _imagenet64(VLB)


def iddpm_imagenet64_conditional() -> ConfigDict:
    """Improved DDPM on ImageNet, 64 pixels, with its 1000 classes, hybrid objective.

    Published: FID 2.92; Nichol and Dhariwal, 2021, arXiv 2102.09672, comparison with GANs, samples of 250 steps.
    """
    network = "channels=192, attention=(2, 3), heads=4, head_channels=None, dropout=0.0, resample='conv', condition=1000"
    config = _iddpm(64, 250_000, 3e-4, "ddpm(schedule=cosine, steps=4000)", "index", HYBRID, f"adm({network})")
    config.train.batch_size = 2048
    config.likelihood.estimator = "flow"  # the bound of levels knows no classes
    return config


def iddpm_bedroom() -> ConfigDict:
    """Improved DDPM on LSUN bedrooms, 256 pixels, hybrid objective, linear schedule.

    Published: not known.
    """
    return _bedroom(steps=1_200_000, learning_rate=1e-4)


def iddpm_bedroom_slow() -> ConfigDict:
    """Improved DDPM on LSUN bedrooms, with a fifth of the learning rate, for twice as long.

    Published: not known.
    """
    return _bedroom(steps=2_400_000, learning_rate=2e-5)
