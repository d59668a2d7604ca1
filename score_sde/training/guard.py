"""Guarded optimizer steps: skipping of bad steps, gradient clipping, loss scaling, and counters that stay on the device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from score_sde.training.sharding import gather_full

__all__ = ["PATIENCE", "StepGuard"]

PATIENCE = 10  # steps skipped in a row after which training stops
FIRST, GROWTH = 2.0**16, 2000  # the first scale of a loss in float16; it doubles after 2000 steps without an overflow


class StepGuard(nn.Module):
    """Takes optimizer steps, skips bad ones, and counts. The counters are buffers, which are saved and resumed with the state.

    A step whose loss or gradient is not finite is skipped: weights and moments stay as they are. With scaled=True, the loss is to
    be multiplied by scale before the backward pass, so that gradients in float16 do not vanish. A step that overflows halves the
    scale. Such steps count as skipped in a row only once the scale is 1.

    best is the smallest held-out loss so far. It is a buffer here so that one file keeps all that a run remembers.

    Reference: Micikevicius et al., 2018, arXiv 1710.03740, section 3.2.

    >>> guard, weight = StepGuard(), nn.Parameter(torch.ones(1))
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
        # counted: steps since the last report; skipped: since the start; in_a_row: up to now; clean: since the last overflow
        for name in ("counted", "skipped", "in_a_row", "clean"):
            self.register_buffer(name, torch.zeros((), dtype=torch.long))
        self.register_buffer("best", torch.tensor(torch.inf, dtype=torch.float64))

    @torch.no_grad()
    def step(self, optimizer: Optimizer, loss: Tensor, clip: float) -> None:
        """Take the optimizer's step if the loss and the norm of the gradient are finite, and count, without a synchronization.

        A norm above clip is reduced to clip. The optimizer must be a fused one. Such an optimizer reads found_inf on the device,
        takes no step where it is 1, and divides gradients by grad_scale.
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
        """The mean loss over the steps taken since the last report; None when there were none."""
        total, counted = self.total.item(), int(self.counted)
        self.total.zero_()
        self.counted.zero_()
        return total / counted if counted else None

    def improved(self, loss: float) -> bool:
        """Whether a held-out loss is the smallest so far. The smallest loss is remembered."""
        better = loss < self.best.item()
        if better:
            self.best.fill_(loss)
        return better

    def too_many_skipped(self) -> bool:
        """Whether PATIENCE steps in a row or more were skipped."""
        return int(self.in_a_row) >= PATIENCE

    def last_step_taken(self) -> bool:
        """Whether the last step was taken. Only then are the weights before it known to give a finite loss."""
        return int(self.in_a_row) == 0
