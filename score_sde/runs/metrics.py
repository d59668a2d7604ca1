"""The metrics of a run: metrics.jsonl, the same for TensorBoard if that is set, and the curve of the losses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.files import write_atomically
from score_sde.errors import UsageError
from score_sde.evaluation.figures import loss_curve

__all__ = ["CURVE_NAME", "METRICS_NAME", "append_metrics", "draw_curve", "forget_after", "log_to", "read_metrics"]

METRICS_NAME, CURVE_NAME, BOARD_NAME = "metrics.jsonl", "loss.png", "tensorboard"
ERRORS = {"held_out": "held_out_error", "look_bits_per_dim": "look_error", "look_nats": "look_error"}  # by the value that has it
NUMBERS = ("loss", *ERRORS, *ERRORS.values())  # what `loss_curve` draws


def log_to(folder: Path, tensorboard: bool, step: int) -> Callable[[int, dict[str, Any]], None]:
    """A function that logs the numbers of a step. A run that resumes at step drops the numbers of later steps.

    The curve is drawn with each preview.

    Raises:
        UsageError: when tensorboard is True and the package is not installed.
    """
    forget_after(folder, step)
    board = _board(folder, step) if tensorboard else None

    def log(step: int, numbers: dict[str, Any]) -> None:
        if numbers:
            append_metrics(folder, {"step": step} | numbers)
        if numbers and board is not None:
            for name, value in numbers.items():
                if isinstance(value, (int, float)):
                    board.add_scalar(name, value, step)
            board.flush()
        if "look_error" in numbers:
            draw_curve(folder)

    return log


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("train.tensorboard=True needs the package tensorboard: pip install tensorboard, or leave it out") from None
    return SummaryWriter(str(folder / BOARD_NAME), purge_step=step + 1)


def append_metrics(folder: Path, row: dict[str, Any]) -> None:
    """Append a line to the run's metrics."""
    with open(folder / METRICS_NAME, "a") as file:
        file.write(json.dumps(row) + "\n")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of the run's metrics. Damaged lines, such as one that a crash cut short, are left out."""
    path = folder / METRICS_NAME
    lines = path.read_text(errors="replace").splitlines() if path.exists() else ()
    return [row for row in map(_row, lines) if row is not None]


def _row(line: str) -> dict[str, Any] | None:
    """The row in a line; None when it is no JSON, has no step, a number of another type, or a value without its error."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # RecursionError: brackets in brackets
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        return None
    numbers = all(_is_number(row[key]) for key in ("step", *NUMBERS) if row.get(key) is not None)
    return row if numbers and all(error in row for key, error in ERRORS.items() if key in row) else None


def _is_number(value: object) -> bool:
    """Whether a value is a number that a float can hold."""
    try:
        return type(value) in (int, float) and bool(float(value) or True)  # type: ignore[arg-type]
    except OverflowError:
        return False


def forget_after(folder: Path, step: int) -> None:
    """Drop the metrics after the step at which a run resumes, because they will be logged again."""
    path = folder / METRICS_NAME
    if path.exists():
        kept = [json.dumps(row) + "\n" for row in read_metrics(folder) if row["step"] <= step]
        write_atomically(path, lambda temporary: temporary.write_text("".join(kept)))


def draw_curve(folder: Path) -> None:
    """Draw the losses that have been logged, if there are any."""
    rows = read_metrics(folder)
    if any(row.get("loss") is not None for row in rows):
        loss_curve(rows, folder / CURVE_NAME)
