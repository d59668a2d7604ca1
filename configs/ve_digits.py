"""VE on digits."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default under VE: sigma_max is about the largest distance between two digits, and inputs are scaled as in EDM."""
    config = default.get_config()
    config.sde = "ve(sigma_min=0.001, sigma_max=20.0)"
    config.parameterization = "edm(sigma_data=0.7)"
    return config
