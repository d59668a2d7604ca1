"""Scoring a run: loading the model and the data, planning for a target error, and writing the result as arrays and a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import pyplot as plt
from torch import Tensor

from likelihood import plan
from likelihood.results import with_error
from models.files import write_atomically
from score_sde.config.data_sets import data_of, data_set
from score_sde.config.experiment import Scoring, assemble, require_estimator
from score_sde.data.arrays import read_like
from score_sde.data.reading import ENDINGS
from score_sde.errors import UsageError
from score_sde.evaluation.figures import image_grid, is_drawable
from score_sde.protocols import arguments_of
from score_sde.runs.batches import save_npz
from score_sde.runs.opened import open_run
from score_sde.runs.samples import conditioned_score
from score_sde.runs.side_by_side import Result
from sde_lib import ScoreModel

__all__ = ["draw_scores", "load_for_scoring", "plan_scoring", "save_scores", "warn_if_above_target"]

PLANNED = 32  # images from which a plan is computed


class ScoringInput(NamedTuple):
    """A run's model, how to score, and the data to score, with their classes y if they have any.

    train and truth are the training rows and the known oracle of the run's own data set; None for other data.
    """

    model: ScoreModel
    scoring: Scoring
    codes: Tensor
    train: Tensor | None
    truth: Any
    y: Tensor | None


def load_for_scoring(folder: Path, config: Any, device: str, data: str | None, split: str | None) -> ScoringInput:
    """Load a run's model and the data to score: a split of the run's own data set or of another one, or a file.

    Raises:
        UsageError: when the data have another kind or shape than the model's, or a split of a file is asked for.
        ValueError: when no checkpoint can be read.
    """
    if split is not None and data is not None and Path(data).suffix in ENDINGS:
        raise UsageError(
            f"--split {split} is a part of a data set, and --data {data} is a file, of which all is scored: leave one out"
        )
    split = split or "test"
    if data is None:
        experiment = assemble(config, lambda classes: open_run(folder, config, "cpu", classes))  # it is tried on the CPU
        own = experiment.data
        codes, y = own.part(split)
        return ScoringInput(experiment.model.to(device), experiment.scoring, codes, own.train, own.truth, y)
    model, shape = open_run(folder, config, device)
    other = None if Path(data).suffix in ENDINGS else data_set(data_of(data))
    found, y = (None, None) if other is None else other.part(split)
    arguments = arguments_of(model.network)
    if y is None and arguments.get("condition") and not arguments.get("condition_dropout"):
        raise UsageError(
            f"--data {data} has no classes, and the model needs the class of each row: give a data set with classes=True"
        )
    try:
        codes = read_like(data, model.data, shape) if found is None else found
        model.data.check(codes)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--data {error}") from None
    if tuple(codes.shape[1:]) != shape:
        raise UsageError(f"--data {data} has shape {tuple(codes.shape)}, and the model's data are {shape}")
    if not len(codes):
        raise UsageError(f"--data {data} has no rows: there is nothing to score")
    scoring = Scoring.of(config.likelihood)
    require_estimator(scoring, model, classes=y is not None)
    return ScoringInput(model, scoring, codes, None, None, y)


def plan_scoring(
    model: ScoreModel, scoring: Scoring, codes: Tensor, y: Tensor | None, target_error: float, seed: int
) -> tuple[Scoring, str]:
    """The cheapest scoring whose mean has a noise and solver error of target_error, and a description of the plan.

    Raises:
        UsageError: when the data have no levels, the estimator is not the flow, or the target cannot be reached.
    """
    device = next(model.parameters()).device
    if model.data.levels is None:
        raise UsageError(
            "--target-error is for bits/dim, and these data have no levels: set config.likelihood.divergence and tolerance"
        )
    if scoring.estimator != "flow":
        raise UsageError(f"--target-error is for the flow, and likelihood.estimator is {scoring.estimator!r}: leave one out")
    try:
        images: Any = model.data
        budget = plan(
            model.sde,
            conditioned_score(model, y, slice(0, PLANNED)),
            codes[:PLANNED].to(device),
            len(codes),
            target_error,
            images=images,
            dequantize=scoring.dequantize,
            method=scoring.method,
            seed=seed,
        )
    except ValueError as error:
        raise UsageError(f"--target-error {target_error}: {error}") from None
    planned = dataclasses.replace(scoring, divergence=budget.divergence, tolerance=budget.tolerance, dequantize=budget.dequantize)
    return planned, str(budget)


def warn_if_above_target(result: Any, target_error: float) -> str:
    """A warning when the noise in the mean is above target_error; else an empty text."""
    noise = result.parts.noise or 0.0
    if noise <= target_error:
        return ""
    return f"  the noise in the mean came out at {noise:.2g}, above the {target_error:g} that was wanted: ask for less\n"


def save_scores(results: Mapping[str, Result], path: Path) -> None:
    """Write the values of each row as arrays: bits_per_dim or nats, and the other values that a result has for each row.

    results are by the names of their estimators. Names of arrays begin with the estimator's name, except for the first one's.
    """
    arrays: dict[str, Any] = {"nfe": sum(result.nfe for result in results.values())}
    for i, (name, result) in enumerate(results.items()):
        prefix = "" if i == 0 else f"{name}_"
        values = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name != "per_image"}
        arrays |= {prefix + key: value.cpu().numpy() for key, value in values.items() if isinstance(value, Tensor)}
        arrays[prefix + result.unit] = result.per_image.cpu().numpy()
    save_npz(path, **arrays)


def draw_scores(result: Any, codes: Tensor, data: Any, path: Path) -> None:
    """Draw a histogram of the bits/dim or nats of each row, and the ten most and ten least likely images."""
    levels = data.levels
    unit, better = ("nats", "higher") if levels is None else ("bits/dim", "lower")
    order = result.per_image.argsort(descending=levels is None).tolist()
    drawable = is_drawable(tuple(codes.shape[1:]))
    heights = [4, 1, 1] if drawable else [1]
    size = (7, 5 if drawable else 3.5)
    figure, axes = plt.subplots(len(heights), 1, figsize=size, height_ratios=heights, layout="constrained", squeeze=False)
    histogram = axes[0, 0]
    histogram.hist(result.per_image.numpy(), bins="auto", color="tab:blue", alpha=0.8)
    histogram.axvline(result.mean, color="black", linewidth=1)
    mean = with_error(result.mean, result.standard_error, digits=3)
    histogram.set(
        xlabel=f"{unit} ({better}: more likely)",
        ylabel="data" if levels is None else "images",
        title=f"{len(codes)} {'data' if levels is None else 'images'}, mean {mean}",
    )
    if drawable:
        for axis, which, name in ((axes[1, 0], order[:10], "most likely"), (axes[2, 0], order[::-1][:10], "least likely")):
            axis.imshow(image_grid(codes[which].cpu(), levels, 10), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            low, high = (f"{result.per_image[i].item():.2f}" for i in (which[0], which[-1]))
            axis.set(xticks=[], yticks=[], title=f"{name}: {low} to {high} {unit}")
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
    plt.close(figure)
