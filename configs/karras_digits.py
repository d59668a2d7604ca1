"""EDM's process on digits."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default under EDM's process, with its preconditioning and loss."""
    config = default.get_config()
    config.sde = "karras"
    config.parameterization = "edm(sigma_data=0.7)"
    config.objective = "dsm(weighting=edm(sigma_data=0.7), times=log_normal(mean=-0.5, std=1.5))"
    config.sample.sampler = "pc(predictor=reverse_diffusion, corrector=langevin(snr=0.16), times=log_snr(steps=100))"
    return config
