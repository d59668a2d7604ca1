"""Random numbers that depend on (seed, row, stream, number of the draw) and on nothing else."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Noise", "RowNoise", "Stream", "philox", "unseeded_normal", "unseeded_sign", "unseeded_uniform"]

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_AHEAD = 2**16  # numbers drawn at a time, at most, and 64 calls, at most: small tensors are all overhead


class Noise(Protocol):
    """A source of standard normal draws: noise(like) is shaped like its argument, and new at each call."""

    def __call__(self, like: Tensor, /) -> Tensor: ...  # noqa: D102


class Stream(IntEnum):
    """The purpose of a draw. Streams of one row never share a number."""

    PRIOR = 0
    STEP = 1
    CORRECTOR = 2
    PROBE = 3
    DEQUANTIZE = 4
    CONSTRAINT = 5
    TRAIN_TIME = 6
    TRAIN_NOISE = 7
    DATA = 8
    BOUND = 9
    FLIP = 10
    HELD_OUT = 11
    ROTATE = 12
    SHIFT = 13
    AUGMENT = 14


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10: four 32-bit words of counter and two of key to four random 32-bit words, all held in int64 tensors.

    Products wrap modulo 2^64, so that the words are equal on every device.
    Reference: Salmon, Moraes, Dror, Shaw, 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & _MASK) ^ c1 ^ k0, p1 & _MASK, ((p0 >> 32) & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


class RowNoise:
    """Noise in which row i of the k-th draw depends on (seed, i, stream, k) alone: not on the batch, dtype or device.

    seed is any integer below 2^64. rows is a count (rows 0..rows-1) or an int64 tensor of row numbers below 2^55. A call gives
    float numbers shaped like its argument, (len(rows), *shape), in its dtype and on its device. A call draws from the standard
    normal law; uniform and rademacher draw from the other two. draw is the number of the next call. With seed and rows it is the
    whole state, and setting it replays any draw.

    Raises:
        ValueError: when seed is outside 0..2^64 - 1, or the argument has another number of rows.

    Reference: Salmon, Moraes, Dror, Shaw, 2011 (Philox); Box and Muller, 1958.

    >>> like = torch.zeros(3, 2)
    >>> whole, last = RowNoise(seed=0, rows=3), RowNoise(seed=0, rows=torch.tensor([2]))
    >>> torch.equal(whole(like)[2:], last(like[2:]))
    True
    """

    def __init__(self, seed: int, rows: int | Tensor, stream: int = Stream.PRIOR, draw: int = 0) -> None:
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed is {seed}, and an integer from 0 to 2^64 - 1 was needed")
        self.seed, self.stream, self.draw = seed, int(stream), draw
        self.rows = rows if isinstance(rows, Tensor) else torch.arange(int(rows))
        self._ahead: tuple[object, int, list[Tensor]] = (None, 0, [])  # kind, number of the first draw, draws

    def __call__(self, like: Tensor) -> Tensor:
        """Standard normal numbers."""
        return self._next(like, _normal)

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform numbers, strictly inside (0, 1) in float64; rounding to a smaller dtype may give 1."""
        return self._next(like, _uniform)

    def rademacher(self, like: Tensor) -> Tensor:
        """Random signs, +1 or -1 with equal probability."""
        return self._next(like, _sign)

    def permutation(self, n: int) -> Tensor:
        """A random order of n things, int64; for noise of a single row."""
        return self.uniform(torch.empty(1, n, dtype=torch.float64))[0].argsort(stable=True)

    def take(self, index: Tensor) -> RowNoise:
        """The same noise for some of the rows, from the same draw on."""
        return RowNoise(self.seed, self.rows[index.to(self.rows.device)], self.stream, self.draw)

    def _next(self, like: Tensor, law: object) -> Tensor:
        if like.shape[0] != len(self.rows):
            raise ValueError(f"noise for {len(self.rows)} rows was asked for a tensor of shape {tuple(like.shape)}")
        kind = (law, like.shape, like.dtype, like.device)
        known, first, draws = self._ahead
        if kind != known or not first <= self.draw < first + len(draws):
            numel = math.prod(like.shape[1:])
            goes_on = kind == known and self.draw == first + len(draws)  # one at first, then 8, then 64 calls
            calls = max(1, min(8 * len(draws), 64, _AHEAD // max(like.numel(), 1))) if goes_on else 1
            first, made = self.draw, self._draw(self.draw, calls, numel, like.device, law)
            draws = list(made.to(like.dtype).reshape(calls, *like.shape).unbind())
            self._ahead = kind, first, draws
        z = draws[self.draw - first]
        self.draw += 1
        return z

    def _draw(self, first: int, calls: int, numel: int, device: torch.device, law: object) -> Tensor:
        """Numbers of draws first..first+calls-1, (calls, rows, numel), float64. Counter: element/4, draw, row, stream and row."""
        rows = self.rows.to(device)
        block = torch.arange((numel + 3) // 4, device=device)
        draw = torch.arange(first, first + calls, device=device) & _MASK
        shape = (calls, len(rows), len(block))
        counter = (
            block.expand(shape),
            draw[:, None, None].expand(shape),
            (rows & _MASK)[None, :, None].expand(shape),
            (((rows >> 32) << 8) | self.stream)[None, :, None].expand(shape),
        )
        words = philox(counter, (self.seed & _MASK, self.seed >> 32))
        return law(words).flatten(2)[..., :numel]  # type: ignore[operator]


Words = tuple[Tensor, Tensor, Tensor, Tensor]


def _unit(word: Tensor) -> Tensor:
    return (word.double() + 0.5) * 2.0**-32


def _uniform(words: Words) -> Tensor:
    return torch.stack([_unit(word) for word in words], dim=-1)


def _sign(words: Words) -> Tensor:
    return torch.stack([(word & 1).double() * 2 - 1 for word in words], dim=-1)


def _normal(words: Words) -> Tensor:
    pairs = []
    for first, second in (words[:2], words[2:]):
        radius, angle = torch.sqrt(-2 * torch.log(_unit(first))), (2 * math.pi) * _unit(second)
        pairs += [radius * torch.cos(angle), radius * torch.sin(angle)]
    return torch.stack(pairs, dim=-1)


def unseeded_uniform(like: Tensor) -> Tensor:
    """Uniform numbers from torch's own generator: what training draws from, like dropout, unless it is given numbers."""
    return torch.rand(like.shape, dtype=like.dtype, device=like.device)


def unseeded_normal(like: Tensor) -> Tensor:
    """Standard normal numbers from torch's own generator: what training draws from unless it is given numbers."""
    return torch.randn(like.shape, dtype=like.dtype, device=like.device)


def unseeded_sign(like: Tensor) -> Tensor:
    """Random signs, +1 or -1 with equal probability, from torch's own generator."""
    return 1 - 2 * (unseeded_uniform(like) < 0.5).to(like.dtype)
