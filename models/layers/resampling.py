"""Downsampling and upsampling of feature maps by 2, with or without filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CONVOLUTIONS", "FIRDown", "FIRUp", "Untold", "conv_down", "conv_up"]

CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PADDINGS: dict[int, Callable[[Any], nn.Module]] = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d}
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _kernel(taps: Sequence[int], dims: int) -> Tensor:
    """taps along every axis, with sum 1: (1, 1, *[len(taps)] * dims)."""
    line = torch.tensor([tap / sum(taps) for tap in taps])
    kernel = line
    for _ in range(dims - 1):
        kernel = kernel[..., None] * line
    return kernel[None, None]


class FIRDown(nn.Module):
    """Filter each channel with taps along every axis and keep every second entry: (B, C, *space) to (B, C, *space // 2).

    The taps (1, 1) give the mean of neighbours. The map is padded with zeros.
    margin is for a strided convolution that follows: the filtered map keeps its size, plus the margin that the window needs.

    Reference: Karras et al., 2020, arXiv 1912.04958, appendix B; Zhang, 2019, arXiv 1904.11486.

    >>> FIRDown((1, 3, 3, 1), dims=1)(torch.tensor([[[8.0, 8.0, 0.0, 0.0]]]))
    tensor([[[6., 1.]]])
    """

    kernel: Tensor

    def __init__(self, taps: Sequence[int] = (1, 1), dims: int = 2, margin: int = 0) -> None:
        super().__init__()
        self.taps, self.dims, self.margin = tuple(taps), dims, margin
        self.register_buffer("kernel", _kernel(taps, dims), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Filter and halve."""
        if self.taps == (1, 1) and not self.margin:
            return POOL[self.dims](x, 2)
        C, zeros = x.shape[1], len(self.taps) - 2 + self.margin
        if zeros % 2:  # one more at the start; the convolution brings the others, without a copy of the map
            x = F.pad(x, (1, 0) * self.dims)
        kernel, stride = self.kernel.expand(C, *self.kernel.shape[1:]), 1 if self.margin else 2
        return CONV[self.dims](x, kernel, stride=stride, padding=zeros // 2, groups=C)


class FIRUp(nn.Module):
    """Put zeros between entries and filter, 2 along each axis times the taps: (B, C, *space) to (B, C, *2 space).

    The taps (1, 1) repeat each entry. margin adds entries for the window of a convolution that follows.

    Reference: Karras et al., 2020, arXiv 1912.04958, appendix B.

    >>> FIRUp((1, 3, 3, 1), dims=1)(torch.tensor([[[0.0, 4.0, 0.0]]]))
    tensor([[[0., 1., 3., 3., 1., 0.]]])
    """

    kernel: Tensor

    def __init__(self, taps: Sequence[int] = (1, 1), dims: int = 2, margin: int = 0) -> None:
        super().__init__()
        self.taps, self.dims, self.margin = tuple(taps), dims, margin
        self.register_buffer("kernel", _kernel(taps, dims) * 2**dims, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Double and filter."""
        if self.taps == (1, 1) and not self.margin:
            return F.interpolate(x, scale_factor=2, mode="nearest")
        C, n = x.shape[1], len(self.taps)
        before = self.margin // 2 - (n - 2 - (n - 1) // 2)
        after = self.margin + 2 - n - before
        crop = max(0, -max(before, after))  # what both ends lose is never made
        kernel = self.kernel.expand(C, *self.kernel.shape[1:])
        with torch.autocast(x.device.type, enabled=False):  # whose transposed convolutions by channel are ten times slower on a CPU
            whole = TRANSPOSED[self.dims](x.to(kernel.dtype), kernel, stride=2, padding=crop, groups=C).to(x.dtype)
        ends = (before + crop, after + crop)
        return F.pad(whole, ends * self.dims) if any(ends) else whole


class Untold(nn.Sequential):
    """Layers that ignore the embedding of the noise level, in places where others read it."""

    def forward(self, h: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Apply them."""
        return super().forward(h)


def conv_down(incoming: int, outgoing: int, taps: Sequence[int], dims: int, ahead: bool = False) -> Untold:
    """A strided 3-convolution, after a filter if there are taps. ahead: without taps, the window starts at the entry itself.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, the released code (ahead); Karras et al., 2020, arXiv 1912.04958 (taps).
    """
    conv = CONVOLUTIONS[dims]
    if taps:
        return Untold(FIRDown(taps, dims, margin=2), conv(incoming, outgoing, 3, stride=2))
    if ahead:
        return Untold(PADDINGS[dims]((0, 1) * dims), conv(incoming, outgoing, 3, stride=2))
    return Untold(conv(incoming, outgoing, 3, stride=2, padding=1))


def conv_up(incoming: int, outgoing: int, taps: Sequence[int], dims: int) -> Untold:
    """A 3-convolution of the doubled map. It has repeated entries, or with taps is filtered: the adjoint of conv_down."""
    conv = CONVOLUTIONS[dims]
    if taps:
        return Untold(FIRUp(taps, dims, margin=2), conv(incoming, outgoing, 3))
    return Untold(FIRUp((1, 1), dims), conv(incoming, outgoing, 3, padding=1))
