"""Binomial diffusion: a chain of bits that ends in fair coins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sde_lib.noise import RowNoise, Stream, unseeded_uniform
from sde_lib.tensors import check_same_shape, expand, sum_over_state

__all__ = ["BinomialDiffusion"]

Network = Callable[..., Tensor]


@dataclass(frozen=True)
class BinomialDiffusion:
    """A chain x_0, ..., x_T of bits, of which each step replaces one in T - t + 1 by a fair coin.

        q(x_t = 1 | x_{t-1}) = (1 - beta_t) x_{t-1} + beta_t / 2,    beta_t = 1 / (T - t + 1)
        q(x_t = 1 | x_0) = (1 - t/T) x_0 + t / 2T

    Each step loses 1/T of the data, and at T = steps nothing is left. Bits are 0 and 1, in (B, *shape); t is (B,), whole numbers
    from 1 to T.

    network(x_t, noise_label, **cond) gives logits of q(x_0 = 1 | x_t), shaped like x_t, bit by bit. The reverse step is then in
    closed form: p(x_{t-1} | x_t) = sum over x_0 of q(x_{t-1} | x_t, x_0) p(x_0 | x_t). The paper's network gives x_{t-1} instead.
    Nothing is lost against it, since the best reverse with independent bits is of this form. noise_label, (B,), is log(flipped /
    kept) / 4, where t / 2T is the flipped share.

    Raises:
        ValueError: when steps is below 1.

    Reference: Sohl-Dickstein, Weiss, Maheswaranathan, Ganguli, 2015, arXiv 1503.03585, equations 13 and 14, table App.1.

    >>> chain = BinomialDiffusion(steps=10)
    >>> chain.marginal(torch.tensor([[0.0, 1.0]]), torch.tensor([4]))
    tensor([[0.2000, 0.8000]], dtype=torch.float64)
    """

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self!r}: at least one step is needed")

    @property
    def betas(self) -> Tensor:
        """1/T, 1/(T-1), ..., 1/2, 1: (T,), float64."""
        return 1 / torch.arange(self.steps, 0, -1, dtype=torch.float64)

    def noise_label(self, t: Tensor) -> Tensor:
        """log(t / (2T - t)) / 4, shaped like t: 0 at T."""
        return (t.double() / (2 * self.steps - t)).log() / 4

    def marginal(self, x0: Tensor, t: Tensor) -> Tensor:
        """q(x_t = 1 | x_0), shaped like x0, float64; t may be 0 here."""
        lost = expand(t.double() / self.steps, x0.double())
        return x0 + lost * (0.5 - x0.double())

    def posterior(self, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """q(x_{t-1} = 1 | x_t, x_0), shaped like x_t, float64: linear in x0, which holds bits or probabilities that they are 1.

        Raises:
            ValueError: when a time is outside 1..T.
        """
        (off, on), _ = self._posteriors(x_t, t)
        return off + x0 * (on - off)

    def _posteriors(self, x_t: Tensor, t: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """q(x_{t-1} = 1 | x_t, x_0) for x_0 = 0 and 1, and the same for x_{t-1} = 0.

        With spins +-1 for bits, a = 1 - (t-1)/T and w = (1 - beta_t) x_t: q(x_{t-1} | ...) is in proportion to
        (1 + a x_{t-1} x_0) (1 + w x_{t-1}).
        """
        if ((t < 1) | (t > self.steps)).any():
            raise ValueError(
                f"times run from {t.min().item()} to {t.max().item()}, and whole ones from 1 to {self.steps} are needed"
            )
        spin, left = 2 * x_t.double() - 1, (self.steps - t).double()
        a, w = expand((left + 1) / self.steps, spin), expand(left / (left + 1), spin) * spin
        off, on = 2 * (1 - a * w), 2 * (1 + a * w)
        one = (1 - a) * (1 + w) / off, (1 + a) * (1 + w) / on
        zero = (1 + a) * (1 - w) / off, (1 - a) * (1 - w) / on
        return one, zero

    def _logits(self, network: Network, x_t: Tensor, t: Tensor, cond: dict[str, Any]) -> Tensor:
        logits = network(x_t, self.noise_label(t).to(x_t), **cond)
        check_same_shape(logits, x_t, "the network", "one logit for each bit is needed")
        return logits.double()

    def term(self, network: Network, x0: Tensor, x_t: Tensor, t: Tensor, **cond: Any) -> Tensor:
        """KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) in nats, summed over bits, (B,), float64; at t = 1, -log p(x_0 | x_1)."""
        logits = self._logits(network, x_t, t, cond)
        log_on, log_off = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
        total = torch.zeros_like(logits)
        for off, on in self._posteriors(x_t, t):
            q = torch.where(x0 == 1, on, off)
            # In logs: at t = 1 on and off are 0 and 1, and a network may be as sure as it likes.
            log_p = torch.logaddexp(log_on + on.log(), log_off + off.log())
            total = total - torch.special.entr(q) - q * log_p
        return sum_over_state(total)

    def loss(self, network: Network, x0: Tensor, *, t: Tensor | None = None, u: Tensor | None = None, **cond: Any) -> Tensor:
        """An unbiased estimate of the bound of each sample, in nats, (B,): T times the term at one time, drawn uniformly.

        torch's own generator draws u, uniform numbers shaped like x0, and t (B,), unless they are given. Divide by log 2 for
        bits.

        Raises:
            ValueError: when the data are not bits, a time is outside 1..T, or the logits have another shape.
        """
        x0 = _as_bits(x0)
        if t is None:
            t = (unseeded_uniform(x0.new_empty(x0.shape[0], dtype=torch.float64)) * self.steps).long() + 1
        if u is None:
            u = unseeded_uniform(x0.double())
        return self.steps * self.term(network, x0, (u < self.marginal(x0, t)).to(x0), t, **cond)

    def bound(self, network: Network, x0: Tensor, *, seed: int = 0, index: int = 0, **cond: Any) -> Tensor:
        """The bound on -log p(x_0), term by term, in nats, (B, T): each at its own draw of x_t; their sum is the bound.

        The term KL(q(x_T | x_0) || p(x_T)) is 0, since x_T is fair coins. Divide by log 2 for bits. Row i depends on (seed, index
        + i) alone.

        Raises:
            ValueError: as loss does.
        """
        x0 = _as_bits(x0)
        noise = RowNoise(seed, torch.arange(index, index + len(x0)), Stream.STEP)
        terms = []
        for step in range(1, self.steps + 1):
            t = torch.full((len(x0),), step, device=x0.device)
            x_t = (noise.uniform(x0.double()) < self.marginal(x0, t)).to(x0)
            terms.append(self.term(network, x0, x_t, t, **cond))
        return torch.stack(terms, dim=1)

    @torch.no_grad()
    def sample(
        self,
        network: Network,
        shape: tuple[int, ...],
        *,
        seed: int = 0,
        index: int = 0,
        device: torch.device | str | None = None,
        **cond: Any,
    ) -> Tensor:
        """Ancestral sampling, x_T of fair coins and then p(x_{t-1} | x_t) down to x_0: bits, (B, *shape), float32.

        Sample i depends on (seed, index + i) alone.

        Raises:
            ValueError: when the logits have another shape.
        """
        noise = RowNoise(seed, torch.arange(index, index + shape[0]), Stream.STEP)
        like = torch.empty(shape, dtype=torch.float64, device=device)
        x = (noise.uniform(like) < 0.5).float()
        for step in range(self.steps, 0, -1):
            t = torch.full(shape[:1], step, device=device)
            p = self.posterior(x, self._logits(network, x, t, cond).sigmoid(), t)
            x = (noise.uniform(like) < p).float()
        return x


def _as_bits(x0: Tensor) -> Tensor:
    """Bits as floats.

    Raises:
        ValueError: when a value is neither 0 nor 1.
    """
    bits = x0 if x0.is_floating_point() else x0.float()
    other = ((bits != 0) & (bits != 1)).sum()
    if other:
        raise ValueError(f"data have {int(other)} values other than 0 and 1, of {bits.numel()}: binomial diffusion needs bits")
    return bits
