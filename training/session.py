"""A run in its folder: training with progress, interruption and resuming, and what is written on the way."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from evaluation.figures import loss_curve
from models.files import write_atomically
from training.config import dump
from training.errors import Usage
from training.experiment import Experiment
from training.folders import CONFIG_NAME
from training.processes import Processes
from training.trainer import Trainer

__all__ = ["METRICS_NAME", "Interrupted", "append_metrics", "train"]

METRICS_NAME = "metrics.jsonl"


class Interrupted(Exception):
    """Training was asked to stop, and has saved; step is how far it got."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class _StopRequest:
    """Turns Ctrl-C and SIGTERM into a flag while it is entered; a second Ctrl-C stops at once."""

    def __enter__(self) -> _StopRequest:
        self.asked = False
        self._before = {which: signal.signal(which, self._ask) for which in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, which: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)


def train(
    experiment: Experiment,
    config: ConfigDict,
    folder: Path,
    device: str,
    *,
    resume: bool,
    here: Processes = Processes(),  # noqa: B008  (a value)
) -> None:
    """Train to the end of the config's steps; of several processes the first writes and speaks.

    Raises Interrupted after saving when stopped, Failure when the loss diverges, Usage when a run is already beyond these steps.
    """
    model = experiment.model.to(device)
    batch, first_one = experiment.settings.batch_size, here.rank == 0
    if batch % here.world:
        raise Usage(f"train.batch_size is {batch}, and {here.world} processes need a multiple of {here.world}")
    trainer = Trainer(model, experiment.data.train, experiment.objective, experiment.settings, experiment.seed, folder, here)
    if resume:
        trainer.resume()
        if trainer.step > experiment.settings.steps:
            raise Usage(
                f"the run in {folder} is at step {trainer.step}, and train.steps is {experiment.settings.steps}: "
                "give a larger --config.train.steps to go on"
            )
        if first_one:
            _forget_after(folder / METRICS_NAME, trainer.step)
    if first_one:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / CONFIG_NAME, lambda path: path.write_text(dump(config)))
    started, first = time.perf_counter(), trainer.step
    options: Any = {"unit": " images", "desc": "training", "dynamic_ncols": True, "disable": not first_one}
    bar = tqdm(total=experiment.settings.steps * batch, initial=first * batch, **options)
    with bar, _StopRequest() as stop:
        for step, loss in trainer.run():
            bar.update(batch)
            if loss is not None and first_one:
                seconds = time.perf_counter() - started
                bar.set_postfix(step=step, loss=f"{loss:.4g}")
                rate = (step - first) * batch / seconds
                append_metrics(
                    folder, {"step": step, "loss": loss, "images_per_second": round(rate, 1), "seconds": round(seconds, 2)}
                )
            if here.any(stop.asked) and step < experiment.settings.steps:
                trainer.save()
                raise Interrupted(step)
    rows = [] if not first_one else [row for row in read_metrics(folder) if "loss" in row]
    if rows:
        loss_curve([row["step"] for row in rows], [row["loss"] for row in rows], folder / "loss.png")
    experiment.model.network.load_state_dict(trainer.average.module.state_dict())
    experiment.model.eval()


def append_metrics(folder: Path, row: dict[str, Any]) -> None:
    """Add a line to the run's metrics."""
    with open(folder / METRICS_NAME, "a") as file:
        file.write(json.dumps(row) + "\n")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of the run's metrics, if it has any; what is not one, such as a line cut short by a crash, is left out."""
    path, rows = folder / METRICS_NAME, []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            rows.append(row)
    return rows


def _forget_after(path: Path, step: int) -> None:
    """Drop what was logged after the step that a run goes on from: it will be logged again."""
    if path.exists():
        kept = [json.dumps(row) + "\n" for row in read_metrics(path.parent) if row["step"] <= step]
        write_atomically(path, lambda temporary: temporary.write_text("".join(kept)))
