"""Images at every resolution beside the feature maps, in the encoder and in the decoder.

The encoder calls a join at each lower resolution: (map, image of the level above) -> (map, image).
The decoder calls an emitter at each level: (map, image of the level below) -> (map, image).

Reference: Karras et al., 2020, arXiv 1912.04958, figure 7; Song et al., 2021, arXiv 2011.13456, appendix H.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .style import Style, scaled_sum

__all__ = ["COMBINE", "EMITTERS", "JOINS"]

COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"sum": torch.add, "cat": lambda a, b: torch.cat([a, b], dim=1)}


class InputSkip(nn.Module):
    """The image is halved, and its 1-convolution is added to the map ("sum") or concatenated with it ("cat")."""

    def __init__(self, image: int, channels: int, style: Style, combine: str) -> None:
        super().__init__()
        self.shrink, self.conv, self.combine = style.halve(), style.conv(image, channels, 1), COMBINE[combine]
        self.image, self.channels = image, 2 * channels if combine == "cat" else channels

    def forward(self, h: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Join."""
        image = self.shrink(image)
        return self.combine(self.conv(image), h), image


class InputResidual(nn.Module):
    """A convolution halves the image. Its sum with the map is the new map and the new image."""

    def __init__(self, image: int, channels: int, style: Style, combine: str) -> None:
        super().__init__()
        self.shrink = style.conv_down(image, channels)
        self.factor, self.image, self.channels = style.factor, channels, channels

    def forward(self, h: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Join."""
        h = scaled_sum(self.shrink(image), h, self.factor)
        return h, h


class OutputSkip(nn.Module):
    """The map's own image is added to the doubled image from below. The last image is the output."""

    def __init__(self, image: int, channels: int, outputs: int, style: Style) -> None:
        super().__init__()
        self.widen, self.out, self.image = style.double(), style.out(channels, outputs), outputs

    def forward(self, h: Tensor, image: Tensor | None) -> tuple[Tensor, Tensor]:
        """Emit."""
        own = self.out(h)
        return h, own if image is None else self.widen(image) + own


class OutputResidual(nn.Module):
    """A convolution doubles the image from below. Its sum with the map is the new map and the new image."""

    def __init__(self, image: int, channels: int, outputs: int, style: Style) -> None:
        super().__init__()
        if image:
            self.widen: nn.Module = style.conv_up(image, channels)
        else:
            self.widen = nn.Sequential(style.norm(channels), style.act(), style.conv(channels, channels))
        self.factor, self.image = style.factor, channels

    def forward(self, h: Tensor, image: Tensor | None) -> tuple[Tensor, Tensor]:
        """Emit."""
        if image is None:
            return h, self.widen(h)
        h = scaled_sum(self.widen(image), h, self.factor)
        return h, h


JOINS: dict[str, Callable[..., Any]] = {"input_skip": InputSkip, "residual": InputResidual}
EMITTERS: dict[str, Callable[..., Any]] = {"output_skip": OutputSkip, "residual": OutputResidual}
