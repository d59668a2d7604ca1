"""log p of real numbers in nats, in batches that outlive a kill, beside models that need no network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.baselines import Baseline
from evaluation.batches import in_batches
from evaluation.sampling import digest, fingerprint, under
from likelihood import log_likelihood
from likelihood.joined import OfRows, so_many, with_error
from sde_lib import GaussianOracle, ScoreModel
from training.experiment import Scoring
from training.processes import Processes

__all__ = ["LogDensity", "real_baselines", "score_reals"]


@dataclass(frozen=True, eq=False)
class LogDensity(OfRows):
    """log p of rows of real numbers under a model's flow, in nats and in the units of the data, one by one and their mean.

    Float64, (N,): per_image, the values; probe_error, of a value, from its probes (0 when exact, NaN from one). latents are the
    states at T where they were asked for; nfe is in network calls.
    """

    per_image: Tensor
    probe_error: Tensor
    latents: Tensor | None
    nfe: int
    unit = "nats"

    @property
    def probe(self) -> float:
        """What the probes alone contribute to the standard error; NaN from one probe a row."""
        return (self.probe_error.square().mean() / len(self.probe_error)).sqrt().item()

    def record(self) -> dict[str, Any]:
        """The parts, as JSON can keep them."""
        return {"probe": None if math.isnan(self.probe) else self.probe}

    def __str__(self) -> str:
        probe = "" if math.isnan(self.probe) else f"; parts: probe {self.probe:.1g}"
        number = f"{with_error(self.mean, self.standard_error)} nats a datum"
        return f"{number} ({so_many(len(self.per_image), 'datum', 'data')}{probe}; {self.nfe} network calls)"


def score_reals(
    model: ScoreModel,
    scoring: Scoring,
    raw: Tensor,
    seed: int,
    parts: Path,
    here: Processes = Processes(),  # noqa: B008  (a value)
    keep_latents: bool = False,
    y: Tensor | None = None,
) -> LogDensity:
    """log p of real data (N, *shape) by the flow, given their classes y if there are any.

    Each batch is kept in the folder parts until all are done.
    """
    device, transform = next(model.parameters()).device, model.data
    starts = range(0, len(raw), scoring.batch_size)
    unit = transform.log_det(math.prod(raw.shape[1:]))

    def score(index: int) -> dict[str, Any]:
        rows = slice(index, index + scoring.batch_size)
        x = transform.encode(raw[rows].float()).to(device)
        options: Any = {"divergence": scoring.divergence, "rtol": scoring.rtol, "atol": scoring.atol, "seed": seed, "index": index}
        found = log_likelihood(model.sde, under(model, y, rows), x, **options)
        arrays = {"per_image": found.log_prob + unit, "probe_error": found.probe_error}
        arrays |= {"latents": found.latent} if keep_latents else {}
        return {name: value.cpu().numpy() for name, value in arrays.items()} | {"nfe": found.nfe}

    job = {"seed": seed, "scoring": repr(scoring), "latents": keep_latents, "data": digest(raw, y), "model": fingerprint(model)}
    done = in_batches(parts, job, starts, score, here, "likelihood")
    joined: Any = {name: torch.cat([torch.from_numpy(part[name]) for part in done]) for name in done[0] if name != "nfe"}
    return LogDensity(**{"latents": None, **joined}, nfe=sum(int(part["nfe"]) for part in done))


def real_baselines(train: Tensor, test: Tensor, truth: Any) -> list[Baseline]:
    """log p in nats of the truth where it is known, and of a Gaussian with the mean and covariance of train where that is cheap."""
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
    return Baseline(name, nats.mean().item(), nats.std().item() / len(nats) ** 0.5)
