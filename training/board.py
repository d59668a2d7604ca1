"""A run's metrics for TensorBoard, beside metrics.jsonl."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.errors import Usage

__all__ = ["board"]

FOLDER = "tensorboard"


def board(folder: Path, step: int) -> Callable[[dict[str, Any]], None]:
    """A function that adds the numbers of a row of metrics to the run's folder tensorboard; what is there after step is dropped.

    Raises Usage where tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise Usage("train.tensorboard=True needs the package tensorboard: pip install tensorboard, or leave it out") from None
    writer = SummaryWriter(str(folder / FOLDER), purge_step=step + 1)

    def add(row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "step" and isinstance(value, (int, float)):
                writer.add_scalar(name, value, row["step"])
        writer.flush()

    return add
