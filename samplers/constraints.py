"""Constraints on the states of a sampler, such as known pixels."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from samplers.algorithm import Step
from sde_lib.base import SDE
from sde_lib.noise import Noise

__all__ = ["Constraint", "Inpaint"]


class Constraint(Protocol):
    """Applied to the start and after each corrector and predictor; finish is applied to the result."""

    def __call__(self, sde: SDE, x: Tensor, mean: Tensor, t: Tensor, noise: Noise) -> Step: ...  # noqa: D102
    def finish(self, x: Tensor) -> Tensor: ...  # noqa: D102


class Inpaint:
    """Known entries follow their own forward law, the others the sampler: x = kernel(known, t) where mask, else x.

    known is (B, *shape), and mask, boolean, broadcasts to it. The known entries of the result are those of known, bit for bit.
    mean is kept apart from x, so that dropping the last noise works on the unknown entries too.

    Raises:
        TypeError: when mask is not boolean.
        ValueError: when the shapes of known, mask and the state do not fit.

    Reference: Song et al., 2021, arXiv 2011.13456, appendix I.2.

    >>> constraint = Inpaint(torch.zeros(1, 4), torch.tensor([[True, True, False, False]]))
    >>> constraint.finish(torch.ones(1, 4))
    tensor([[0., 0., 1., 1.]])
    """

    def __init__(self, known: Tensor, mask: Tensor) -> None:
        known, mask = torch.as_tensor(known), torch.as_tensor(mask)
        if mask.dtype != torch.bool:
            raise TypeError(f"mask has dtype {mask.dtype}, and bool was needed, True where known: use mask.bool()")
        try:
            self.mask = mask.expand_as(known)
        except RuntimeError:
            raise ValueError(
                f"mask of shape {tuple(mask.shape)} does not broadcast to known of shape {tuple(known.shape)}"
            ) from None
        self.known = known

    def __call__(self, sde: SDE, x: Tensor, mean: Tensor, t: Tensor, noise: Noise) -> Step:
        """Put the known entries, noised to time t, into x, and their mean into mean."""
        if x.shape != self.known.shape:
            raise ValueError(
                f"Inpaint knows a state of shape {tuple(self.known.shape)}, and {tuple(x.shape)} is being "
                "sampled: ask for that shape"
            )
        law = sde.kernel(self.known.to(x), t)
        mask = self.mask.to(x.device)
        return Step(torch.where(mask, law.sample(noise(x)), x), torch.where(mask, law.mean, mean))

    def finish(self, x: Tensor) -> Tensor:
        """The known entries as they were given."""
        return torch.where(self.mask.to(x.device), self.known.to(x), x)
