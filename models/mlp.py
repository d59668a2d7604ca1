"""A time-conditioned multi-layer perceptron for data of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sde_lib.tensors import as_shape

from .layers import NoiseEmbedding, conditions, refuse_unknown, zero_init
from .registry import network

__all__ = ["MLP"]


@network("mlp")
class MLP(nn.Module):
    """States (B, *shape) and noise labels (B,) to (B, *shape), by depth residual layers of the given width.

    outputs is the number of outputs for each entry, along axis 1: 2 with a learned variance.
    condition is the size of y, classes (B,) or a vector (B, condition). Training drops y with probability condition_dropout.

    Raises:
        ValueError: when shape is empty.
        TypeError: when shape is a number.

    >>> MLP((7, 3), width=16)(torch.zeros(2, 7, 3), torch.zeros(2)).shape
    torch.Size([2, 7, 3])
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 3,
        dropout: float = 0.0,
        outputs: int = 1,
        condition: int = 0,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        shape = as_shape(shape, "that of one datum, such as data.shape[1:],")
        if not shape:
            raise ValueError("MLP needs the shape of one datum, such as data.shape[1:], and got ()")
        dims = math.prod(shape)
        self.embedding = NoiseEmbedding(width)
        self.conditions = nn.ModuleDict(conditions(condition, width, condition_dropout))
        self.first = nn.Linear(dims, width)
        self.hidden = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width)) for _ in range(depth)
        )
        self.last = zero_init(nn.Linear(width, outputs * dims))
        self.answer = (outputs * shape[0], *shape[1:])

    def forward(self, x: Tensor, noise_label: Tensor, y: Tensor | None = None) -> Tensor:
        """The output at states x (B, *shape), labels (B,) and conditions y; None, or class -1 in a row, is no condition."""
        refuse_unknown({"y": y}, tuple(self.conditions))
        embedding = self.embedding(noise_label)
        for condition in self.conditions.values():
            embedding = embedding + condition(y, len(x))
        h = self.first(x.flatten(1))
        for layer in self.hidden:
            h = h + layer(h + embedding)
        return self.last(torch.nn.functional.silu(h)).reshape(-1, *self.answer)
