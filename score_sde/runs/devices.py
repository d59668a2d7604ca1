"""The device that a command runs on."""

from __future__ import annotations

import os

import torch

from score_sde.errors import UsageError

__all__ = ["choose_device"]


def choose_device(name: str | None) -> str:
    """The named device; without a name, this process's GPU if there is one, else the CPU.

    Raises:
        UsageError: when the device does not exist, or has no float64.
    """
    name = name or (f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")
    try:
        torch.ones(1, device=name, dtype=torch.float64).item()  # times and noise are float64
    except Exception:
        raise UsageError(f"--device {name} cannot be used here: choose cpu, or a device with float64 that this torch has") from None
    return name
