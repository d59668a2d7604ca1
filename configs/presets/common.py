"""The common part of the published experiments: the size and range of the images, and the training."""

from __future__ import annotations

import math

from ml_collections import ConfigDict

from configs import default

__all__ = ["CENTRED", "UNBOUNDED", "UNIT", "VE_PC", "VP_ANCESTRAL", "start"]

CENTRED = (-1 - 1 / 255, 1 + 1 / 255)  # ends of the bins when the centres of the levels go from -1 to 1
UNIT = (-0.5 / 255, 1 + 0.5 / 255)  # the same for 0 to 1
UNBOUNDED = math.inf  # gradients are not clipped

VP_ANCESTRAL = "pc(predictor=ancestral(variance='large'), times=table, last='denoise')"
VE_PC = "pc(predictor=reverse_diffusion, corrector=langevin(snr={snr}, step='batch'), times={times}, last='denoise')"


def start(
    size: int,
    ends: tuple[float, float],
    steps: int,
    batch_size: int,
    learning_rate: float,
    ema: float,
    warmup: int = 5000,
    clip: float = 1.0,
) -> ConfigDict:
    """The default experiment on colour images of size x size pixels, not dequantized in training.

    ends are the ends of the range of the levels. The preset sets network, process, parameterization and sampler.
    """
    config = default.get_config()
    config.data = f"arrays(shape=(3, {size}, {size}), levels=256, low={ends[0]!r}, high={ends[1]!r})"
    config.objective = "dsm"
    config.train.update(steps=steps, batch_size=batch_size, learning_rate=learning_rate, warmup=warmup, clip=clip, ema=ema)
    config.train.update(save_every=10_000, dequantize=False, flip=True)
    config.sample.batch_size = min(batch_size, config.sample.num)
    config.likelihood.update(tolerance=1e-5, batch_size=config.sample.batch_size)
    return config
