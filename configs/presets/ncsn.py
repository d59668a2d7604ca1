"""NCSN and NCSNv2: their own experiments (ncsn_, ncsnv2_), and what the Score-SDE paper's code made of them (ve_ncsn, ve_ncsnv2).

124, 1245 and 5 are the techniques of NCSNv2 that a network of NCSN is trained with: 1 largest sigma, 2 geometric sigmas, 4 steps of
sampling, 5 an average of the weights.

Reference: Song and Ermon, 2019, arXiv 1907.05600; 2020, arXiv 2006.09011, and the settings of their released code;
Song et al., 2021, arXiv 2011.13456, settings of the released configs/ve/ncsn and configs/ve/ncsnv2.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.presets.common import UNBOUNDED, UNIT, start

__all__ = [
    "ncsn_cifar10",
    "ncsnv2_bedroom",
    "ncsnv2_celeba",
    "ncsnv2_church",
    "ncsnv2_cifar10",
    "ncsnv2_ffhq",
    "ncsnv2_tower",
    "ve_ncsn_celeba",
    "ve_ncsn_celeba_5",
    "ve_ncsn_celeba_124",
    "ve_ncsn_celeba_1245",
    "ve_ncsn_cifar10",
    "ve_ncsn_cifar10_5",
    "ve_ncsn_cifar10_124",
    "ve_ncsn_cifar10_1245",
    "ve_ncsnv2_bedroom",
    "ve_ncsnv2_celeba",
    "ve_ncsnv2_cifar10",
]

STAGES = {
    64: "multipliers=(1, 2, 2, 2), dilations=(1, 1, 2, 4)",
    128: "multipliers=(1, 2, 2, 4, 4), dilations=(1, 1, 1, 2, 4)",
    256: "multipliers=(1, 2, 2, 2, 4, 4), dilations=(1, 1, 1, 1, 2, 4)",
}  # of networks for images of so many pixels, and of fewer

DYNAMICS = "pc(predictor=None, corrector={corrector}, times=table, last='{last}')"


def _sigmas(config: ConfigDict, sigma_max: float, levels: int) -> ConfigDict:
    config.sde, config.parameterization = f"ncsn(sigma_min=0.01, sigma_max={sigma_max}, levels={levels})", "score(label='index')"
    return config


def _ncsnv2(size: int, sigma_max: float, levels: int, epsilon: float, moves: int, steps: int, batch_size: int = 128) -> ConfigDict:
    """Sampled by so many moves at each level, and a last one that takes the noise away."""
    config = start(size, UNIT, steps, batch_size, learning_rate=1e-4, ema=0.999, warmup=0, clip=UNBOUNDED)
    config.network = f"ncsnv2({STAGES[max(size, 64)]}, sigmas=(0.01, {sigma_max}, {levels}))"
    corrector = f"annealed(epsilon={epsilon}, steps={moves}, published='ncsnv2')"
    config.sample.sampler = DYNAMICS.format(corrector=corrector, last="denoise")
    return _sigmas(config, sigma_max, levels)


def _in_score_sde(config: ConfigDict, snr: float, moves: int) -> ConfigDict:
    """Sampled by so many Langevin moves of h = 2 (snr sigma)^2 at each level, and nothing after them."""
    config.train.steps = 1_300_000
    config.sample.sampler = DYNAMICS.format(corrector=f"langevin(snr={snr}, steps={moves})", last="sample")
    return config


def _ncsn(size: int, sigma_max: float, levels: int, ema: float) -> ConfigDict:
    config = start(size, UNIT, 300_000, batch_size=128, learning_rate=1e-3, ema=ema, warmup=0, clip=UNBOUNDED)
    config.network = f"ncsn(levels={levels})"
    config.sample.sampler = DYNAMICS.format(corrector="annealed(epsilon=2e-05, steps=100)", last="sample")
    return _sigmas(config, sigma_max, levels)


def ncsn_cifar10() -> ConfigDict:
    """NCSN on CIFAR-10, as the code of NCSNv2 trains it.

    Published: FID 25.32, IS 8.87; Song and Ermon, 2020, arXiv 2006.09011, table 1.
    """
    config = _ncsn(32, 1.0, 10, ema=0.0)
    config.data, config.train.dequantize = "arrays(shape=(3, 32, 32), levels=256, low=0.0, high=1.0)", True
    return config


def ncsnv2_cifar10() -> ConfigDict:
    """NCSNv2 on CIFAR-10.

    Published: FID 10.87, IS 8.40; Song and Ermon, 2020, arXiv 2006.09011, table 1.
    """
    return _ncsnv2(32, 50.0, 232, epsilon=6.2e-6, moves=5, steps=300_000)


def ncsnv2_celeba() -> ConfigDict:
    """NCSNv2 on CelebA, 64 pixels.

    Published: FID 10.23; Song and Ermon, 2020, arXiv 2006.09011, table 1.
    """
    return _ncsnv2(64, 90.0, 500, epsilon=3.3e-6, moves=5, steps=210_000)


def ncsnv2_church() -> ConfigDict:
    """NCSNv2 on LSUN churches, 64 pixels.

    Published: samples only.
    """
    return _ncsnv2(64, 140.0, 788, epsilon=4.9e-6, moves=4, steps=200_000)


def ncsnv2_bedroom() -> ConfigDict:
    """NCSNv2 on LSUN bedrooms, 128 pixels.

    Published: samples only.
    """
    return _ncsnv2(128, 190.0, 1086, epsilon=1.8e-6, moves=3, steps=150_000)


def ncsnv2_tower() -> ConfigDict:
    """NCSNv2 on LSUN towers, 128 pixels.

    Published: samples only.
    """
    return _ncsnv2(128, 190.0, 1086, epsilon=1.8e-6, moves=3, steps=150_000)


def ncsnv2_ffhq() -> ConfigDict:
    """NCSNv2 on FFHQ, 256 pixels.

    Published: samples only.
    """
    return _ncsnv2(256, 348.0, 2311, epsilon=9e-7, moves=3, steps=80_000, batch_size=32)


def ve_ncsn_cifar10() -> ConfigDict:
    """NCSN on CIFAR-10.

    Published: not known.
    """
    return _in_score_sde(_ncsn(32, 1.0, 10, ema=0.0), snr=0.316, moves=100)


def ve_ncsn_cifar10_5() -> ConfigDict:
    """NCSN with technique 5 on CIFAR-10.

    Published: not known.
    """
    return _in_score_sde(_ncsn(32, 1.0, 10, ema=0.999), snr=0.316, moves=100)


def ve_ncsn_cifar10_124() -> ConfigDict:
    """NCSN with techniques 1, 2 and 4 on CIFAR-10.

    Published: not known.
    """
    return _in_score_sde(_ncsn(32, 50.0, 232, ema=0.0), snr=0.176, moves=5)


def ve_ncsn_cifar10_1245() -> ConfigDict:
    """NCSN with techniques 1, 2, 4 and 5 on CIFAR-10.

    Published: not known.
    """
    return _in_score_sde(_ncsn(32, 50.0, 232, ema=0.999), snr=0.176, moves=5)


def ve_ncsn_celeba() -> ConfigDict:
    """NCSN on CelebA, 64 pixels.

    Published: not known.
    """
    return _in_score_sde(_ncsn(64, 1.0, 10, ema=0.0), snr=0.316, moves=100)


def ve_ncsn_celeba_5() -> ConfigDict:
    """NCSN with technique 5 on CelebA, 64 pixels.

    Published: not known.
    """
    return _in_score_sde(_ncsn(64, 1.0, 10, ema=0.999), snr=0.316, moves=100)


def ve_ncsn_celeba_124() -> ConfigDict:
    """NCSN with techniques 1, 2 and 4 on CelebA, 64 pixels.

    Published: not known.
    """
    return _in_score_sde(_ncsn(64, 90.0, 500, ema=0.0), snr=0.128, moves=5)


def ve_ncsn_celeba_1245() -> ConfigDict:
    """NCSN with techniques 1, 2, 4 and 5 on CelebA, 64 pixels.

    Published: not known.
    """
    return _in_score_sde(_ncsn(64, 90.0, 500, ema=0.999), snr=0.128, moves=5)


def ve_ncsnv2_cifar10() -> ConfigDict:
    """NCSNv2 on CIFAR-10.

    Published: not known.
    """
    return _in_score_sde(ncsnv2_cifar10(), snr=0.176, moves=5)


def ve_ncsnv2_celeba() -> ConfigDict:
    """NCSNv2 on CelebA, 64 pixels.

    Published: not known.
    """
    return _in_score_sde(ncsnv2_celeba(), snr=0.128, moves=5)


def ve_ncsnv2_bedroom() -> ConfigDict:
    """NCSNv2 on LSUN bedrooms, 128 pixels.

    Published: not known.
    """
    config = _in_score_sde(ncsnv2_bedroom(), snr=0.095, moves=3)
    config.train.update(steps=2_400_000, ema=0.9999)
    return config
