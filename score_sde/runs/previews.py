"""Previews of a model in training: a few samples, and the likelihood of a few test rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from score_sde.config.experiment import Experiment
from score_sde.runs.batches import kept_batches
from score_sde.runs.estimators import score_set
from score_sde.runs.samples import write_samples
from score_sde.training.trainer import Trainer

__all__ = ["preview"]

FOLDER, SAMPLES, ROWS, TOLERANCE = "looks", 16, 64, 1e-2


def preview(experiment: Experiment, trainer: Trainer, folder: Path) -> dict[str, Any]:
    """Every look_every steps: draw samples 0 to 15 of the seed as looks/<step>, and score the first 64 test rows.

    Rows, noise and probes are the same in every preview, so that only the model changes. The tolerance is loose. The result is
    empty for the steps between; else it holds the bits/dim or nats for the metrics, under names that begin with look_.
    Training is not affected. Ranks share the work.
    """
    step, every = trainer.step, experiment.settings.look_every
    if not every or step % every:
        return {}
    data, model, stem = experiment.data, trainer.averaged(), folder / FOLDER / str(step)
    stem.parent.mkdir(exist_ok=True)
    few = dataclasses.replace(experiment.sampling, num=min(SAMPLES, experiment.sampling.num))
    model.eval()
    write_samples(model, few, tuple(data.train.shape[1:]), experiment.seed, stem, ranks=trainer.ranks)
    loose = max(TOLERANCE, experiment.scoring.tolerance)
    scoring = dataclasses.replace(experiment.scoring, tolerance=loose, estimator="flow")
    y = data.test_y
    y = None if y is None else y[:ROWS]
    with kept_batches(stem.with_name(f"{step}.likelihood"), trainer.ranks) as parts:
        (result,) = score_set(model, scoring, data.test[:ROWS], experiment.seed, parts, trainer.ranks, y=y).values()
    return {f"look_{result.unit}": result.mean, "look_error": result.standard_error}
