"""VP on digits: the default experiment."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default experiment."""
    return default.get_config()
