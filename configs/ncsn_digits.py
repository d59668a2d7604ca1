"""NCSN on digits: geometric sigmas from about the largest distance between two digits."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default under NCSN, with its usual objective, sampler and estimator."""
    config = default.get_config()
    config.sde = "ncsn(sigma_min=0.03, sigma_max=12.0, levels=100)"
    config.parameterization = "edm(sigma_data=0.7)"
    config.objective = "dsm"
    config.train.dequantize = False
    config.sample.sampler = (
        "pc(predictor=reverse_diffusion, corrector=langevin(snr=0.16), times=uniform(steps=100), last='denoise')"
    )
    config.likelihood.estimator = "bound"
    return config
