"""Embeddings of the noise level and of conditions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    *("Condition", "Embedding", "Fourier", "LabelFeatures", "NoiseEmbedding", "Octaves", "Sinusoid"),
    *("conditions", "refuse_unknown"),
]

LabelFeatures = Literal["positional", "fourier"]


class Octaves(nn.Module):
    """sin and cos of label w, with a geometric sequence of frequencies w from highest to 1e-4 highest: (B,) to (B, 2 count).

    The highest frequency should make a few turns over the range of the labels.
    With hundreds of turns the network is rough in time, and adaptive solvers are slow.

    Reference: Vaswani et al., 2017, arXiv 1706.03762, section 3.5.

    >>> Octaves(count=3)(torch.tensor([0.0]))
    tensor([[0., 0., 0., 1., 1., 1.]])
    """

    frequencies: Tensor

    def __init__(self, highest: float = 4.0, count: int = 32) -> None:
        super().__init__()
        octaves = highest * torch.exp(-math.log(1e4) * torch.arange(count) / max(count - 1, 1))
        self.register_buffer("frequencies", octaves, persistent=False)

    def forward(self, label: Tensor) -> Tensor:
        """Embed labels (B,)."""
        angles = label[:, None].to(self.frequencies.dtype) * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class NoiseEmbedding(nn.Module):
    """Octaves of the noise label, then two linear layers: (B,) to (B, width).

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B.

    >>> NoiseEmbedding(width=8)(torch.tensor([0.0, 999.0])).shape
    torch.Size([2, 8])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = Octaves()
        self.layers = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, label: Tensor) -> Tensor:
        """Embed labels (B,)."""
        return self.layers(self.features(label))


class Sinusoid(nn.Module):
    """sin and cos of label 10000^(-j/d), j = 0..size//2 - 1: (B,) to (B, size), and a zero where size is odd.

    inclusive: d = size//2 - 1, and the lowest frequency is 1e-4 (DDPM, Score-SDE).
    Otherwise d = size//2 (Transformer, improved-diffusion).
    cosine_first: the cosines come before the sines.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B; Vaswani et al., 2017, arXiv 1706.03762, section 3.5.

    >>> Sinusoid(4, cosine_first=True)(torch.tensor([0.0]))
    tensor([[1., 1., 0., 0.]])
    """

    def __init__(self, size: int, inclusive: bool = True, cosine_first: bool = False) -> None:
        super().__init__()
        self.size, self.last, self.cosine_first = size, size // 2 - inclusive, cosine_first

    def forward(self, label: Tensor) -> Tensor:
        """Embed labels (B,), in float32 or better."""
        label = label.to(torch.promote_types(label.dtype, torch.float32))
        places = torch.arange(self.size // 2, device=label.device, dtype=label.dtype)
        angles = label[:, None] * torch.exp(-math.log(1e4) * places / self.last)
        waves = [angles.cos(), angles.sin()] if self.cosine_first else [angles.sin(), angles.cos()]
        return F.pad(torch.cat(waves, dim=1), (0, self.size % 2))


class Fourier(nn.Module):
    """sin and cos of 2 pi w label, with frequencies w ~ N(0, scale^2): (B,) to (B, size). The frequencies are not trained.

    log: the features are those of the label's logarithm, for labels that are sigma.

    Reference: Tancik et al., 2020, arXiv 2006.10739; Song et al., 2021, arXiv 2011.13456, appendix C.

    >>> Fourier(8)(torch.ones(3)).shape
    torch.Size([3, 8])
    """

    frequencies: Tensor

    def __init__(self, size: int, scale: float = 16.0, log: bool = True) -> None:
        super().__init__()
        self.register_buffer("frequencies", nn.init.normal_(torch.empty(size // 2), std=scale))
        self.log = log

    def forward(self, label: Tensor) -> Tensor:
        """Embed labels (B,)."""
        label = label.to(self.frequencies.dtype)
        angles = (label.log() if self.log else label)[:, None] * self.frequencies * (2 * math.pi)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class Condition(nn.Module):
    """A linear map of a vector or of a one-hot class: y (B, size), or integers (B,) in 0..size-1, to (B, width).

    The vector 0 stands for no condition, which is y = None, or -1 in a row.
    Training drops the condition of each row with probability dropout. So one network learns the conditional and the
    unconditional score.

    Raises:
        ValueError: when a class does not exist, or a vector has another size.

    Reference: Ho and Salimans, 2022, arXiv 2207.12598, algorithm 1.

    >>> Condition(10, 4)(torch.tensor([3, -1]), rows=2).abs().sum(dim=1) > 0
    tensor([ True, False])
    """

    def __init__(self, size: int, width: int, dropout: float = 0.0, bias: bool = False) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(size, width, bias=bias), dropout

    def forward(self, y: Tensor | None, rows: int) -> Tensor:
        """Map the conditions of this number of rows."""
        weight, bias = self.linear.weight, self.linear.bias
        if y is None:
            out = weight.new_zeros(rows, len(weight))
        else:
            if y.is_floating_point():
                if y.shape[-1:] != (self.linear.in_features,):
                    known = f"vectors of {self.linear.in_features} numbers, or classes, which are integers"
                    raise ValueError(f"a condition of shape {tuple(y.shape)} was given, and the network knows {known}")
                out, given = F.linear(y.to(weight.dtype), weight), weight.new_ones(rows)
            else:
                y = y.long().expand(rows)
                out, given = self._of_class(y), (y >= 0).to(weight.dtype)
            out = out * (given * (F.dropout(torch.ones_like(given), self.dropout, self.training) > 0))[:, None]
        return out if bias is None else out + bias

    def _of_class(self, y: Tensor) -> Tensor:
        try:
            return F.embedding(y.clamp_min(0), self.linear.weight.t())
        except IndexError:
            classes = self.linear.in_features
            raise ValueError(f"y names class {int(y.max())}, and the network knows 0 to {classes - 1}, and -1 for none") from None


def conditions(size: int, width: int, dropout: float, bias: bool = False) -> dict[str, Condition]:
    """The condition y by its name, for size numbers or classes; no condition if size is 0.

    >>> conditions(0, 16, 0.1), list(conditions(10, 16, 0.1))
    ({}, ['y'])
    """
    return {"y": Condition(size, width, dropout, bias)} if size else {}


def refuse_unknown(cond: Mapping[str, Tensor | None], known: Collection[str]) -> None:
    """Refuse a condition that a network was not built for.

    Raises:
        ValueError: when a condition that is not None is not among the known ones.

    >>> refuse_unknown({"y": None}, known=())
    """
    for name, value in cond.items():
        if value is not None and name not in known:
            raise ValueError(f"the network got {name!r}, and was built without: build it with the size of that condition")


class Embedding(nn.Module):
    """act(linear(act(linear(features(label))))): (B,) to (B, width).

    Conditions are keyword arguments. The early ones are added to the features, the late ones before the last act.

    >>> embedding = Embedding(Sinusoid(8), 8, width=16, act=nn.SiLU(), late={"y": Condition(10, 16)})
    >>> embedding(torch.ones(2), y=torch.tensor([0, 9])).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        features: nn.Module,
        size: int,
        width: int,
        act: nn.Module,
        early: Mapping[str, Condition] | None = None,
        late: Mapping[str, Condition] | None = None,
    ) -> None:
        super().__init__()
        self.features, self.first, self.act, self.second = features, nn.Linear(size, width), act, nn.Linear(width, width)
        self.early, self.late = nn.ModuleDict(early or {}), nn.ModuleDict(late or {})

    def forward(self, label: Tensor, **cond: Tensor | None) -> Tensor:
        """Embed labels (B,) and conditions.

        Raises:
            ValueError: when the network was not built for a condition.
        """
        refuse_unknown(cond, (*self.early, *self.late))
        rows = len(label)
        e = self.features(label).to(self.first.weight.dtype)
        for name, condition in self.early.items():
            e = e + condition(cond.get(name), rows)
        e = self.second(self.act(self.first(e)))
        for name, condition in self.late.items():
            e = e + condition(cond.get(name), rows)
        return self.act(e)
