"""The training loop: step k depends on (seed, k) and on the weights before it, and on nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel

from models.checkpoint import FILE_NAME, read_header, save
from sde_lib import Images, RowNoise, ScoreModel
from sde_lib.noise import Stream
from training.ema import average_of
from training.errors import Failure
from training.guard import Guard
from training.held_out import HeldOut, held_out
from training.kept import before, first_sound, replace
from training.state import STATE_NAME, read_state, write_state

__all__ = ["BEST_NAME", "Progress", "Settings", "Trainer"]

BEST_NAME = "best.safetensors"


@dataclass(frozen=True)
class Settings:
    """How to train: Adam with warm-up and clipping, an average of the weights, and how often to report and save."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int
    clip: float
    ema: float
    log_every: int
    save_every: int
    keep: int
    held_out: int
    dequantize: bool

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "clip", "log_every", "save_every", "keep"):
            if getattr(self, name) <= 0:
                raise ValueError(f"train.{name} is {getattr(self, name)}, and a positive number was needed")
        if self.warmup < 0 or not 0 <= self.ema < 1:
            raise ValueError(f"train.warmup={self.warmup} and train.ema={self.ema}: warmup >= 0 and 0 <= ema < 1 are needed")
        if self.held_out < 0:
            raise ValueError(f"train.held_out is {self.held_out}, and a number of images was needed, or 0 for none")


class Progress(NamedTuple):
    """After a step: how many are done, and every log_every steps the mean loss since the last report (else None).

    skipped counts the steps so far whose loss or gradient was not finite; held_out is there before a save.
    """

    step: int
    loss: float | None
    skipped: int = 0
    held_out: HeldOut | None = None


class Trainer:
    """A model in training on integer images, with its optimizer and average, and the folder where they are kept.

    test are images that it is not trained on, if there are any: what they lose decides which weights are kept as the best.
    """

    def __init__(
        self,
        model: ScoreModel,
        data: Tensor,
        objective: Any,
        settings: Settings,
        seed: int,
        folder: Path,
        test: Tensor | None = None,
    ) -> None:
        self.model, self.data, self.objective, self.settings = model, data, objective, settings
        self.seed, self.folder = seed, folder
        self.test = data[:0] if test is None else test[: settings.held_out]
        self.times: Any = objective.times
        # fused: it can leave a step out without being waited for
        self.optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        self.average: AveragedModel = average_of(model.network, settings.ema)
        self.guard = Guard().to(data.device)
        self.step = 0
        self._saved: int | None = None  # the step of the state in the folder
        self._best = False  # whether the weights are the best so far, and not yet saved as such
        self._sources: dict[Stream, RowNoise] = {}
        self._orders: dict[int, Tensor] = {}

    def run(self) -> Iterator[Progress]:
        """Train to the last step, a Progress after each; saves after that of every save_every steps, and of the last.

        A step whose loss or gradient is not finite is skipped, and nothing is saved right after one, but at the end: weights are
        good when they have been seen to give a finite loss. The average takes a step towards the unchanged weights all the same.
        Raises Failure when PATIENCE steps in a row are skipped, which is looked for when there is a report or a save.
        """
        self.model.train()
        while self.step < self.settings.steps:
            self._update()
            last = self.step == self.settings.steps
            report, due = (last or self.step % every == 0 for every in (self.settings.log_every, self.settings.save_every))
            if (report or due) and self.guard.gave_up():
                raise Failure(
                    f"the loss or its gradient is not finite in {int(self.guard.in_a_row)} steps in a row, up to step {self.step}, "
                    f"and training has stopped; {self._kept()}: "
                    "lower train.learning_rate, or check that the data have no extreme values"
                )
            due = due and (last or self.guard.sound())
            loss, skipped = (self.guard.report(), int(self.guard.skipped)) if report else (None, 0)
            yield Progress(self.step, loss, skipped, self._look() if due else None)
            if due:
                self.save()

    def _update(self) -> None:
        torch.manual_seed((self.seed * 1_000_003 + self.step) % 2**63)  # dropout, and whatever a user's network draws
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * min(1.0, (self.step + 1) / max(self.settings.warmup, 1))
        x0, t, z = self._batch()
        losses = self.objective(self.model, x0, t=t, z=z)
        if hasattr(self.times, "observe"):
            self.times.observe(self.model.sde, t, losses.detach() / self.times.weight(self.model.sde, t))
        loss = losses.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.guard.step(self.optimizer, loss.detach(), clip_grad_norm_(self.model.parameters(), self.settings.clip))
        self.average.update_parameters(self.model.network)
        self.step += 1

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Dequantized data, times and noise of this step; every epoch is a new order of the whole set."""
        B, n = self.settings.batch_size, len(self.data)
        first, last = self.step * B, (self.step + 1) * B
        epochs = range(first // n, (last - 1) // n + 1)
        order = torch.cat([self._order(epoch) for epoch in epochs])[first - epochs[0] * n :][:B]
        codes = self.data[order]
        images = self.model.data
        assert isinstance(images, Images)
        if self.settings.dequantize:
            x0 = images.dequantize(codes, self._noise(Stream.DEQUANTIZE).uniform(torch.empty(codes.shape, device=codes.device)))
        else:
            x0 = images.encode(codes)
        u = self._noise(Stream.TRAIN_TIME).uniform(torch.empty(B, 1, dtype=torch.float64, device=codes.device))[:, 0]
        return x0, self.times.sample(self.model.sde, u), self._noise(Stream.TRAIN_NOISE)(x0)

    def _noise(self, stream: Stream) -> RowNoise:
        """The noise of this step: that of a batch is new at each step, and replayed when a run goes on."""
        if stream not in self._sources:
            self._sources[stream] = RowNoise(self.seed, self.settings.batch_size, stream)
        self._sources[stream].draw = self.step
        return self._sources[stream]

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            recent = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders = recent | {
                epoch: RowNoise(self.seed, 1, Stream.DATA, draw=epoch).permutation(len(self.data)).to(self.data.device)
            }
        return self._orders[epoch]

    def _look(self) -> HeldOut | None:
        """What images that are not trained on lose under the averaged weights, which are remembered if they are the best."""
        if not len(self.test):
            return None
        found = held_out(
            self._averaged(),
            self.objective,
            self.test,
            batch_size=self.settings.batch_size,
            dequantize=self.settings.dequantize,
            seed=self.seed,
        )
        self._best = self.guard.improved(found.mean)
        return found

    def _averaged(self) -> ScoreModel:
        return ScoreModel(self.average.module, self.model.sde, self.model.parameterization, self.model.data)

    def save(self) -> None:
        """Write the state and the checkpoint, and the best if this is it, each whole or not at all, the old ones kept.

        A kill in between leaves a state from which the run goes on to the same files: the best before the state that knows of
        it, the checkpoint after the state that it can be had from. Raises Failure rather than write weights that are not finite.
        """
        weights = [p.isfinite().all() for net in (self.model, self.average) for p in net.parameters()]
        memory = [~b.isnan().any() for b in self.model.buffers()]
        if not bool(torch.stack(weights + memory).all()):
            raise Failure(f"the weights at step {self.step} are not finite, and were not saved; {self._kept()}")
        if self._best:
            self._write_checkpoint(self.folder / BEST_NAME)
        old = None if self._saved == self.step else self._saved
        replace(self.folder / STATE_NAME, old, self.settings.keep, lambda path: write_state(path, self.step, *self._parts()))
        replace(self.folder / FILE_NAME, old, self.settings.keep, self._write_checkpoint)
        self._saved, self._best = self.step, False

    def _write_checkpoint(self, path: Path) -> None:
        averaged, shape = self.average.module.state_dict(), tuple(self.data.shape[1:])
        save(self.model, path, ema=averaged, step=self.step, shape=shape)

    def resume(self) -> None:
        """Go on from the folder's newest state that is sound, or from the start if none was saved before the run was stopped.

        Says on stderr what is not as it should be. Raises Failure when no state can be read.
        """
        path, checkpoint = self.folder / STATE_NAME, self.folder / FILE_NAME
        if not any(p.exists() for p in (path, *before(path), checkpoint)):
            print(f"nothing was saved in {self.folder} before the run was stopped: it begins anew", file=sys.stderr)
            return
        try:
            found, self.step = first_sound(path, lambda path: read_state(path, *self._parts()))
        except ValueError as error:
            raise Failure(f"{error}: train anew in another folder") from error
        self._saved = self.step if found == path else None

    def mend(self) -> None:
        """Write the checkpoint of the newest state, from which the run was resumed: that in the folder may be older, or damaged."""
        if self._saved is not None:
            try:
                there = read_header(self.folder)["step"]
            except (ValueError, FileNotFoundError):
                there = self.step
            old = None if there == self.step else there
            replace(self.folder / FILE_NAME, old, self.settings.keep, self._write_checkpoint)

    def _parts(self) -> tuple[nn.Module, AveragedModel, torch.optim.Optimizer, nn.Module, Guard]:
        return self.model.network, self.average, self.optimizer, self._memory(), self.guard

    def _memory(self) -> nn.Module:
        """What the law of times remembers of the losses, if it does."""
        return self.times if isinstance(self.times, nn.Module) else nn.Module()

    def _kept(self) -> str:
        path = self.folder / FILE_NAME
        return f"the last good checkpoint is {path}" if path.exists() else "no checkpoint had been saved"
