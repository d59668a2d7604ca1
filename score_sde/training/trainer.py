"""The training loop. Step k depends on (seed, k) and on the weights before it, and on nothing else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models import autocast, channels_last, recompute
from models.checkpoint import save
from score_sde.errors import RunError
from score_sde.protocols import learns_from_losses
from score_sde.training.augmentation import Augmentation
from score_sde.training.ema import averages_of
from score_sde.training.fingerprint import fingerprint_of_data
from score_sde.training.guard import StepGuard
from score_sde.training.held_out import HeldOut, held_out
from score_sde.training.ranks import Ranks
from score_sde.training.rows import Rows
from score_sde.training.settings import Settings
from score_sde.training.sharding import gather_full, shard
from score_sde.training.store import Store
from sde_lib import RowNoise, ScoreModel
from sde_lib.noise import Stream

__all__ = ["Progress", "Trainer"]


class Progress(NamedTuple):
    """Progress after a step: the number of steps taken, and every log_every steps the mean loss since the last report.

    loss and skipped are set in a report: loss is None in other steps, and skipped counts all steps so far whose loss or gradient
    was not finite. held_out is set before a save.
    """

    step: int
    loss: float | None
    skipped: int = 0
    held_out: HeldOut | None = None


class Trainer:
    """A model in training on integers or real numbers, with its optimizer, its averages, and the folder of its files.

    data (N, *shape) are the training rows. test are rows that are not trained on: their loss decides which weights are saved as
    the best. y and test_y, (N,) or (N, size), are conditions of the rows, which the network gets as its argument y.

    Ranks share the rows of a batch, and rank 0 writes. Up to rounding, the weights are those of a single process. The same holds
    for micro-batches.

    Raises:
        ValueError: when the number of conditions is not the number of rows, or `Augmentation` refuses the settings.
        UsageError: when the settings do not work with so many ranks.
    """

    def __init__(
        self,
        model: ScoreModel,
        data: Tensor,
        objective: Any,
        settings: Settings,
        seed: int,
        folder: Path | None,
        test: Tensor | None = None,
        ranks: Ranks = Ranks(),  # noqa: B008  (a value)
        *,
        y: Tensor | None = None,
        test_y: Tensor | None = None,
    ) -> None:
        settings.require_processes(ranks.world)
        for name, rows, conditions in (("data", data, y), ("test", test, test_y)):
            if conditions is not None and (rows is None or len(rows) != len(conditions)):
                had = 0 if rows is None else len(rows)
                raise ValueError(f"{name} has {had} rows and {len(conditions)} conditions, and one condition a row was needed")
        self.model, self.objective, self.settings = model, objective, settings
        self.augmentation = Augmentation(settings, tuple(data.shape[1:]), model.network)
        device = next(model.parameters()).device
        self.rows = Rows(data, seed, settings.batch_size, device, ranks)
        self.test = (data[:0] if test is None else test[: settings.held_out]).to(device)
        self.conditions = None if y is None else Rows(y, seed, settings.batch_size, device, ranks)  # the same order as rows
        self.test_y = None if test_y is None else test_y[: settings.held_out].to(device)
        self.seed, self.ranks = seed, ranks
        self.times: Any = objective.times
        self.transform: Any = model.data
        if settings.channels_last:
            channels_last(model.network)
        if settings.checkpointing:
            recompute(model.network)
        rates, widths = tuple(settings.ema_rates), tuple(settings.ema_widths)
        self.averages = averages_of(model.network, settings.ema, rates, widths, settings.ema_warmup)
        self.average = self.averages["ema"]
        self.bare_network = model.network  # not sharded: one rank alone can call it
        if settings.shard:
            self.bare_network = copy.deepcopy(model.network).requires_grad_(False)
            shard(model.network, ranks)
            for average in self.averages.values():
                shard(average.module, ranks)
        network = _training_network(model.network, settings, ranks)
        self.training_model = ScoreModel(network, model.sde, model.parameterization, model.data)
        # fused: it can skip a step without a synchronization
        self.optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        self.guard = StepGuard(scaled=settings.autocast == "fp16").to(device)
        self.step = 0
        memory = self.times if isinstance(self.times, nn.Module) else nn.Module()  # a law of times may have buffers
        parts = {"raw": model.network, **self.averages, "times": memory, "guard": self.guard}
        known = fingerprint_of_data(data, model.data, y)
        self.store = Store(folder, settings.keep, ranks, (parts, self.optimizer), self._write_checkpoint, known)
        self._best = False  # whether the current weights are the best so far
        self._sources: dict[Stream, RowNoise] = {}
        self._time_noise = RowNoise(seed, settings.batch_size, Stream.TRAIN_TIME)  # of the whole batch

    def run(self) -> Iterator[Progress]:
        """Train to the last step. A Progress follows each step, and a save follows it every save_every steps and at the end.

        A step whose loss or gradient is not finite is skipped, and the averages still move towards the unchanged weights. Except
        at the end, nothing is saved after a skipped step: only a finite loss shows that the weights are good.

        Raises:
            RunError: when PATIENCE steps in a row were skipped, at the next report or save.
        """
        self.training_model.train()
        while self.step < self.settings.steps:
            self._update()
            last = self.step == self.settings.steps
            report, due = (last or self.step % every == 0 for every in (self.settings.log_every, self.settings.save_every))
            if (report or due) and self.guard.too_many_skipped():
                raise RunError(
                    f"the loss or its gradient is not finite in {int(self.guard.in_a_row)} steps in a row, up to step {self.step}, "
                    f"and training has stopped; {self.store.kept()}: "
                    "lower train.learning_rate, or check that the data have no extreme values"
                )
            due = due and (last or self.guard.last_step_taken())
            loss, skipped = (self.guard.report(), int(self.guard.skipped)) if report else (None, 0)
            yield Progress(self.step, loss, skipped, self._held_out() if due else None)
            if due:
                self.save()

    def _update(self) -> None:
        self._reseed()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self.settings.rate_at(self.step)
        x0, t, z, cond = self._batch()
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._backward(x0, t, z, cond)
        if learns_from_losses(self.times):
            t, everyone = self.ranks.gather(t), self.ranks.gather(losses)
            self.times.observe(self.model.sde, t, everyone / self.times.weight(self.model.sde, t))
        self.guard.step(self.optimizer, self.ranks.mean(losses.mean()), self.settings.clip)
        for average in self.averages.values():
            average.update(self.step)
        self.step += 1

    def _reseed(self) -> None:
        """Seed torch for dropout, differently on each rank. torch.manual_seed would be slow: it inspects its caller."""
        seed = (self.seed * 1_000_003 + self.step + (self.ranks.rank << 48)) % 2**63
        torch.default_generator.manual_seed(seed)
        if self.rows.device.type != "cpu":
            torch.get_device_module(self.rows.device).manual_seed(seed)

    def _backward(self, x0: Tensor, t: Tensor, z: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """Compute the gradient of the mean loss in micro-batches, and return the loss of each row."""
        network: Any = self.training_model.network
        size = self.settings.micro_batch or len(x0)
        losses = []
        for start in range(0, len(x0), size):
            part = slice(start, start + size)
            local = start + size < len(x0) and self.ranks.world > 1  # ranks reduce gradients in the last micro-batch alone
            if self.settings.shard:
                self.model.network.set_requires_gradient_sync(not local)
            with network.no_sync() if local and not self.settings.shard else nullcontext():
                given = {name: value[part] for name, value in cond.items()}
                loss = self.objective(self.training_model, x0[part], t=t[part], z=z[part], **given)
                (loss.sum() * (self.guard.scale / len(x0))).backward()
            losses.append(loss.detach())
        return torch.cat(losses)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """The dequantized data, times, noise and conditions of this step."""
        codes, cond = self.augmentation(self.rows.take(self.step), self._noise)
        if self.conditions is not None:
            cond["y"] = self.conditions.take(self.step)
        u = torch.full(codes.shape, 0.5, device=codes.device)  # the middle of a bin
        if self.settings.dequantize:
            u = self._noise(Stream.DEQUANTIZE).uniform(u)
        x0 = self.transform.dequantize(codes, u)
        self._time_noise.draw = self.step
        u = torch.empty(self.settings.batch_size, 1, dtype=torch.float64, device=codes.device)
        u = self._time_noise.uniform(u)[:, 0]
        t = self.times.sample(self.model.sde, u)[self.ranks.rank :: self.ranks.world]  # times of a batch may depend on each other
        return x0, t, self._noise(Stream.TRAIN_NOISE)(x0), cond

    def _noise(self, stream: Stream) -> RowNoise:
        """The noise of a stream in this step. It depends on the seed and the step, so that a resumed run draws the same."""
        if stream not in self._sources:
            rows = torch.arange(self.ranks.rank, self.settings.batch_size, self.ranks.world)
            self._sources[stream] = RowNoise(self.seed, rows, stream)
        self._sources[stream].draw = self.step
        return self._sources[stream]

    def _held_out(self) -> HeldOut | None:
        """The held-out loss of the averaged weights; None without test rows. It decides whether they are the best so far."""
        if not len(self.test):
            return None
        averaged, loss = self.averaged(), None
        if self.ranks.rank == 0:
            loss = held_out(
                averaged,
                self.objective,
                self.test,
                batch_size=self.settings.batch_size,
                dequantize=self.settings.dequantize,
                seed=self.seed,
                y=self.test_y,
            )
        loss = self.ranks.broadcast(loss)
        self._best = self.guard.improved(loss.mean)
        return loss

    def averaged(self) -> ScoreModel:
        """The model with its averaged weights. With shards, every rank must call this."""
        network = self.average.module
        if self.settings.shard:
            self.bare_network.load_state_dict({name: gather_full(value) for name, value in network.state_dict().items()})
            network = self.bare_network
        return ScoreModel(network, self.model.sde, self.model.parameterization, self.model.data)

    def save(self) -> None:
        """Save the state and the checkpoint.

        Raises:
            RunError: when the weights are not finite. They are not saved.
        """
        self.store.save(self.step, best=self._best)
        self._best = False

    def resume(self) -> None:
        """Continue from the newest readable state in the folder.

        Raises:
            RunError: when no state can be read.
            UsageError: when the state is of other data.
        """
        self.step = self.store.resume()

    def rewrite_checkpoint(self) -> None:
        """Write the checkpoint of the state from which this run resumed."""
        self.store.rewrite_checkpoint(self.step)

    def _write_checkpoint(self, contents: dict[str, Tensor], path: Path) -> None:
        states: dict[str, dict[str, Tensor]] = {name: {} for name in ("raw", *self.averages)}
        for key, value in contents.items():
            part, name = key.split("/", 1)
            if part in states:
                states[part][name if part == "raw" else name.removeprefix("module.")] = value
        raw = states.pop("raw")
        if self.settings.shard:
            self.bare_network.load_state_dict(raw)
        model = ScoreModel(self.bare_network, self.model.sde, self.model.parameterization, self.model.data)
        save(model, path, ema=states.pop("ema"), more=states, step=self.step, shape=tuple(self.rows.data.shape[1:]))


def _training_network(network: nn.Module, settings: Settings, ranks: Ranks) -> nn.Module:
    """The network as training calls it, with the same weights: compiled, in autocast and data-parallel, as settings ask."""
    called: Any = torch.compile(network) if settings.compile else network
    if settings.autocast != "none":
        called = autocast(called, torch.bfloat16 if settings.autocast == "bf16" else torch.float16)
    return DistributedDataParallel(called) if ranks.world > 1 and not settings.shard else called
