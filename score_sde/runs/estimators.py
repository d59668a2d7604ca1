"""The likelihood of a data set by one estimator or by all that a model has, in batches that survive an interruption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from likelihood import BitsPerDim, SDEBits, VariationalBits, bits_per_dim, sde_bits_per_dim, variational_bound
from likelihood.results import join
from score_sde.config.experiment import Scoring
from score_sde.evaluation.reals import LogDensity, score_reals
from score_sde.protocols import arguments_of
from score_sde.runs.batches import do_batches, on_rank_zero, read_batches, refuse_another_job
from score_sde.runs.samples import conditioned_score
from score_sde.runs.side_by_side import Result
from score_sde.training.fingerprint import digest, fingerprint_of_model
from score_sde.training.ranks import Ranks
from sde_lib import ScoreModel

__all__ = ["score_set"]

KINDS: dict[str, type] = {"flow": BitsPerDim, "sde": SDEBits, "bound": VariationalBits, "nats": LogDensity}


def score_set(
    model: ScoreModel,
    scoring: Scoring,
    codes: Tensor,
    seed: int,
    parts: Path,
    ranks: Ranks = Ranks(),  # noqa: B008  (a value)
    keep_latents: bool = False,
    y: Tensor | None = None,
) -> dict[str, Result]:
    """Bits/dim of integers by the estimator of scoring, or by all side by side; nats of real numbers, by the flow.

    The results are by the names of their estimators; `summary` makes one of them. codes (N, *shape) are the raw data, and y (N,)
    the classes of the rows if they have any. Each batch is kept in the folder parts, of `kept_batches`, so that the same call after
    an interruption computes the rest. Ranks share the batches, and each rank gets the whole result.

    Raises:
        UsageError: when parts holds batches of another job.
    """
    names = _estimators(model, scoring)
    starts = range(0, len(codes), scoring.batch_size)
    job = {
        "seed": seed,
        "scoring": repr(scoring),
        "latents": keep_latents,
        "data": digest(codes, y),
        "network": repr(arguments_of(model.network)),
        "model": fingerprint_of_model(model),
    }
    on_rank_zero(ranks, lambda: refuse_another_job(parts.resolve(), job))
    for name in names:
        score = _score_batch(name, model, scoring, codes, seed, keep_latents, y)
        do_batches(parts / name, job, starts, score, ranks, f"likelihood, {name}")
    return {name: join([_result(KINDS[name], part) for part in read_batches(parts / name, starts)]) for name in names}


def _estimators(model: ScoreModel, scoring: Scoring) -> tuple[str, ...]:
    """The names of the estimators to compute. "all" are the flow, the bound of the reverse SDE, and the bound on levels."""
    if model.data.levels is None:
        return ("nats",)
    if scoring.estimator != "all":
        return (scoring.estimator,)
    return ("flow", "sde", "bound") if model.sde.has_table else ("flow", "sde")


def _score_batch(
    name: str, model: ScoreModel, scoring: Scoring, codes: Tensor, seed: int, keep_latents: bool, y: Tensor | None
) -> Callable[[int], dict[str, Any]]:
    """A function that scores the batch which begins at an index, and gives the result as arrays."""
    device, sde = next(model.parameters()).device, model.sde
    images: Any = model.data
    levels: Any = sde  # the bound on levels needs a process with a table
    divergence, tolerance, method, dequantize = scoring.divergence, scoring.tolerance, scoring.method, scoring.dequantize

    def score(index: int) -> dict[str, Any]:
        rows = slice(index, index + scoring.batch_size)
        batch, score_fn = codes[rows].to(device), conditioned_score(model, y, rows)
        result: Result
        if name == "nats":
            result = score_reals(
                sde,
                score_fn,
                batch,
                transform=images,
                divergence=divergence,
                tolerance=tolerance,
                method=method,
                keep_latents=keep_latents,
                seed=seed,
                index=index,
            )
        elif name == "bound":
            result = variational_bound(levels, score_fn, batch, images=images, variance=scoring.variance, seed=seed, index=index)
        elif name == "sde":
            result = sde_bits_per_dim(sde, score_fn, batch, images=images, dequantize=dequantize, seed=seed, index=index)
        else:
            result = bits_per_dim(
                sde,
                score_fn,
                batch,
                images=images,
                dequantize=dequantize,
                divergence=divergence,
                tolerance=tolerance,
                method=method,
                keep_latents=keep_latents,
                solver_images=16 if index == 0 else 0,
                seed=seed,
                index=index,
            )
        values = {f.name: getattr(result, f.name) for f in fields(result)}
        return {key: v.cpu().numpy() if isinstance(v, Tensor) else v for key, v in values.items() if v is not None}

    return score


def _result(kind: type, arrays: dict[str, Any]) -> Any:
    """A result from its arrays. A field without an array is None."""
    values = {key: v.item() if v.ndim == 0 else torch.from_numpy(v) for key, v in arrays.items()}
    return kind(**dict.fromkeys(f.name for f in fields(kind)) | values)
