"""Data augmentation by exact symmetries of the pixel grid: mirroring, quarter turns and shifts, without interpolation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from score_sde.protocols import arguments_of
from score_sde.training.settings import Settings
from sde_lib import RowNoise
from sde_lib.noise import Stream
from sde_lib.tensors import by_row

__all__ = ["AUGMENT", "Augmentation", "mirrored", "moved", "turned"]

AUGMENT = 9  # labels of EDM's networks: x-flip, y-flip, scale, cos - 1 and sin of the turn, anisotropy (2), x, y
FARTHEST = 8  # EDM moves a picture by up to 1/8 of its size

Noises = Callable[[Stream], RowNoise]


class Augmentation:
    """The augmentation that settings describe, applied to a batch (B, channels, *space) before it is dequantized.

    flip, rotate and shift: the network is not conditioned on the transformation. It learns the mean of the data's density over all
    transformations, each a permutation of the entries.

    augment: the network is conditioned on the transformation, by an input (B, 9) named augment in EDM's layout. Given 0, as in
    sampling, it learns the density of the data themselves. The four kinds of transformation are mirroring in x, mirroring in y,
    quarter turns and shifts by whole pixels. Each is applied with probability augment, and its parameter is then uniform over all
    values, the identity included. So a picture is mirrored with probability augment / 2.

    Raises:
        ValueError: when the data do not have the symmetry, or the network lacks the input augment.

    Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, appendix F.2.
    """

    def __init__(self, settings: Settings, shape: tuple[int, ...], network: Any) -> None:
        self.flip, self.rotate, self.shift, self.augment = settings.flip, settings.rotate, settings.shift, settings.augment
        if self.flip and len(shape) != 3:
            raise ValueError(f"train.flip mirrors pictures, (channels, height, width), and the data are {shape}: leave it out")
        for name, asked in (("rotate", self.rotate), ("augment", self.augment)):
            if asked and (len(shape) != 3 or shape[1] != shape[2]):
                raise ValueError(f"train.{name} turns square pictures, (channels, n, n), and the data are {shape}: leave it out")
        if self.shift and (len(shape) < 2 or self.shift >= min(shape[1:])):
            raise ValueError(
                f"train.shift={self.shift} moves data (channels, *space) by less than their size, and the data are {shape}: "
                "give a smaller one, or leave it out"
            )
        if self.augment and not _takes_labels(network):
            raise ValueError(
                f"train.augment={self.augment} gives the network {AUGMENT} numbers as its input augment, and "
                f"{type(network).__name__} was built without that input: use song_unet(augment={AUGMENT}) or "
                f"dhariwal_unet(augment={AUGMENT}), or leave it out"
            )

    def __call__(self, x: Tensor, noise: Noises) -> tuple[Tensor, dict[str, Tensor]]:
        """The augmented rows, and the conditions of the network. noise gives the random numbers of this step by stream."""
        if self.flip:
            x = mirrored(x, _uniform(noise(Stream.FLIP), x, 1)[:, 0] < 0.5, -1)
        if self.rotate:
            x = turned(x, (4 * _uniform(noise(Stream.ROTATE), x, 1)[:, 0]).long())
        if self.shift:
            places = 2 * self.shift + 1
            by = (places * _uniform(noise(Stream.SHIFT), x, x.ndim - 2)).long() - self.shift
            x = moved(x, by, around=True)
        return self._with_labels(x, noise(Stream.AUGMENT)) if self.augment else (x, {})

    def _with_labels(self, x: Tensor, noise: RowNoise) -> tuple[Tensor, dict[str, Tensor]]:
        """The rows mirrored, then turned, then moved, and the labels (B, 9) of these transformations."""
        u = _uniform(noise, x, 9)
        happens, u = u[:, :4] < self.augment, u[:, 4:]
        in_x, in_y = (happens[:, :2] & (u[:, :2] < 0.5)).unbind(1)
        quarters = happens[:, 2] * (4 * u[:, 2]).long()
        size = torch.tensor(x.shape[:1:-1], device=x.device)  # width, height
        by = happens[:, 3:] * ((2 * u[:, 3:] - 1) * size / FARTHEST).round().long()
        x = mirrored(mirrored(x, in_x, -1), in_y, -2)
        x = moved(turned(x, quarters), by.flip(1), around=False)
        cos, sin = (torch.tensor(of, device=x.device)[quarters] for of in ([1, 0, -1, 0], [0, 1, 0, -1]))
        none = torch.zeros_like(cos)  # scale and anisotropy, which would interpolate
        turn = torch.stack([in_x.long(), in_y.long(), none, cos - 1, sin, none, none], 1)
        return x, {"augment": torch.cat([turn, by * FARTHEST / size], 1).float()}


def _takes_labels(network: Any) -> bool:
    """Whether a network has the input augment: by its arguments if it is registered, else by its signature."""
    arguments = arguments_of(network)
    if "augment" in arguments:
        return bool(arguments["augment"] == AUGMENT)
    return "augment" in inspect.signature(getattr(network, "forward", network)).parameters


def _uniform(noise: RowNoise, x: Tensor, count: int) -> Tensor:
    """count uniform numbers below 1 for each row, (B, count), in float64: float32 would round some of them to 1."""
    return noise.uniform(torch.empty(len(x), count, dtype=torch.float64, device=x.device))


def mirrored(x: Tensor, which: Tensor, axis: int) -> Tensor:
    """Rows of x (B, ...), reversed along an axis where which (B,) is True.

    >>> mirrored(torch.tensor([[1, 2], [3, 4]]), torch.tensor([True, False]), -1)
    tensor([[2, 1],
            [3, 4]])
    """
    return torch.where(by_row(which, x), x.flip(axis), x)


def turned(x: Tensor, quarters: Tensor) -> Tensor:
    """Square pictures (B, C, n, n), each turned counter-clockwise by 0 to 3 quarters (B,).

    >>> turned(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([1]))
    tensor([[[[2, 4],
              [1, 3]]]])
    """
    x = torch.where(by_row(quarters >= 2, x), x.flip(-2, -1), x)
    return torch.where(by_row(quarters % 2 == 1, x), x.rot90(1, (-2, -1)), x)


def moved(x: Tensor, by: Tensor, around: bool) -> Tensor:
    """Data (B, C, *space), each row moved by (B, axes) entries along the axes of space, towards larger indices.

    With around, entries that leave at one end come in at the other. Else the edge is filled by reflection about the last entry.

    >>> x = torch.tensor([[[1, 2, 3, 4]]])
    >>> moved(x, torch.tensor([[1]]), around=True), moved(x, torch.tensor([[1]]), around=False)
    (tensor([[[4, 1, 2, 3]]]), tensor([[[2, 1, 2, 3]]]))
    """
    for axis, offset in enumerate(by.unbind(1), start=2):
        n = x.shape[axis]
        place = torch.arange(n, device=x.device) - offset[:, None]
        source = place % n if around else n - 1 - (n - 1 - place % max(2 * n - 2, 1)).abs()
        shape = [len(x), *[1] * (x.ndim - 1)]
        shape[axis] = n
        x = x.take_along_dim(source.reshape(shape), axis)
    return x
