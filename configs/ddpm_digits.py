"""DDPM on digits, at 200 levels; its bits/dim are those of the variational bound."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default with another process, and what is usual there."""
    config = default.get_config()
    config.sde = "ddpm(schedule=cosine, steps=200)"
    config.parameterization = "epsilon(label='index')"
    config.objective = "dsm"
    config.train.dequantize = False
    config.sample.sampler = "pc(predictor=reverse_diffusion, times=uniform(steps=200), last='denoise')"
    config.likelihood.estimator = "bound"
    return config
