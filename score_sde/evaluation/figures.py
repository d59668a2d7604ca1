"""Pictures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from torch import Tensor

from models.files import write_atomically
from sde_lib import LinearSDE

matplotlib.use("Agg")
from matplotlib import pyplot as plt

__all__ = ["image_grid", "is_drawable", "loss_curve", "save_picture", "scatter", "standardized"]

# Rows, times and noise are the same at each save: their draw moves all values together, on the digits by as much as 15 %.
HELD_OUT = "held out: fixed rows, times and noise; compare its changes, for its level has the error shown"
FEW = 30  # a curve of fewer points has markers


def is_drawable(shape: tuple[int, ...]) -> bool:
    """Whether data of a shape are grey or colour images: (C, H, W) with C 1 or 3."""
    return len(shape) == 3 and shape[0] in (1, 3)


def image_grid(codes: Tensor, levels: int | None, columns: int) -> np.ndarray:
    """Images (N, C, H, W), C 1 or 3, in a grid with so many columns and thin borders, as uint8 (height, width[, 3]).

    codes are integers 0..levels-1. Without levels they are real numbers: the smallest is black and the largest white.
    """
    n, channels, height, width = codes.shape
    if levels is None:
        low, high = codes.min(), codes.max()
        codes, levels = 255 * (codes - low) / (high - low).clamp(min=1e-12), 256
    rows = -(-n // columns)
    pixels = torch.full((rows * columns, channels, height + 1, width + 1), 128.0)
    pixels[:n, :, :-1, :-1] = codes.float() * (255 / (levels - 1))
    sheet = pixels.reshape(rows, columns, channels, height + 1, width + 1).permute(2, 0, 3, 1, 4)
    sheet = sheet.reshape(channels, rows * (height + 1), columns * (width + 1))[:, :-1, :-1]
    picture = sheet.round().to(torch.uint8).permute(1, 2, 0).numpy()
    return picture[..., 0] if channels == 1 else picture


def standardized(sde: LinearSDE, x: Tensor, t: Tensor | float) -> Tensor:
    """x / sqrt(alpha^2 + sigma^2): a state at time t in units of its own standard deviation, for data of unit variance."""
    alpha, sigma, _ = sde.at(t)
    return x / torch.sqrt(alpha**2 + sigma**2)


def save_picture(picture: np.ndarray, path: Path, scale: int = 6) -> None:
    """Write a picture as PNG, enlarged scale times."""
    large = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if picture.ndim == 2 else {}
    write_atomically(path, lambda temporary: plt.imsave(temporary, large, format="png", **grey))


def loss_curve(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the training loss and the held-out loss against the step, and below them the likelihoods of previews if there are any.

    rows are the rows of the metrics. Error bars are one standard error.
    """
    number = next((key for row in rows for key in ("look_bits_per_dim", "look_nats") if key in row), None)
    figure, all_axes = plt.subplots(
        1 if number is None else 2, figsize=(6, 4 if number is None else 7), layout="constrained", squeeze=False
    )
    axes = all_axes[0, 0]
    for key, error, label in (("loss", None, "training"), ("held_out", "held_out_error", "held out")):
        found = [row for row in rows if row.get(key) is not None]
        if found:
            bars = None if error is None else [row[error] or 0.0 for row in found]
            marker = "." if len(found) < FEW else None  # a single point has no line
            values: Any = [[row[name] for row in found] for name in ("step", key)]
            axes.errorbar(*values, bars, linewidth=1, label=label, marker=marker)
    lowest = min(row["loss"] for row in rows if row.get("loss") is not None)
    axes.set(xlabel="step", ylabel="loss", yscale="log" if lowest > 0 else "linear")
    if any(row.get("held_out") is not None for row in rows):
        axes.set_title(HELD_OUT, fontsize="small")
    axes.legend()
    if number is not None:
        found = [row for row in rows if number in row]
        points: Any = [[row[key] for row in found] for key in ("step", number, "look_error")]
        all_axes[1, 0].errorbar(*points, linewidth=1, marker=".")
        all_axes[1, 0].set(xlabel="step", ylabel={"look_nats": "log p, nats"}.get(number, "bits/dim"))
    for axes in all_axes.flat:
        axes.grid(alpha=0.3, which="both")
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
    plt.close(figure)


def scatter(points: Tensor, path: Path) -> None:
    """Draw points of the plane (N, 2). Many points are drawn smaller than few."""
    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    x, y = points.double().T.numpy()
    axes.scatter(x, y, s=min(30.0, max(4.0, 6000 / len(points))), linewidths=0, alpha=0.6 if len(points) < 5000 else 0.4)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(title=f"{len(points)} points", xlabel="$x_0$", ylabel="$x_1$")
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
    plt.close(figure)
