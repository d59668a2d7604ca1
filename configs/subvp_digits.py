"""sub-VP on digits."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default under sub-VP."""
    config = default.get_config()
    config.sde = "subvp"
    return config
