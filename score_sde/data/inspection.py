"""Inspection of a data set: a description, warnings, and a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from models.files import write_atomically
from score_sde.data.arrays import as_rows
from score_sde.data.folder import sizes
from score_sde.data.reading import read_array
from score_sde.data.suggest import warnings_about
from score_sde.evaluation.figures import image_grid, is_drawable, save_picture, scatter
from sde_lib import LinearSDE
from sde_lib.data import chunks

__all__ = ["describe_data", "draw_contact_sheet"]

FEW = 1000
NOTHING = "\nnothing looks wrong"
SHOWN = 10  # the most rows or sizes in a list
MOST, ENTRIES = 20_000, 1 << 26  # the most rows, and entries in them, that are searched for constant entries and for copies


def describe_data(data: Any, sde: LinearSDE) -> str:
    """A description of a data set, with a warning for each likely mistake in it or in the process for it."""
    warnings = "".join(f"\nwarning: {text}" for text in _suspicions(sde, data))
    return f"{_table(_facts(data))}\n{warnings or NOTHING}"


def describe_files(kind: str, **arguments: Any) -> str:
    """A description of the files of a refused data set. kind is its short name, and arguments are its arguments.

    Raises:
        KeyError: when files of this kind cannot be shown.
        TypeError, ValueError: when the files cannot be read.
    """
    return _table(READABLE[kind](**arguments))


def _table(lines: dict[str, str]) -> str:
    return "\n".join(f"{key:<11}{value}" for key, value in lines.items())


def _in_arrays(train: str, key: str | None = None, channels: Any = "auto", **_: Any) -> dict[str, str]:
    """Facts about the numbers in a file, of which some may be NaN or infinite."""
    data = as_rows(read_array(train, key), channels)
    ends, bad, rows = [], 0, []
    for start, part in zip(range(0, len(data), len(chunks(data)[0])), chunks(data), strict=True):
        finite = part.isfinite().flatten(1)
        bad += int((~finite).sum())
        rows += (start + (~finite).any(1).nonzero().flatten()).tolist()
        seen = part.flatten(1)[finite]
        ends += [seen.min().item(), seen.max().item()] if seen.numel() else []
    lines = {"rows": f"{len(data)}", "shape": _shape(data), "values": f"{min(ends):g} to {max(ends):g}" if ends else "none"}
    if bad:
        which = f"{', '.join(map(str, rows[:SHOWN]))}{' and so on' if len(rows) > SHOWN else ''}"
        lines["not finite"] = f"{bad} entries, NaN or infinite, in {len(rows)} of {len(data)} rows: {which}"
    return lines


def _in_folder(path: str, **_: Any) -> dict[str, str]:
    """Facts about the sizes of the pictures in a folder."""
    found = sizes(path)
    common = ", ".join(f"{height}x{width} ({n})" for (height, width), n in found.most_common(SHOWN))
    return {"pictures": f"{found.total()}", "sizes": f"{len(found)}: {common}{' and so on' if len(found) > SHOWN else ''}"}


READABLE: dict[str, Any] = {"arrays": _in_arrays, "folder": _in_folder}


def _shape(rows: Tensor) -> str:
    shape, size = tuple(rows.shape[1:]), rows.numel() * rows.element_size() / 2**20
    return f"{shape}, {math.prod(shape)} entries, {str(rows.dtype).removeprefix('torch.')}, {size:.1f} MiB"


def _facts(data: Any) -> dict[str, str]:
    """The number of rows, shape, type, range and meaning of a data set."""
    train: Tensor = data.train
    part = train[: _most(train)]
    low, high = part.min().item(), part.max().item()
    x = data.transform.encode(part)
    return {
        "rows": f"{len(train)} to train on, {len(data.test)} for the test",
        "shape": _shape(train),
        "values": f"{low:g} to {high:g}, mean {part.double().mean().item():.4g}, "
        f"standard deviation {part.double().std().item():.4g}{'' if len(part) == len(train) else f' (first {len(part)} rows)'}",
        "meaning": f"{data.transform}",
        "as states": f"{x.min().item():.3g} to {x.max().item():.3g}, standard deviation {x.double().std().item():.3g}",
        "number": "bits/dim" if data.transform.levels is not None else "log p in nats (no levels, so no bits/dim)",
    }


def _most(rows: Tensor) -> int:
    """The number of rows to inspect, limited so that they fit into memory."""
    return min(MOST, max(1, ENTRIES // math.prod(rows.shape[1:])))


def _suspicions(sde: LinearSDE, data: Any) -> list[str]:
    """A sentence for each likely mistake in the data or in the process for them."""
    train, test = (rows[: _most(rows)].flatten(1) for rows in (data.train, data.test))
    found = []
    if len(data.train) < FEW:
        found.append(f"{len(data.train)} rows are few: a network may learn them by heart; look at what the test set says")
    shape = tuple(data.train.shape[1:])
    if data.train.is_floating_point() and len(shape) == 3 and shape[2] <= 4 < shape[0]:
        found.append(f"the data have {shape[0]} channels of {shape[1]}x{shape[2]}: channels=last?")
    constant = int((train == train[0]).all(0).sum())
    if constant:
        found.append(
            f"{constant} of {train.shape[1]} entries never change: without levels their density is infinite, and with levels they "
            "are predicted at no cost"
        )
    copies = _in_common(train, test)
    if copies:
        found.append(f"{copies} of {len(test)} test rows are among the rows to train on: the test result would be too good")
    return found + warnings_about(sde, data.train[: _most(data.train)], data.transform)


def _in_common(train: Tensor, test: Tensor) -> int:
    """The number of test rows that are also training rows."""
    ours, theirs = (rows.contiguous().view(torch.uint8).numpy() for rows in (train, test))  # numpy knows no bfloat16
    seen = {row.tobytes() for row in ours}
    return sum(row.tobytes() in seen for row in theirs)


def draw_contact_sheet(data: Any, path: Path) -> None:
    """Draw the first images, the points of a plane, or for other data a histogram of the values."""
    shape = tuple(data.train.shape[1:])
    if is_drawable(shape):
        shown = data.train[:64]
        save_picture(image_grid(shown, data.transform.levels, math.ceil(math.sqrt(len(shown)))), path)
    elif shape == (2,):
        scatter(data.train[:5000], path)
    else:
        figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
        axes.hist(data.train[:1000].flatten()[:1_000_000].double().numpy(), bins=100)
        axes.set(xlabel="value", ylabel="entries", yscale="log")
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
        plt.close(figure)
