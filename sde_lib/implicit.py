"""Implicit and sliced score matching: objectives that need no score as their target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sde_lib.fields import check_choices
from sde_lib.jacobian import quadratic_form, trace
from sde_lib.losses import draw, weight_at
from sde_lib.noise import unseeded_normal, unseeded_sign
from sde_lib.score import ScoreModel
from sde_lib.tensors import sum_over_state
from sde_lib.training_times import TimeLaw, UniformTime
from sde_lib.weightings import Weighting, weighting_of

__all__ = ["ImplicitScoreMatching", "SlicedScoreMatching"]


@dataclass(frozen=True)
class ImplicitScoreMatching:
    """E over t of lambda(t) (2 tr grad s(x_t, t) + |s(x_t, t)|^2) / dims, estimated for each sample.

    Integration by parts makes it E lambda |s - grad log p_t|^2 / dims, less E lambda |grad log p_t|^2 / dims, a constant for
    every network. DenoisingScoreMatching is larger by lambda(t) / sigma^2: by 1 with "sigma2". At one time, times dims / 2, it is
    Hyvarinen's objective. weighting and times are those of DenoisingScoreMatching. The trace is exact and takes dims backward
    passes.

    Raises:
        ValueError: when the weighting is not known, or the data have more than max_dims entries.

    Reference: Hyvarinen, 2005, "Estimation of non-normalized statistical models by score matching", JMLR 6, theorem 1.

    >>> from sde_lib import Epsilon, ScoreModel, VPSDE
    >>> model = ScoreModel(lambda x, label: x, VPSDE(), Epsilon())
    >>> ImplicitScoreMatching()(model, torch.zeros(1, 2), t=torch.ones(1), z=torch.zeros(1, 2)).detach()
    tensor([-2.0000])
    """

    weighting: str | Weighting = "sigma2"
    times: TimeLaw = UniformTime()
    max_dims: int = 64

    def __post_init__(self) -> None:
        weighting_of(self.weighting)

    def __call__(self, model: ScoreModel, x0: Tensor, *, t: Tensor | None = None, z: Tensor | None = None, **cond: Any) -> Tensor:
        """Loss of each sample, (B,), for data x0 (B, *shape); t (B,) and z, shaped like x0, as for DenoisingScoreMatching."""
        dims = x0.shape[1:].numel()
        if dims > self.max_dims:
            raise ValueError(
                f"the exact trace of {dims} entries would take {dims} backward passes at every step: "
                f"use SlicedScoreMatching(), or raise ImplicitScoreMatching(max_dims={self.max_dims})"
            )
        t, z = draw(self.times, model.sde, x0, t, z)
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            x = model.sde.kernel(x0, t).sample(z).detach().requires_grad_()
            score = model(x, t, **cond)
            loss = (2 * trace(score, x, create_graph=keep) + sum_over_state(score**2)) / dims
        return weight_at(model.sde, t, self.times, self.weighting).to(loss) * (loss if keep else loss.detach())


@dataclass(frozen=True)
class SlicedScoreMatching:
    """Implicit score matching with the trace estimated along random directions v, E v v^T = 1, the slices.

    The loss is the mean over slices of lambda(t) (2 v . grad s v + |s|^2) / dims. Without variance_reduced, (v . s)^2 replaces
    |s|^2, which is its mean. kind is "rademacher" (signs: exact where the Jacobian is diagonal) or "gaussian". It takes one
    forward pass and one backward pass a slice, whatever the number of entries.

    Raises:
        ValueError: when kind is another word, slices is below 1, or the weighting is not known.
        ValueError: when probes do not fit the data.

    Reference: Song, Garg, Shi, Ermon, 2019, arXiv 1905.07088, equation 8, and section 3.2 for the reduced variance.

    >>> from sde_lib import Epsilon, ScoreModel, VPSDE
    >>> model = ScoreModel(lambda x, label: x, VPSDE(), Epsilon())
    >>> SlicedScoreMatching()(model, torch.zeros(1, 2), t=torch.ones(1), z=torch.zeros(1, 2)).detach()
    tensor([-2.0000])
    """

    slices: int = 1
    kind: Literal["rademacher", "gaussian"] = "rademacher"
    variance_reduced: bool = True
    weighting: str | Weighting = "sigma2"
    times: TimeLaw = UniformTime()

    def __post_init__(self) -> None:
        weighting_of(self.weighting)
        check_choices(self)
        if self.slices < 1:
            raise ValueError(f"{self!r}: at least one slice is needed")

    def __call__(
        self,
        model: ScoreModel,
        x0: Tensor,
        *,
        t: Tensor | None = None,
        z: Tensor | None = None,
        probes: Tensor | None = None,
        **cond: Any,
    ) -> Tensor:
        """Loss of each sample, (B,), for data x0 (B, *shape); t (B,) and z, shaped like x0, as for DenoisingScoreMatching.

        probes (slices, B, *shape) are the directions, of which there may be any number; if they are not given, they come from
        torch's own generator.
        """
        t, z = draw(self.times, model.sde, x0, t, z)
        if probes is None:
            like = x0.new_empty(self.slices, *x0.shape)
            probes = unseeded_sign(like) if self.kind == "rademacher" else unseeded_normal(like)
        if probes.shape[1:] != x0.shape:
            raise ValueError(f"probes of shape {tuple(probes.shape)} meet data {tuple(x0.shape)}: (slices, *data.shape) is needed")
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            x = model.sde.kernel(x0, t).sample(z).detach().requires_grad_()
            score = model(x, t, **cond)
            slopes = [quadratic_form(score, x, v.to(score), retain_graph=True, create_graph=keep) for v in probes]
            if self.variance_reduced:
                square = sum_over_state(score**2)
            else:
                square = (score * probes.to(score)).flatten(2).sum(2).square().mean(0)
            loss = (2 * torch.stack(slopes).mean(0) + square) / x0.shape[1:].numel()
        return weight_at(model.sde, t, self.times, self.weighting).to(loss) * (loss if keep else loss.detach())
