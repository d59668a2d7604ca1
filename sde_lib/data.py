"""Transforms between raw data and states: Images for integers in bins, Standardize for real numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from sde_lib.tensors import check_state, check_tensor

__all__ = ["DataTransform", "Images", "Standardize", "chunk_rows", "chunks", "require_levels"]


CHUNK = 1 << 24  # entries that are looked at at once


def chunk_rows(shape: Sequence[int]) -> int:
    """The number of rows of a data set of this shape, (N, *shape), that have about 2^24 entries; at least 1."""
    return max(1, CHUNK // max(1, math.prod(shape[1:])))


def chunks(data: Tensor) -> list[Tensor]:
    """Rows of data in parts of about 2^24 entries, so that data mapped from a file need not fit into memory."""
    return list(data.split(chunk_rows(data.shape)))


class DataTransform(Protocol):
    """The interface of Images and Standardize: from raw data to states and back.

    levels is how many integers the data may be, or None for real numbers.
    """

    @property
    def levels(self) -> int | None: ...  # noqa: D102
    def encode(self, raw: Tensor) -> Tensor: ...  # noqa: D102
    def dequantize(self, raw: Tensor, u: Tensor) -> Tensor: ...  # noqa: D102
    def decode(self, x: Tensor) -> Tensor: ...  # noqa: D102
    def check(self, raw: Tensor) -> None: ...  # noqa: D102
    def log_det(self, dims: int) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Images:
    """Integers 0..levels-1 as states: level k owns the bin [low + k w, low + (k + 1) w], w = (high - low) / levels.

    encode gives the centre of a level's bin, and dequantize a point inside it. decode gives the level whose bin holds a state, or
    the nearest level for a state out of range, so that decode(encode(k)) == k. The usual 8-bit images scaled by x / 127.5 - 1 are
    Images(256, low=-1 - 1/255, high=1 + 1/255).

    Raises:
        ValueError: when there are fewer than two levels, or low is not below high.
        ValueError: when integers lie outside 0..levels-1.
        TypeError: when data are not integers.

    Reference: Theis, van den Oord, Bethge, 2016, arXiv 1511.01844, section 3.1 (uniform dequantization).

    >>> images = Images(levels=4)
    >>> images.encode(torch.tensor([0, 3])), images.decode(torch.tensor([-0.9, 5.0]))
    (tensor([-0.7500,  0.7500]), tensor([0, 3], dtype=torch.uint8))
    """

    levels: int = 256
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.levels, int) or self.levels < 2 or not self.low < self.high:
            raise ValueError(f"{self!r}: a whole number of levels, at least two, and low < high are needed")

    @property
    def bin_width(self) -> float:
        """w = (high - low) / levels, in units of the states."""
        return (self.high - self.low) / self.levels

    def check(self, codes: Tensor) -> None:
        """Refuse what are not integers 0..levels-1."""
        check_tensor(codes, "images")
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise TypeError(
                f"images have dtype {codes.dtype}, and integers 0..{self.levels - 1} were needed: "
                "round and convert them, or use Standardize and log_likelihood for data without levels"
            )
        low, high = (int(codes.min()), int(codes.max())) if codes.numel() else (0, 0)
        if low < 0 or high >= self.levels:
            what = "shift them to begin at 0, or make them floats" if low < 0 else f"set levels={high + 1} or more, or rescale them"
            raise ValueError(f"images have values from {low} to {high}, and 0..{self.levels - 1} was needed: {what}")

    def encode(self, codes: Tensor) -> Tensor:
        """Bin centres, float32: low + (k + 1/2) w."""
        self.check(codes)
        return self.dequantize(codes, torch.tensor(0.5))

    def dequantize(self, codes: Tensor, u: Tensor) -> Tensor:
        """The point u in [0, 1) inside each bin, low + (k + u) w, in the dtype of u; u broadcasts to codes.

        The codes are not checked: this runs at every step of training, and looking at values would stall a GPU.
        """
        return self.low + (codes.to(u.dtype) + u) * self.bin_width

    def decode(self, x: Tensor) -> Tensor:
        """The levels nearest to the states: uint8 up to 256 levels, else int64."""
        codes = ((x.double() - self.low) / self.bin_width).floor().clamp(0, self.levels - 1)
        return codes.to(torch.uint8 if self.levels <= 256 else torch.int64)

    def log_det(self, dims: int) -> float:
        """Nats to add to log p(state) for the log-density in units of levels: dims log w."""
        return dims * math.log(self.bin_width)


def require_levels(images: Any) -> None:
    """Check that a transform has levels, since bits/dim are densities in units of levels.

    Raises:
        TypeError: when it has none.
    """
    if getattr(images, "levels", None) is None:  # anything may be given here, and None is
        raise TypeError(f"images is {images!r}, which has no levels, and bits/dim are of levels: use log_likelihood, in nats")


@dataclass(frozen=True)
class Standardize:
    """Real numbers as states: x = (raw - mean) / std, one mean and one positive std for the whole set.

    Raises:
        ValueError: when std is not positive, or a number is not finite.
        TypeError, ValueError: when data are not floating-point, or not finite.

    >>> Standardize(mean=10.0, std=2.0).encode(torch.tensor([[12.0]]))
    tensor([[1.]])
    """

    mean: float
    std: float
    levels: ClassVar[None] = None  # real numbers

    def __post_init__(self) -> None:
        if not (self.std > 0 and math.isfinite(self.mean) and math.isfinite(self.std)):
            raise ValueError(f"{self!r}: a finite mean and a positive, finite std are needed; are the data constant?")

    @classmethod
    def of(cls, raw: Tensor) -> Standardize:
        """The transform that gives a data set, (N, *shape), mean 0 and standard deviation 1; it is read in parts."""
        parts, total = chunks(raw), 0.0
        for part in parts:
            check_state(part, "data")
            total += part.double().sum().item()
        mean = total / raw.numel()
        square = sum((part.double() - mean).square().sum().item() for part in parts)
        return cls(mean, math.sqrt(square / raw.numel()))

    def check(self, raw: Tensor) -> None:
        """Refuse what are not finite real numbers."""
        check_state(raw, "data")

    def encode(self, raw: Tensor) -> Tensor:
        """(raw - mean) / std."""
        self.check(raw)
        return (raw - self.mean) / self.std

    def dequantize(self, raw: Tensor, u: Tensor) -> Tensor:
        """(raw - mean) / std in the dtype of u, which is not used, since real numbers have no bins. The values are not checked.

        The mean is subtracted in the precision of the data, where that is the higher one.
        """
        return ((raw.to(torch.promote_types(raw.dtype, u.dtype)) - self.mean) / self.std).to(u.dtype)

    def decode(self, x: Tensor) -> Tensor:
        """mean + std x in the dtype of x, or in float64 where that is coarser than 2^-13 std at the mean (float32: 1024 std)."""
        coarse = abs(self.mean) * torch.finfo(x.dtype).eps > self.std * 2**-13
        return self.mean + self.std * (x.double() if coarse else x)

    def log_det(self, dims: int) -> float:
        """Nats to add to log p(state) for the log-density of the raw data: -dims log std."""
        return -dims * math.log(self.std)
