"""The networks of NCSN and NCSNv2: a dilated residual network, whose resolutions a RefineNet combines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from .layers import InstanceNormPlus, NormedBlock, RefineBlock, Unnormed
from .ncsnpp import SigmaTable, counted, divided, outside
from .registry import network

__all__ = ["NCSN", "NCSNv2"]


class _RefineNet(nn.Module):
    """Images (B, inputs, H, W) and classes (B,) to (B, outputs, H, W).

    Stage i has channels * multipliers[i] channels. With dilations[i] = 1 it has half the size of the stage before;
    otherwise it keeps the size, and its convolutions have this dilation.
    norm makes the normalisations of the stages, refine_norm those of RefineNet.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: int,
        multipliers: Sequence[int],
        dilations: Sequence[int],
        norm: Callable[[int], nn.Module],
        refine_norm: Callable[[int], nn.Module],
        pool: str,
    ) -> None:
        super().__init__()
        if not channels > 0 or len(multipliers) != len(dilations) or not multipliers:
            raise ValueError(
                f"the network got {channels=}, {multipliers=} and {dilations=}: channels, and a dilation for each multiplier"
            )
        sizes = [channels * m for m in multipliers]
        self.first = nn.Conv2d(inputs, channels, 3, padding=1)
        self.norm, self.last = norm(channels), nn.Conv2d(channels, outputs, 3, padding=1)
        self.stages = nn.ModuleList()
        for i, (size, dilation) in enumerate(zip(sizes, dilations, strict=True)):
            skip, before = None, sizes[max(i - 1, 0)]
            if i:
                skip = (
                    nn.Conv2d(before, size, 1) if dilation == 1 else nn.Conv2d(before, size, 3, padding=dilation, dilation=dilation)
                )
            entry = NormedBlock(before, size, norm, dilation, skip, half=i > 0 and dilation == 1)
            self.stages.extend([entry, NormedBlock(size, size, norm, dilation)])
        self.refine = nn.ModuleList()
        for i in reversed(range(len(sizes))):
            incoming = [sizes[i]] * (1 if i == len(sizes) - 1 else 2)
            self.refine.append(RefineBlock(incoming, sizes[max(i - 1, 0)], refine_norm, pool, units=1 if i else 3))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h, maps = self.first(x), []
        for i, block in enumerate(self.stages):
            h = block(h, y)
            if i % 2:  # the second of a stage
                maps.append(h)
        refined: list[Tensor] = []
        for refine in self.refine:
            h = refine([maps.pop(), *refined], y)
            refined = [h]
        return self.last(elu(self.norm(h, y)))


@network("ncsnv2")
class NCSNv2(nn.Module):
    """NCSNv2: images (B, C, H, W) and indices (B,) into NCSN's table, 0 for the most noise, to the score, (B, C, H, W).

    The network does not read the noise level; its output is divided by sigma.
    sigmas is (sigma_min, sigma_max, levels), or a list of all sigmas from the largest.
    shape is (C, H, W) of the data; only C matters.
    unit_range: the states are in [0, 1], and the network rescales them to 2 x - 1.

    Raises:
        ValueError: when the data are not images.
        ValueError: when the numbers of dilations and multipliers differ.
        ValueError: when the sigmas do not fall.

    Published: multipliers (1, 2, 2, 2) and dilations (1, 1, 2, 4) below 96 pixels; (1, 2, 2, 4, 4) and (1, 1, 1, 2, 4) at 128;
    (1, 2, 2, 2, 4, 4) and (1, 1, 1, 1, 2, 4) at 256. The dilation 1 halves the size, except in the first stage.

    Reference: Song and Ermon, 2020, arXiv 2006.09011, technique 3 and appendix B.

    >>> NCSNv2((3, 32, 32), channels=4)(torch.zeros(2, 3, 32, 32), torch.tensor([0, 231])).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 2, 4),
        sigmas: Sequence[float] = (0.01, 50.0, 232),
        unit_range: bool = True,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        C, self.unit_range, self.sigma = _images(shape), unit_range, SigmaTable(sigmas)
        self.body = _RefineNet(C, outputs * C, channels, multipliers, dilations, InstanceNormPlus, Unnormed, pool="max")

    def forward(self, x: Tensor, noise_label: Tensor) -> Tensor:
        """The output at states x, (B, C, H, W), and indices (B,)."""
        h = 2 * x - 1 if self.unit_range else x
        return divided(self.body(h, torch.zeros_like(noise_label, dtype=torch.long)), self.sigma(noise_label))


@network("ncsn")
class NCSN(nn.Module):
    """NCSN: images (B, C, H, W) and indices (B,) of noise levels, 0 for the most noise, to the score, (B, C, H, W).

    Each of the levels has its own scales and shifts after every normalisation. The other arguments are those of NCSNv2.

    Reference: Song and Ermon, 2019, arXiv 1907.05600, appendix A.

    >>> NCSN((3, 32, 32), channels=4, levels=10)(torch.zeros(2, 3, 32, 32), torch.tensor([0, 9])).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 2, 4),
        levels: int = 10,
        unit_range: bool = True,
        outputs: int = 1,
    ) -> None:
        super().__init__()

        def norm(size: int) -> nn.Module:
            return InstanceNormPlus(size, levels)

        C, self.unit_range, self.levels = _images(shape), unit_range, levels
        self.body = _RefineNet(C, outputs * C, channels, multipliers, dilations, norm, norm, pool="mean")

    def forward(self, x: Tensor, noise_label: Tensor) -> Tensor:
        """The output at states x, (B, C, H, W), and indices (B,)."""
        try:
            return self.body(2 * x - 1 if self.unit_range else x, counted(noise_label))
        except IndexError:
            raise ValueError(outside(self.levels)) from None


def _images(shape: Sequence[int]) -> int:
    if len(shape) != 3:
        raise ValueError(f"NCSN got data of shape {tuple(shape)}, and (channels, height, width) was needed: use UNet or MLP")
    return shape[0]
