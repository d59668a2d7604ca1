"""The training loop: step k depends on (seed, k) and on the weights before it, and on nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel

from models import autocast, channels_last, recompute
from models.checkpoint import FILE_NAME, save
from sde_lib import RowNoise, ScoreModel
from sde_lib.noise import Stream
from training.ema import average_of
from training.errors import Failure
from training.processes import Processes
from training.rows import Rows
from training.state import STATE_NAME, read_state, write_state

__all__ = ["Progress", "Settings", "Trainer"]


@dataclass(frozen=True)
class Settings:
    """How to train: Adam with warm-up and clipping, an average of the weights, and how often to report and save.

    micro_batch, unless 0, is how many rows of a batch pass the network at once. autocast "bf16", channels_last, checkpointing
    (blocks computed again for the gradient) and compile are about the network's time and memory alone: the loss is in float32, and
    weights are kept and saved as without.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int
    clip: float
    ema: float
    log_every: int
    save_every: int
    dequantize: bool
    flip: bool = False
    autocast: Literal["none", "bf16"] = "none"
    channels_last: bool = False
    checkpointing: bool = False
    compile: bool = False
    micro_batch: int = 0
    schedule: Literal["constant", "cosine"] = "constant"

    def rate_at(self, step: int) -> float:
        """The learning rate of a step over learning_rate: it rises for warmup steps, and may fall to 0 at the end as a cosine."""
        rising = min(1.0, (step + 1) / max(self.warmup, 1))
        falling = 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.schedule == "cosine" else 1.0
        return rising * falling

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "clip", "log_every", "save_every"):
            if getattr(self, name) <= 0:
                raise ValueError(f"train.{name} is {getattr(self, name)}, and a positive number was needed")
        if self.warmup < 0 or not 0 <= self.ema < 1:
            raise ValueError(f"train.warmup={self.warmup} and train.ema={self.ema}: warmup >= 0 and 0 <= ema < 1 are needed")
        if self.micro_batch < 0 or self.schedule not in ("constant", "cosine"):
            given = f"train.micro_batch={self.micro_batch} and train.schedule={self.schedule!r}"
            raise ValueError(f"{given}: a positive number, or 0, and 'constant' or 'cosine' were needed")
        if self.autocast not in ("none", "bf16"):
            raise ValueError(f"train.autocast is {self.autocast!r}, and 'none' or 'bf16' was needed")


class Progress(NamedTuple):
    """After a step: how many are done, and, every log_every steps, the mean loss since the last report (else None)."""

    step: int
    loss: float | None


class Trainer:
    """A model in training on integers or real numbers, with its optimizer and average, and the folder where they are kept.

    Of several processes each has every so many rows of a batch, and the first one writes: the weights are those of one process, to
    rounding. The same is true of micro-batches.
    """

    def __init__(
        self,
        model: ScoreModel,
        data: Tensor,
        objective: Any,
        settings: Settings,
        seed: int,
        folder: Path | None,
        here: Processes = Processes(),  # noqa: B008  (a value)
    ) -> None:
        self.model, self.objective, self.settings = model, objective, settings
        self.rows = Rows(data, seed, settings.batch_size, next(model.parameters()).device, here)
        self.seed, self.folder, self.here = seed, folder, here
        self.fast = ScoreModel(_fast(model.network, settings, here), model.sde, model.parameterization, model.data)
        self.times: Any = objective.times
        self.transform: Any = model.data
        self.optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, foreach=True)
        self.average: AveragedModel = average_of(model.network, settings.ema)
        self.step = 0
        self._sources: dict[Stream, RowNoise] = {}

    def run(self) -> Iterator[Progress]:
        """Train to the last step, a Progress after each; saves every save_every steps and at the end.

        Raises Failure when the loss is no longer finite; nothing that is not finite is saved.
        """
        self.fast.train()
        total = torch.zeros((), device=self.rows.device)
        since = 0
        while self.step < self.settings.steps:
            total += self._update()
            since += 1
            loss = None
            last = self.step == self.settings.steps
            if self.step % self.settings.log_every == 0 or last:
                loss, since = self.here.mean(total).item() / since, 0
                total.zero_()
                if not math.isfinite(loss):
                    raise Failure(
                        f"the loss is {loss} at step {self.step}, and training has stopped; {self._kept()}: "
                        "lower train.learning_rate, or check that the data have no extreme values"
                    )
            if self.step % self.settings.save_every == 0 or last:
                self.save()
            yield Progress(self.step, loss)

    def _update(self) -> Tensor:
        # Dropout, and whatever a user's network draws; each process its own.
        torch.manual_seed((self.seed * 1_000_003 + self.step + (self.here.rank << 48)) % 2**63)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self.settings.rate_at(self.step)
        x0, t, z = self._batch()
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(x0, t, z)
        if hasattr(self.times, "observe"):
            t, everyone = self.here.gather(t), self.here.gather(losses)
            self.times.observe(self.model.sde, t, everyone / self.times.weight(self.model.sde, t))
        clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()
        self.average.update_parameters(self.model.network)
        self.step += 1
        return losses.mean()

    def _backward(self, x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """Put the gradient of the mean loss into the weights, in micro-batches; the loss of each row."""
        network: Any = self.fast.network
        size = self.settings.micro_batch or len(x0)
        losses = []
        for start in range(0, len(x0), size):
            part = slice(start, start + size)
            alone = start + size < len(x0) and self.here.world > 1  # processes meet at the last of them
            with network.no_sync() if alone else nullcontext():
                loss = self.objective(self.fast, x0[part], t=t[part], z=z[part])
                (loss.sum() / len(x0)).backward()
            losses.append(loss.detach())
        return torch.cat(losses)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Dequantized data, times and noise of this step."""
        codes = self.rows.take(self.step)
        if self.settings.flip:
            mirrored = self._noise(Stream.FLIP).uniform(torch.empty(len(codes), 1, device=codes.device)) < 0.5
            codes = torch.where(mirrored.reshape(-1, *[1] * (codes.ndim - 1)), codes.flip(-1), codes)
        u = torch.full(codes.shape, 0.5, device=codes.device)  # the middle of a bin
        if self.settings.dequantize:
            u = self._noise(Stream.DEQUANTIZE).uniform(u)
        x0 = self.transform.dequantize(codes, u)
        whole = RowNoise(self.seed, self.settings.batch_size, Stream.TRAIN_TIME, draw=self.step)
        u = whole.uniform(torch.empty(self.settings.batch_size, 1, dtype=torch.float64, device=codes.device))[:, 0]
        t = self.times.sample(self.model.sde, u)[self.here.rank :: self.here.world]  # times of a batch may depend on each other
        return x0, t, self._noise(Stream.TRAIN_NOISE)(x0)

    def _noise(self, stream: Stream) -> RowNoise:
        """The noise of this step: that of a batch is new at each step, and replayed when a run goes on."""
        if stream not in self._sources:
            rows = torch.arange(self.here.rank, self.settings.batch_size, self.here.world)
            self._sources[stream] = RowNoise(self.seed, rows, stream)
        self._sources[stream].draw = self.step
        return self._sources[stream]

    def save(self) -> None:
        """Write checkpoint and state. Raises Failure rather than write weights that are not finite."""
        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            raise Failure(f"the weights at step {self.step} are not finite, and were not saved; {self._kept()}")
        network, folder = self.model.network, self.folder
        if self.here.rank > 0 or folder is None:
            return
        write_state(folder / STATE_NAME, self.step, network, self.average, self.optimizer, self._memory())
        averaged, shape = self.average.module.state_dict(), tuple(self.rows.data.shape[1:])
        save(self.model, folder / FILE_NAME, ema=averaged, step=self.step, shape=shape)

    def resume(self) -> None:
        """Go on from the folder's state. Raises Failure when there is none that can be read."""
        if self.folder is None:
            raise Failure("there is no folder to go on from: give the one of the training that was interrupted")
        self.step = read_state(self.folder / STATE_NAME, self.model.network, self.average, self.optimizer, self._memory())

    def _memory(self) -> nn.Module:
        """What the law of times remembers of the losses, if it does."""
        return self.times if isinstance(self.times, nn.Module) else nn.Module()

    def _kept(self) -> str:
        path = None if self.folder is None else self.folder / FILE_NAME
        return f"the last good checkpoint is {path}" if path is not None and path.exists() else "no checkpoint had been saved"


def _fast(network: nn.Module, settings: Settings, here: Processes) -> nn.Module:
    """The network as it is called in training, with the same weights; of several processes, which share their gradients."""
    if settings.channels_last:
        channels_last(network)
    if settings.checkpointing:
        recompute(network)
    called: Any = torch.compile(network) if settings.compile else network
    called = autocast(called) if settings.autocast == "bf16" else called
    return DistributedDataParallel(called) if here.world > 1 else called
