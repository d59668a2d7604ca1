"""Start: the arguments that fix the first state and the noise of a sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sde_lib.base import SDE
from sde_lib.noise import Noise, RowNoise, Stream
from sde_lib.tensors import as_shape

__all__ = ["Start"]


@dataclass(frozen=True, eq=False)
class Start:
    """Samples of the given shape (B, *shape), rows index..index+B-1 of the seed; x_T replaces the start, noise every draw.

    The public methods write these arguments out, so that help() and inspect show them, and hand this value on.
    """

    shape: Sequence[int]
    seed: int = 0
    index: int = 0
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    x_T: Tensor | None = None
    noise: Noise | None = None

    def begin(self, sde: SDE) -> tuple[Tensor, dict[Stream, Noise]]:
        """The first state, given or drawn from the prior, and a source of noise for each use.

        Raises:
            ValueError: when the shape has no axis for the samples, or x_T has another shape.
            TypeError: when the dtype is not a floating-point one.
        """
        like = self._like()
        sources = self._sources(len(like))
        if self.x_T is None:
            return sde.prior(like).sample(sources[Stream.PRIOR](like)), sources
        if self.x_T.shape != like.shape:
            raise ValueError(f"x_T has shape {tuple(self.x_T.shape)}, and samples of shape {tuple(like.shape)} were asked for")
        return self.x_T.to(like), sources

    def rows(self, count: int) -> Tensor:
        """The numbers of the rows, (count,)."""
        return torch.arange(self.index, self.index + count)

    def _like(self) -> Tensor:
        """A tensor like the samples."""
        like = torch.empty(as_shape(self.shape, "(samples, *shape)"), device=self.device, dtype=self.dtype)
        if like.ndim < 2:
            raise ValueError(f"a shape of {tuple(like.shape)} was asked for, and (samples, *shape) is needed")
        if not like.is_floating_point():
            raise TypeError(
                f"samples of dtype {like.dtype} were asked for, and a floating-point one is needed: decode them afterwards"
            )
        return like

    def _sources(self, count: int) -> dict[Stream, Noise]:
        """RowNoise for each use; a given noise serves them all."""
        streams = (Stream.PRIOR, Stream.STEP, Stream.CORRECTOR, Stream.CONSTRAINT)
        if self.noise is not None:
            return dict.fromkeys(streams, self.noise)
        return {stream: RowNoise(self.seed, self.rows(count), stream) for stream in streams}
