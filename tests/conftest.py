"""Settings of every test."""

import pytest
import torch

from tests import tiers


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before -m selects by them."""
    tiers.mark(items)


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> None:
    """One thread: two crawl when another worker uses the other core. A seed: doctests and networks draw initial weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
