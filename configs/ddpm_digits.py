"""DDPM on digits, scored by its variational bound; 100 levels, the first with a noise of a quarter of a grey level's width."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default with another process, and what is usual there."""
    config = default.get_config()
    config.sde = "ddpm(schedule=cosine, steps=100)"
    config.parameterization = "epsilon(label='index')"
    config.objective = "dsm"
    config.train.dequantize = False
    config.sample.sampler = "pc(predictor=ancestral(variance='large'), times=uniform(steps=100), last='denoise')"
    config.likelihood.estimator = "bound"
    return config
