"""Rectified flow on digits."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default under rectified flow, with a network that predicts the velocity."""
    config = default.get_config()
    config.sde = "flow"
    config.parameterization = "velocity"
    return config
