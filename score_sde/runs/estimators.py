"""Bits/dim of a set by the flow, by the bounds, or by all that a model has, or nats, in batches that outlive a kill."""

from __future__ import annotations

import shutil
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
from score_sde.runs.batches import do_batches, read_batches
from score_sde.runs.samples import conditioned_score, digest, fingerprint
from score_sde.runs.side_by_side import Estimate, SideBySide
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
) -> Estimate | SideBySide | LogDensity:
    """Bits/dim of integers by the estimator of scoring, or by all side by side; nats of real numbers, by the flow.

    y are the classes of the rows, if they have any. Each batch is kept in the folder parts until all are done. The same call,
    after a kill, computes the rest; several processes share the batches, and all get the whole result.
    """
    names = _estimators(model, scoring)
    starts = range(0, len(codes), scoring.batch_size)
    job = {"seed": seed, "scoring": repr(scoring), "latents": keep_latents, "data": digest(codes, y), "model": fingerprint(model)}
    for name in names:
        do_batches(
            parts / name, job, starts, _batch(name, model, scoring, codes, seed, keep_latents, y), ranks, f"likelihood, {name}"
        )
    found = {name: join([_result(KINDS[name], part) for part in read_batches(parts / name, starts)]) for name in names}
    ranks.barrier()
    if ranks.rank == 0:
        shutil.rmtree(parts)
    return SideBySide(found) if len(names) > 1 else found[names[0]]


def _estimators(model: ScoreModel, scoring: Scoring) -> tuple[str, ...]:
    """The one asked for, or all: the flow, the bound of the reverse SDE and, where the process has levels, their bound."""
    if model.data.levels is None:
        return ("nats",)
    if scoring.estimator != "all":
        return (scoring.estimator,)
    return ("flow", "sde", "bound") if model.sde.has_table else ("flow", "sde")


def _batch(
    name: str, model: ScoreModel, scoring: Scoring, codes: Tensor, seed: int, keep_latents: bool, y: Tensor | None
) -> Callable[[int], dict[str, Any]]:
    """What gives the arrays of the batch that begins at an index."""
    device, sde = next(model.parameters()).device, model.sde

    def score(index: int) -> dict[str, Any]:
        rows = slice(index, index + scoring.batch_size)
        batch, score_fn = codes[rows].to(device), conditioned_score(model, y, rows)
        options: Any = {"seed": seed, "index": index}
        named = ("divergence", "tolerance", "method")
        solve: Any = {name: getattr(scoring, name) for name in named} | {"keep_latents": keep_latents}
        result: Any
        if name == "nats":
            result = score_reals(sde, score_fn, batch, transform=model.data, **solve, **options)
        elif name == "bound":
            levels: Any = sde
            result = variational_bound(levels, score_fn, batch, images=model.data, variance=scoring.variance, **options)
        else:
            options |= {"images": model.data, "dequantize": scoring.dequantize}
            if name == "sde":
                result = sde_bits_per_dim(sde, score_fn, batch, **options)
            else:
                result = bits_per_dim(sde, score_fn, batch, solver_images=16 if index == 0 else 0, **solve, **options)
        values = {f.name: getattr(result, f.name) for f in fields(result)}
        return {key: v.cpu().numpy() if isinstance(v, Tensor) else v for key, v in values.items() if v is not None}

    return score


def _result(kind: type, arrays: dict[str, Any]) -> Any:
    """A result from its arrays; what was not kept is None."""
    values = {key: v.item() if v.ndim == 0 else torch.from_numpy(v) for key, v in arrays.items()}
    return kind(**dict.fromkeys(f.name for f in fields(kind)) | values)
