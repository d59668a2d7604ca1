"""DDPM on digits, scored by its variational bound. The noise of the first of 100 levels is a quarter of a grey level."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default under DDPM, with its usual objective, sampler and estimator."""
    config = default.get_config()
    config.sde = "ddpm(schedule=cosine, steps=100)"
    config.parameterization = "epsilon(label='index')"
    config.objective = "dsm"
    config.train.dequantize = False
    config.sample.sampler = "pc(predictor=ancestral(variance='large'), times=uniform(steps=100), last='denoise')"
    config.likelihood.estimator = "bound"
    return config
