"""How to train."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from score_sde.errors import Usage
from score_sde.training.ema import exponent_of

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How to train: Adam with warm-up and clipping, an average of the weights, and how often to report, save and look.

    micro_batch, unless 0, is how many rows of a batch pass the network at once. autocast "bf16", channels_last, checkpointing
    (blocks computed again for the gradient) and compile are about the network's time and memory alone: the loss is in float32, and
    weights are kept and saved as without. autocast "fp16" is for accelerators without bfloat16: its loss is scaled (`Guard`).
    ema is the rate of the average that is used, ema_rates are those of others, reached as n / (n + 10) or, without ema_warmup, kept
    from the first step on, and ema_widths widths of power-function averages, from two of which one of any width can be had
    afterwards (`post_hoc`). flip, rotate, shift and augment: see `Augmentation`.
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
    ema_warmup: bool = True
    ema_rates: tuple[float, ...] = ()
    ema_widths: tuple[float, ...] = ()
    keep: int = 1
    held_out: int = 0
    flip: bool = False
    rotate: bool = False
    shift: int = 0
    augment: float = 0.0
    autocast: Literal["none", "bf16", "fp16"] = "none"
    channels_last: bool = False
    checkpointing: bool = False
    compile: bool = False
    micro_batch: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    shard: bool = False
    look_every: int = 0
    tensorboard: bool = False

    def rate_at(self, step: int) -> float:
        """The learning rate of a step over learning_rate: it rises for warmup steps, and may fall to 0 at the end as a cosine."""
        rising = min(1.0, (step + 1) / max(self.warmup, 1))
        falling = 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.schedule == "cosine" else 1.0
        return rising * falling

    def require_processes(self, world: int) -> None:
        """Raise Usage for what so many processes cannot do."""
        if self.batch_size % world:
            raise Usage(f"train.batch_size is {self.batch_size}, and {world} processes need a multiple of {world}")
        if self.shard and world == 1:
            raise Usage(
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
