"""The training of a run in its folder: progress, interruption, resuming, metrics and previews."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from ml_collections import ConfigDict

from models.checkpoint import FILE_NAME
from models.files import write_atomically
from score_sde.config.config import dump
from score_sde.config.experiment import Experiment
from score_sde.errors import Interrupted, UsageError
from score_sde.progress import progress_bar
from score_sde.runs.folders import new_run
from score_sde.runs.metrics import CURVE_NAME, METRICS_NAME, draw_curve, log_to
from score_sde.runs.previews import preview
from score_sde.training.faults import explain_faults, explain_writing
from score_sde.training.kept import remove_partial_files
from score_sde.training.lock import exclusive_lock
from score_sde.training.ranks import Ranks
from score_sde.training.state import STATE_NAME
from score_sde.training.store import BEST_NAME, CONFIG_NAME
from score_sde.training.trainer import Progress, Trainer

__all__ = ["train"]


class _StopRequest:
    """Turns Ctrl-C, SIGTERM and a closed terminal into the flag asked while it is entered. A second Ctrl-C stops at once."""

    def __enter__(self) -> _StopRequest:
        self.asked = False
        self._terminals = [number for number in (1, 2) if os.isatty(number)]
        asking = [signal.SIGINT, signal.SIGTERM]
        hangup = getattr(signal, "SIGHUP", None)  # not on Windows
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # nohup ignores it
            asking.append(hangup)
        self._before = {which: signal.signal(which, self._ask) for which in asking}
        return self

    def _ask(self, which: int, frame: FrameType | None) -> None:
        self.asked = True
        for number in self._terminals:
            if not os.isatty(number):  # a closed terminal: a write would fail before the run has saved
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
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
    ranks: Ranks = Ranks(),  # noqa: B008  (a value)
    afterwards: Callable[[], None] = lambda: None,
) -> None:
    """Train to the last step of the config, and call afterwards while the folder is still locked. Rank 0 writes and prints.

    Raises:
        Interrupted: when training was stopped, after saving.
        RunError: when the loss diverges, the folder cannot be written, or there is not enough memory.
        UsageError: when the run is already beyond these steps, or another process is training in the folder.
    """
    folder = folder.resolve()  # messages name folders from the root
    with ExitStack() as held:
        with explain_faults(folder, config):
            if ranks.rank == 0:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(exclusive_lock(folder))
                kept = (Path(name).stem for name in (STATE_NAME, FILE_NAME, BEST_NAME))
                remove_partial_files(folder, CONFIG_NAME, METRICS_NAME, CURVE_NAME, *kept)
            _train(experiment, config, folder, device, resume, ranks)
        with explain_writing(folder, "what follows the training", "go on with --resume"):
            afterwards()


def _train(experiment: Experiment, config: ConfigDict, folder: Path, device: str, resume: bool, ranks: Ranks) -> None:
    """Train, and leave the averaged weights in the experiment's model, ready to be used."""
    trainer = _trainer_of(experiment, folder, device, resume, ranks)
    if ranks.rank == 0:
        log = log_to(folder, experiment.settings.tensorboard, trainer.step)
        write_atomically(folder / CONFIG_NAME, lambda path: path.write_text(dump(config)))
        _run(trainer, experiment, folder, log)
        draw_curve(folder)
    else:
        _run(trainer, experiment, folder, lambda *_: None)
    experiment.model.network = trainer.averaged().network
    experiment.model.eval()


def _trainer_of(experiment: Experiment, folder: Path, device: str, resume: bool, ranks: Ranks) -> Trainer:
    """The trainer of an experiment, at the start or where the run in the folder ended."""
    data, settings = experiment.data, experiment.settings
    trainer = Trainer(
        experiment.model.to(device),
        data.train,
        experiment.objective,
        settings,
        experiment.seed,
        folder,
        data.test,
        ranks,
        y=data.train_y,
        test_y=data.test_y,
    )
    if resume:
        trainer.resume()
        if trainer.step > settings.steps:
            raise UsageError(
                f"the run in {folder} is at step {trainer.step}, and train.steps is {settings.steps}: "
                "give a larger --config.train.steps to go on"
            )
        trainer.rewrite_checkpoint()
    elif ranks.rank == 0:
        new_run(experiment.name, folder)  # another process may have trained there since the folder was chosen
    return trainer


def _run(trainer: Trainer, experiment: Experiment, folder: Path, log: Callable[[int, dict[str, Any]], None]) -> None:
    """Take the steps that are left, with a progress bar, logging and previews.

    Raises:
        Interrupted: when training was stopped, after saving.
    """
    steps, batch, ranks = experiment.settings.steps, experiment.settings.batch_size, trainer.ranks
    started, first = time.perf_counter(), trainer.step
    total, initial, silent = steps * batch, first * batch, ranks.rank > 0
    bar = progress_bar(total=total, initial=initial, description="training", unit=" images", disable=silent)
    with bar, _StopRequest() as stop:
        asked = False
        for progress in trainer.run():
            bar.update(batch)
            if progress.loss is not None:
                skipped = {"skipped": progress.skipped} if progress.skipped else {}
                bar.set_postfix(step=progress.step, loss=f"{progress.loss:.4g}", refresh=False, **skipped)
            row = _row(progress, (progress.step - first) * batch, time.perf_counter() - started)
            log(progress.step, row | preview(experiment, trainer, folder))  # before the save: every saved step has been logged
            asked = ranks.any(stop.asked)
            if asked and progress.step < steps and trainer.guard.last_step_taken():
                trainer.save()
                break
        if asked:
            raise Interrupted(trainer.step)


def _row(progress: Progress, images: int, seconds: float) -> dict[str, Any]:
    """The numbers of a step for the metrics; empty for steps without a report."""
    row: dict[str, Any] = {}
    if progress.loss is not None:
        row |= {"loss": progress.loss, "skipped": progress.skipped}
        row |= {"images_per_second": round(images / seconds, 1), "seconds": round(seconds, 2)}
    if progress.held_out is not None:
        mean, error, levels = progress.held_out
        row |= {"held_out": mean, "held_out_error": error, "held_out_by_log_snr": levels}
    return row
