"""Bits/dim of a set by the flow, by the bounds, or by all that a model has, in batches that outlive a kill."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.batches import do_batches, read_batches
from evaluation.sampling import digest, fingerprint, under
from evaluation.side_by_side import Estimate, SideBySide
from likelihood import BitsPerDim, SDEBits, VariationalBits, bits_per_dim, sde_bits_per_dim, variational_bound
from likelihood.joined import join
from sde_lib import ScoreModel
from training.experiment import Scoring
from training.processes import Processes

__all__ = ["score_set"]

KINDS: dict[str, type] = {"flow": BitsPerDim, "sde": SDEBits, "bound": VariationalBits}


def score_set(
    model: ScoreModel,
    scoring: Scoring,
    codes: Tensor,
    seed: int,
    parts: Path,
    here: Processes = Processes(),  # noqa: B008  (a value)
    keep_latents: bool = False,
    y: Tensor | None = None,
) -> Estimate | SideBySide:
    """Bits/dim of integer images, given their classes y if there are any, by the estimator of scoring, or by all side by side.

    Each batch is kept in the folder parts until all are done. The same call, after a kill, computes the rest; several processes
    share the batches, and all get the whole result.
    """
    names = _estimators(model) if scoring.estimator == "all" else (scoring.estimator,)
    starts = range(0, len(codes), scoring.batch_size)
    job = {"seed": seed, "scoring": repr(scoring), "latents": keep_latents, "data": digest(codes, y), "model": fingerprint(model)}
    for name in names:
        do_batches(
            parts / name, job, starts, _batch(name, model, scoring, codes, seed, keep_latents, y), here, f"likelihood, {name}"
        )
    found = {name: join([_result(KINDS[name], part) for part in read_batches(parts / name, starts)]) for name in names}
    here.wait()
    if here.rank == 0:
        shutil.rmtree(parts)
    return SideBySide(found) if scoring.estimator == "all" else found[names[0]]


def _estimators(model: ScoreModel) -> tuple[str, ...]:
    """All that a model has: the flow, the bound of the reverse SDE and, where the process has levels, their bound."""
    return ("flow", "sde", "bound") if hasattr(model.sde, "before") else ("flow", "sde")


def _batch(
    name: str, model: ScoreModel, scoring: Scoring, codes: Tensor, seed: int, keep_latents: bool, y: Tensor | None
) -> Callable[[int], dict[str, Any]]:
    """What gives the arrays of the batch that begins at an index."""
    device, sde = next(model.parameters()).device, model.sde

    def score(index: int) -> dict[str, Any]:
        rows = slice(index, index + scoring.batch_size)
        batch, score_fn = codes[rows].to(device), under(model, y, rows)
        options: Any = {"images": model.data, "seed": seed, "index": index}
        if name == "bound":
            result: Any = variational_bound(sde, score_fn, batch, variance=scoring.variance, **options)  # type: ignore[arg-type]
        elif name == "sde":
            result = sde_bits_per_dim(sde, score_fn, batch, dequantize=scoring.dequantize, **options)
        else:
            options |= {"dequantize": scoring.dequantize, "divergence": scoring.divergence}
            options |= {"rtol": scoring.rtol, "atol": scoring.atol}
            options |= {"solver_images": 16 if index == 0 else 0, "keep_latents": keep_latents}
            result = bits_per_dim(sde, score_fn, batch, **options)
        values = {f.name: getattr(result, f.name) for f in fields(result)}
        return {key: v.cpu().numpy() if isinstance(v, Tensor) else v for key, v in values.items() if v is not None}

    return score


def _result(kind: type, arrays: dict[str, Any]) -> Any:
    """A result from its arrays; what was not kept is None."""
    values = {key: v.item() if v.ndim == 0 else torch.from_numpy(v) for key, v in arrays.items()}
    return kind(**dict.fromkeys(f.name for f in fields(kind)) | values)
