"""log p(x) by the probability-flow ODE."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from likelihood.divergence import Divergence, Exact
from likelihood.results import count_of, standard_error, with_error
from sde_lib.base import SDE
from sde_lib.noise import RowNoise, Stream
from sde_lib.ode import check_round_off, integrate_on_clock
from sde_lib.reverse import ReverseSDE
from sde_lib.score import can_take
from sde_lib.tensors import check_state

__all__ = ["LogLikelihood", "log_likelihood"]

LOG_P_SHARE = 0.3  # of the tolerance: of 0.1 to 1, alike within their noise (benchmarks/likelihood.py)
GAINS = (0.85, 0.2)  # bold, since the steps grow from t_min on, to hundreds of times the first


@dataclass(frozen=True, eq=False)
class LogLikelihood:
    """log p(x) of each row in nats, with its error.

    log_prob (B,) is float64, the mean of the K estimates by_probe (B, K). probe_error (B,) is its standard error from the probes:
    0 for an exact divergence, NaN for a single probe. latent, shaped like x, is the state at T. nfe is in batched network calls,
    and rows is the number of rows evaluated in all.
    """

    log_prob: Tensor
    by_probe: Tensor
    probe_error: Tensor
    latent: Tensor
    nfe: int
    rows: int

    def __str__(self) -> str:
        number = with_error(self.log_prob.mean().item(), standard_error(self.log_prob).item())
        return f"log p = {number} nats ({count_of(len(self.log_prob), 'row')}; {self.nfe} network calls)"


def log_likelihood(
    sde: SDE,
    score_fn: Any,
    x: Tensor,
    *,
    divergence: Divergence = Exact(),  # noqa: B008  (frozen)
    tolerance: float = 1e-5,
    method: str = "dopri5",
    t_min: float | None = None,
    seed: int = 0,
    index: int = 0,
    gradients: bool = False,
) -> LogLikelihood:
    """log p_{t_min}(x) in nats under the probability flow of a score: log p_T(x_T) + integral of div(dx/dt) dt.

    x is (B, *shape), float32 or float64. score_fn is any callable (x, t) -> score that can be differentiated with respect to x.
    divergence is, for example, Exact() or Hutchinson(probes=K), whose probes for row i depend on (seed, index + i) alone. Each row
    has its own step sizes, so that its value does not depend on its batch, but for the round-off of the network. A step makes an
    error e in log p and delta in x. The latter moves log p by score . delta, where the score is some 1 / sigma(t) an entry. So a
    step is accepted when (e / 0.3)^2 + |delta / sigma(t)|^2 < (d + channels) tolerance^2, for the d entries of x. method is
    "dopri5", or "dop853", which is faster where the score is smooth. t_min is the process's own unless given. With gradients,
    log_prob and latent can be differentiated with respect to x and to what the score depends on; all steps are kept for it.

    Raises:
        ValueError: when x is not finite, t_min is outside (0, T), or tolerance is not positive.
        ValueError: when tolerance is below the round-off of x, 7.5e-9 in float32.
        TypeError: when x is not float32 or float64.
        RuntimeError: when called under torch.inference_mode.
        sde_lib.Unfinished: when rows cannot be carried to T; it has the reason for each, and the values of the others.

    Reference: Chen, Rubanova, Bettencourt, Duvenaud, 2018, arXiv 1806.07366, theorem 1; Song et al., 2021, arXiv 2011.13456,
    equation 39.

    >>> from sde_lib import GaussianOracle, VPSDE
    >>> oracle, x = GaussianOracle(torch.zeros(2), 1.0), torch.ones(1, 2, dtype=torch.float64)
    >>> log_likelihood(VPSDE(), oracle.score(VPSDE()), x).log_prob, oracle.log_prob(x)
    (tensor([-2.8379], dtype=torch.float64), tensor([-2.8379], dtype=torch.float64))
    """
    check_state(x)
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance}: a positive number is needed")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x has dtype {x.dtype}, in which a solver loses its way: give it as float32 or float64")
    check_round_off(tolerance, x.dtype, f"tolerance={tolerance}")
    if torch.is_inference_mode_enabled():
        raise RuntimeError("log_likelihood differentiates the score and cannot run under inference_mode: use torch.no_grad")
    rsde = ReverseSDE(sde, score_fn)
    start = sde.valid_t_min(t_min)
    B, dims = x.shape[0], math.prod(x.shape[1:])
    probe = divergence.probe(RowNoise(seed, torch.arange(index, index + B), Stream.PROBE), x)

    def flow_of(y: Tensor, t: Tensor, rows: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        part = rsde if len(rows) == B else rsde.take(rows)
        return lambda state: part.flow(state, t), y[:, :dims].reshape(-1, *x.shape[1:])

    def with_divergence(y: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        slope, div = divergence(*flow_of(y, t, rows), probe[:, rows] if probe.numel() else probe)
        return torch.cat([slope.flatten(1), div], dim=1)

    def without_divergence(y: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        flow, state = flow_of(y, t, rows)
        return torch.cat([flow(state).flatten(1), torch.zeros_like(y[:, dims:])], dim=1)

    def units(y: Tensor, t: Tensor) -> Tensor:
        state = y[:, :dims].reshape(-1, *x.shape[1:])
        sigma = sde.std(state, t).expand_as(state).flatten(1)
        return torch.cat([sigma.to(y), torch.full_like(y[:, dims:], LOG_P_SHARE)], dim=1)

    y0 = torch.cat([(x if gradients else x.detach()).flatten(1), x.new_zeros(B, divergence.channels)], dim=1)
    keep = not can_take(score_fn)
    with torch.set_grad_enabled(gradients):
        options: dict[str, Any] = {"rtol": 0.0, "atol": tolerance, "units": units, "unweighted": without_divergence}
        options |= {"gains": GAINS, "method": method, "keep_rows": keep}
        solution = integrate_on_clock(sde.clock_power, with_divergence, y0, start, sde.T, **options)
        end = solution.reached()
        latent = end[:, :dims].reshape(x.shape)
        prior = sde.prior(latent).log_prob(latent).double()
        by_probe = prior[:, None] + end[:, dims:].double()
    error = standard_error(by_probe.T) if probe.numel() else torch.zeros_like(prior)
    result = LogLikelihood(by_probe.mean(1), by_probe, error, latent, rsde.calls, rsde.rows)
    return solution.require_all("the likelihood could not be computed", result, index)
