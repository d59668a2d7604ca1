"""Straight paths (rectified flow) on digits."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default with another process, and what is usual there."""
    config = default.get_config()
    config.sde = "flow"
    config.parameterization = "velocity"
    return config
