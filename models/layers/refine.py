"""The blocks of NCSN: a dilated residual network, and the RefineNet that combines its resolutions.

All blocks take maps (B, C, H, W) and classes (B,) for their normalisations. norm(channels) makes a normalisation.

Reference: Song and Ermon, 2019, arXiv 1907.05600, appendix A; Lin, Milan, Shen, Reid, 2017, arXiv 1611.06612, figure 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, elu, interpolate, max_pool2d

__all__ = ["POOLS", "NormedBlock", "RefineBlock", "Unnormed"]

MakeNorm = Callable[[int], nn.Module]
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: avg_pool2d(x, 5, stride=1, padding=2),
    "max": lambda x: max_pool2d(x, 5, stride=1, padding=2),
}


class Unnormed(nn.Module):
    """No normalisation, in the place of one."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x."""
        return x


class NormedBlock(nn.Module):
    """skip(x) + conv(act(norm(conv(act(norm(x)))))); half: then the mean of each 2 x 2 positions."""

    def __init__(
        self, incoming: int, outgoing: int, norm: MakeNorm, dilation: int = 1, skip: nn.Module | None = None, half: bool = False
    ) -> None:
        super().__init__()
        self.halved = half
        self.norm1, self.conv1 = norm(incoming), nn.Conv2d(incoming, incoming, 3, padding=dilation, dilation=dilation)
        self.norm2, self.conv2 = norm(incoming), nn.Conv2d(incoming, outgoing, 3, padding=dilation, dilation=dilation)
        self.skip = nn.Identity() if skip is None else skip

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Transform x."""
        h = self.conv1(elu(self.norm1(x, y)))
        h = self.conv2(elu(self.norm2(h, y))) + self.skip(x)
        return avg_pool2d(h, 2) if self.halved else h


class _NormConv(nn.Module):
    """A normalisation and a 3-convolution, with a function between them."""

    def __init__(self, incoming: int, outgoing: int, norm: MakeNorm, bias: bool = False) -> None:
        super().__init__()
        self.norm, self.conv = norm(incoming), nn.Conv2d(incoming, outgoing, 3, padding=1, bias=bias)

    def forward(self, x: Tensor, y: Tensor, between: Callable[[Tensor], Tensor]) -> Tensor:
        return self.conv(between(self.norm(x, y)))


class _Units(nn.Module):
    """count times x + conv(act(norm(conv(act(norm(x))))))."""

    def __init__(self, channels: int, count: int, norm: MakeNorm) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_NormConv(channels, channels, norm) for _ in range(2 * count))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for i in range(0, len(self.convs), 2):
            x = x + self.convs[i + 1](self.convs[i](x, y, elu), y, elu)
        return x


class RefineBlock(nn.Module):
    """Maps of any sizes are refined, resized to the first one and added. Chained pooling and residual units follow.

    incoming lists the channels of the maps, outgoing is the number of channels of the output, and pool is one of POOLS.
    """

    def __init__(self, incoming: Sequence[int], outgoing: int, norm: MakeNorm, pool: str, units: int = 1) -> None:
        super().__init__()
        self.pool = POOLS[pool]
        self.adapt = nn.ModuleList(_Units(channels, 2, norm) for channels in incoming)
        fused = incoming if len(incoming) > 1 else ()
        self.fuse = nn.ModuleList(_NormConv(channels, outgoing, norm, bias=True) for channels in fused)
        self.chain = nn.ModuleList(_NormConv(outgoing, outgoing, norm) for _ in range(2))
        self.out = _Units(outgoing, units, norm)

    def forward(self, maps: Sequence[Tensor], y: Tensor) -> Tensor:
        """Combine the maps."""
        hs = [adapt(x, y) for adapt, x in zip(self.adapt, maps, strict=True)]
        h, size = hs[0], maps[0].shape[2:]
        if self.fuse:

            def resized(x: Tensor) -> Tensor:
                return interpolate(x, size=size, mode="bilinear", align_corners=True)

            h = sum((resized(fuse(x, y, lambda z: z)) for fuse, x in zip(self.fuse, hs, strict=True)), start=h.new_zeros(()))
        h = path = elu(h)
        for conv in self.chain:
            path = conv(path, y, self.pool)
            h = h + path
        return self.out(h, y)
