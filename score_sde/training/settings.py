"""The settings of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from configs import default
from score_sde.errors import UsageError
from score_sde.training.ema import exponent_of

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The settings of a training. `of` takes each one that is not given from configs/default.py.

    steps: how many updates of the weights.
    batch_size: rows of one update.
    learning_rate: the largest learning rate of Adam.
    warmup: steps over which the learning rate rises from 0.
    schedule: "constant", or "cosine": the learning rate falls to 0 at the last step.
    clip: the largest norm of the gradient.
    micro_batch: rows that pass the network at once, to save memory; 0: all of a batch.
    ema: the rate of the moving average of the weights, which is the model that is used.
    ema_warmup: the rate is n / (n + 10) after n steps, while that is smaller.
    ema_rates: the rates of further averages, which are saved beside it.
    ema_widths: the widths of power-function averages; from two of them `post_hoc` makes an average of any width.
    log_every, save_every: steps between reports and between saves.
    keep: how many states and checkpoints are kept.
    held_out: the number of test rows whose loss, at each save, decides which weights are the best; 0: none.
    look_every: steps between previews; 0: none.
    tensorboard: the metrics are written for TensorBoard, too.
    dequantize: each level is spread over its bin.
    flip, rotate, shift, augment: symmetries of the data; see `Augmentation`.
    autocast: "none", "bf16" or "fp16": the network runs in 16 bits, while loss and weights stay in float32. "fp16" is for
        accelerators without bfloat16, and its loss is scaled (`StepGuard`).
    channels_last, checkpointing, compile: the network's time and memory; the result is the same.
    shard: each rank keeps a part of the weights, gradients, moments and averages.
    """

    steps: int
    batch_size: int
    micro_batch: int
    learning_rate: float
    warmup: int
    schedule: Literal["constant", "cosine"]
    clip: float
    ema: float
    ema_warmup: bool
    ema_rates: tuple[float, ...]
    ema_widths: tuple[float, ...]
    log_every: int
    save_every: int
    shard: bool
    look_every: int
    tensorboard: bool
    keep: int
    held_out: int
    flip: bool
    rotate: bool
    shift: int
    augment: float
    dequantize: bool
    autocast: Literal["none", "bf16", "fp16"]
    channels_last: bool
    checkpointing: bool
    compile: bool

    @classmethod
    def of(cls, **given: Any) -> Settings:
        """The settings of configs/default.py, with the given ones replaced.

        Raises:
            TypeError: when a setting is not known.
            ValueError: when a value is out of range.
        """
        return cls(**{**default.get_config().train.to_dict(), **given})

    def rate_at(self, step: int) -> float:
        """The learning rate of a step as a fraction of learning_rate, by warmup and schedule."""
        rising = min(1.0, (step + 1) / max(self.warmup, 1))
        falling = 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.schedule == "cosine" else 1.0
        return rising * falling

    def require_processes(self, world: int) -> None:
        """Refuse settings that do not work with world processes.

        Raises:
            UsageError: when the batch cannot be divided among the processes, or a single process is to shard.
        """
        if self.batch_size % world:
            raise UsageError(f"train.batch_size is {self.batch_size}, and {world} processes need a multiple of {world}")
        if self.shard and world == 1:
            raise UsageError(
                "train.shard=True gives each process a part of the weights, and there is one process: start more with torchrun"
            )

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "clip", "log_every", "save_every", "keep"):
            if getattr(self, name) <= 0:
                raise ValueError(f"train.{name} is {getattr(self, name)}, and a positive number was needed")
        if self.warmup < 0 or not all(0 <= rate < 1 for rate in (self.ema, *self.ema_rates)):
            given = f"train.warmup={self.warmup}, train.ema={self.ema} and train.ema_rates={self.ema_rates}"
            raise ValueError(f"{given}: warmup >= 0 and 0 <= ema < 1 are needed")
        try:
            [exponent_of(width) for width in self.ema_widths]
        except ValueError as error:
            raise ValueError(f"train.ema_widths={self.ema_widths}: {error}") from None
        for name in ("held_out", "look_every", "shift"):
            if getattr(self, name) < 0:
                raise ValueError(f"train.{name} is {getattr(self, name)}, and a positive number was needed, or 0 for none")
        if not 0 <= self.augment <= 1:
            raise ValueError(f"train.augment is {self.augment}, and a probability, from 0 to 1, was needed")
        if self.micro_batch < 0 or self.schedule not in ("constant", "cosine"):
            given = f"train.micro_batch={self.micro_batch} and train.schedule={self.schedule!r}"
            raise ValueError(f"{given}: a positive number, or 0, and 'constant' or 'cosine' were needed")
        if self.shard and self.channels_last:
            raise ValueError("train.shard and train.channels_last do not go together: weights are cut along their order in memory")
        if self.autocast not in ("none", "bf16", "fp16"):
            raise ValueError(f"train.autocast is {self.autocast!r}, and 'none', 'bf16' or 'fp16' was needed")
