"""What a data set is, what may be wrong with it, and a look at it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from evaluation.figures import image_grid, is_drawable, save_picture, scatter
from evaluation.suggest import warnings_about
from models.files import write_atomically
from sde_lib import LinearSDE

__all__ = ["facts", "sheet", "suspicions"]

FEW = 1000
MOST, ENTRIES = 20_000, 1 << 26  # rows, and numbers in them, that are looked at for constant entries and for copies


def facts(data: Any) -> str:
    """Rows, shape, type, range and meaning of a data set."""
    train: Tensor = data.train
    shape, part = tuple(train.shape[1:]), train[: _most(train)]
    size = train.numel() * train.element_size() / 2**20
    low, high = part.min().item(), part.max().item()
    x = data.transform.encode(part)
    lines = {
        "rows": f"{len(train)} to train on, {len(data.test)} for the test",
        "shape": f"{shape}, {math.prod(shape)} entries, {str(train.dtype).removeprefix('torch.')}, {size:.1f} MiB",
        "values": f"{low:g} to {high:g}, mean {part.double().mean().item():.4g}, "
        f"standard deviation {part.double().std().item():.4g}{'' if len(part) == len(train) else f' (first {len(part)} rows)'}",
        "meaning": f"{data.transform}",
        "as states": f"{x.min().item():.3g} to {x.max().item():.3g}, standard deviation {x.double().std().item():.3g}",
        "number": "bits/dim" if hasattr(data.transform, "levels") else "log p in nats (no levels, so no bits/dim)",
    }
    return "\n".join(f"{key:<11}{value}" for key, value in lines.items())


def _most(rows: Tensor) -> int:
    """How many rows to look at, so that what is larger than the memory is looked at too."""
    return min(MOST, max(1, ENTRIES // math.prod(rows.shape[1:])))


def suspicions(sde: LinearSDE, data: Any) -> list[str]:
    """A sentence for each thing that may be wrong: with the data, and with the process for them."""
    train, test = (rows[: _most(rows)].flatten(1) for rows in (data.train, data.test))
    found = []
    if len(data.train) < FEW:
        found.append(f"{len(data.train)} rows are few: a network may learn them by heart; look at what the test set says")
    constant = int((train == train[0]).all(0).sum())
    if constant:
        found.append(
            f"{constant} of {train.shape[1]} entries never change: without levels their density is infinite, and with levels they "
            "are foretold for nothing"
        )
    copies = _in_common(train, test)
    if copies:
        found.append(f"{copies} of {len(test)} test rows are among the rows to train on: the test would flatter")
    return found + warnings_about(sde, data.train[: _most(data.train)], data.transform)


def _in_common(train: Tensor, test: Tensor) -> int:
    ours, theirs = (rows.contiguous().view(torch.uint8).numpy() for rows in (train, test))  # numpy knows no bfloat16
    seen = {row.tobytes() for row in ours}
    return sum(row.tobytes() in seen for row in theirs)


def sheet(data: Any, path: Path) -> None:
    """Draw the first images, the points of a plane, or else a histogram of the values."""
    shape = tuple(data.train.shape[1:])
    if is_drawable(shape):
        shown = data.train[:64]
        save_picture(image_grid(shown, getattr(data.transform, "levels", None), math.ceil(math.sqrt(len(shown)))), path)
    elif shape == (2,):
        scatter(data.train[:5000], path)
    else:
        figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
        axes.hist(data.train[:1000].flatten()[:1_000_000].double().numpy(), bins=100)
        axes.set(xlabel="value", ylabel="entries", yscale="log")
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
        plt.close(figure)
