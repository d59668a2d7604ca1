"""What the training loop counts without asking the device: the loss since the last report, steps that were skipped, the best."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from score_sde.training.sharding import gather_full

__all__ = ["PATIENCE", "StepGuard"]

PATIENCE = 10  # steps skipped in a row after which training stops
FIRST, GROWTH = 2.0**16, 2000  # the scale of a loss in float16, and the steps without an overflow after which it doubles


class StepGuard(nn.Module):
    """Counters on the training's device; they are buffers, saved with the state, so that a run goes on with its own.

    A step whose loss or gradient is not finite is skipped: weights and moments stay as they are, whatever the gradient holds.
    With scaled=True the loss is multiplied by scale before the backward pass, so that gradients in float16 do not vanish; a step
    that overflows halves the scale, and those in a row are counted from a scale of 1.
    Reference: Micikevicius et al., 2018, arXiv 1710.03740, section 3.2.

    >>> guard, weight = Guard(), nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.Adam([weight], fused=True)
    >>> weight.grad = torch.tensor([torch.inf])
    >>> guard.step(optimizer, torch.tensor(1.0), clip=1.0)
    >>> weight.item(), guard.skipped.item(), guard.report()
    (1.0, 1, None)
    """

    total: Tensor
    counted: Tensor
    skipped: Tensor
    in_a_row: Tensor
    best: Tensor
    scale: Tensor
    clean: Tensor

    def __init__(self, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled
        self.register_buffer("scale", torch.tensor(FIRST if scaled else 1.0))
        self.register_buffer("total", torch.zeros(()))  # of the losses since the last report
        for name in ("counted", "skipped", "in_a_row", "clean"):  # since the last report; the start; up to now; an overflow
            self.register_buffer(name, torch.zeros((), dtype=torch.long))
        self.register_buffer("best", torch.tensor(torch.inf, dtype=torch.float64))  # the least held-out loss so far

    @torch.no_grad()
    def step(self, optimizer: Optimizer, loss: Tensor, clip: float) -> None:
        """Take the optimizer's step if the loss and the norm of the gradient are finite, and count: no answer is waited for.

        A norm above clip is brought down to it. The optimizer is a fused one: those look at found_inf, on the device, and do
        nothing where it is 1, and divide gradients by grad_scale as they read them.
        """
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = gather_full(get_total_norm(gradients)) / self.scale
        bad = ~(loss.isfinite() & norm.isfinite())
        optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
        optimizer.grad_scale = self.scale * (norm / clip).clamp(min=1.0)  # type: ignore[attr-defined]
        optimizer.step()
        self.total += torch.where(bad, 0.0, loss.float())
        self.counted += ~bad
        self.skipped += bad
        self.in_a_row.add_(1).mul_(bad & (self.scale <= 1))
        if self.scaled:
            self.clean.add_(1).mul_(~bad)
            grown = self.clean == GROWTH
            self.scale.mul_(torch.where(bad, 0.5, torch.where(grown, 2.0, 1.0))).clamp_(min=1.0)
            self.clean.mul_(~grown)

    def report(self) -> float | None:
        """The mean loss since the last report, over the steps that were taken; None when there was none."""
        total, counted = self.total.item(), int(self.counted)
        self.total.zero_()
        self.counted.zero_()
        return total / counted if counted else None

    def improved(self, loss: float) -> bool:
        """Whether a held-out loss is the least so far, which is remembered."""
        better = loss < self.best.item()
        if better:
            self.best.fill_(loss)
        return better

    def too_many_skipped(self) -> bool:
        """Whether so many steps in a row were skipped that more would be too."""
        return int(self.in_a_row) >= PATIENCE

    def last_step_taken(self) -> bool:
        """Whether the last step was taken: only then have the weights before it been seen to give a finite loss."""
        return int(self.in_a_row) == 0
