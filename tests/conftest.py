"""Settings of every test."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> None:
    """One thread: two crawl when another worker uses the other core. A seed: doctests and networks draw initial weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
