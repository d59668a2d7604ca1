"""How a model does while it trains: a few samples, and the likelihood of a few rows that it is not trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from evaluation.report import score_images
from evaluation.sampling import draw_samples
from sde_lib import ScoreModel
from training.experiment import Experiment

__all__ = ["look"]

SAMPLES, ROWS, TOLERANCE = 16, 64, 1e-2


def look(experiment: Experiment, model: ScoreModel, folder: Path, step: int) -> dict[str, Any]:
    """Samples 0 to 15 of the seed as looks/<step>, and a row for the metrics: bits/dim, or nats, of the first 64 test rows.

    They are the same rows, noise and probes at every look, so that what changes is the model; the tolerance is a loose one. Their
    names begin with look_, as those of the run's own number do not.
    """
    data, stem = experiment.data, folder / "looks" / str(step)
    few = dataclasses.replace(experiment.sampling, num=min(SAMPLES, experiment.sampling.num))
    model.eval()
    draw_samples(model, few, tuple(data.train.shape[1:]), experiment.seed, stem)
    loose: Any = {name: max(TOLERANCE, getattr(experiment.scoring, name)) for name in ("rtol", "atol")}
    y = getattr(data, "test_y", None)
    scoring = dataclasses.replace(experiment.scoring, **loose, estimator="flow")
    parts = stem.with_name(f"{step}.likelihood.parts")
    found = score_images(model, scoring, data.test[:ROWS], experiment.seed, parts, y=None if y is None else y[:ROWS])
    number = "bits_per_dim" if hasattr(model.data, "levels") else "nats"
    return {f"look_{number}": found.mean, "look_error": found.standard_error}
