"""log p of real numbers in nats, and baselines for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from likelihood import log_likelihood
from likelihood.results import PerRowResult, count_of, standard_error, with_error
from score_sde.evaluation.baselines import Baseline
from sde_lib import GaussianOracle, LinearSDE, Standardize

__all__ = ["LogDensity", "real_baselines", "score_reals"]


@dataclass(frozen=True, eq=False)
class LogDensity(PerRowResult):
    """log p of each row of real numbers under a model's flow, in nats and in the units of the data.

    per_image and probe_error are float64 (N,). probe_error is the standard error of a value from its probes: 0 for an exact
    divergence, NaN for a single probe. latents are the states at T, if they were asked for. nfe is in network calls.
    """

    per_image: Tensor
    probe_error: Tensor
    latents: Tensor | None
    nfe: int
    unit: ClassVar[str] = "nats"

    @property
    def probe(self) -> float:
        """The part of the standard error that comes from the probes; NaN for one probe a row."""
        return (self.probe_error.square().mean() / len(self.probe_error)).sqrt().item()

    def record(self) -> dict[str, Any]:
        """The parts of the standard error, as a record for JSON."""
        return {"probe": None if math.isnan(self.probe) else self.probe}

    def __str__(self) -> str:
        probe = "" if math.isnan(self.probe) else f"; parts: probe {self.probe:.1g}"
        number = f"{with_error(self.mean, self.standard_error)} nats a datum"
        return f"{number} ({count_of(len(self.per_image), 'datum', 'data')}{probe}; {self.nfe} network calls)"


def score_reals(
    sde: LinearSDE, score_fn: Any, raw: Tensor, *, transform: Standardize, keep_latents: bool = False, **options: Any
) -> LogDensity:
    """log p of real data (N, *shape) by the flow. The options are those of `log_likelihood`."""
    found = log_likelihood(sde, score_fn, transform.dequantize(raw, torch.zeros(())), **options)
    unit = transform.log_det(raw[0].numel())
    return LogDensity(found.log_prob + unit, found.probe_error, found.latent if keep_latents else None, found.nfe)


def real_baselines(train: Tensor, test: Tensor, truth: Any) -> list[Baseline]:
    """Baselines in nats: the truth, if it is known, and a Gaussian with the mean and covariance of train, if that is cheap."""
    found = [] if truth is None else [_summary("the truth", truth.log_prob(test))]
    dims = train[0].numel()
    if dims <= 1000 and len(train[:100_000]) > 2 * dims:
        x = train[:100_000].flatten(1).double()
        mean = x.mean(0)
        covariance = (x - mean).T @ (x - mean) / len(x) + 1e-6 * x.var() * torch.eye(dims, dtype=x.dtype)
        gaussian = GaussianOracle(mean, covariance=covariance)
        found.append(_summary("Gaussian, full covariance", gaussian.log_prob(test.flatten(1).double())))
    return found


def _summary(name: str, nats: Tensor) -> Baseline:
    return Baseline(name, nats.mean().item(), standard_error(nats).item())
