"""Bits/dim of a set by the flow, in batches that outlive a kill; and the pictures and files of the result."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from evaluation.batches import in_batches, save_npz
from evaluation.figures import image_grid, is_drawable
from evaluation.sampling import digest, fingerprint, under
from likelihood import BitsPerDim, bits_per_dim, plan
from models import load
from models.checkpoint import FILE_NAME
from models.files import write_atomically
from sde_lib import ScoreModel
from training.data.arrays import read_like
from training.data.items import data_set
from training.data.reading import ENDINGS
from training.errors import Usage
from training.experiment import Scoring, assemble
from training.kept import first_sound
from training.processes import Processes
from training.trained import trained

__all__ = ["draw_scores", "planned", "save_scores", "score_set", "scored"]

PLANNED = 16  # images on which a plan is made


class Scored(NamedTuple):
    """A run's model, how to score, and the data to be scored; of the run's set its training rows, known truth and classes too."""

    model: ScoreModel
    scoring: Scoring
    codes: Tensor
    train: Tensor | None
    truth: Any
    y: Tensor | None


def scored(folder: Path, config: Any, device: str, data: str | None, split: str) -> Scored:
    """What a run's folder holds and the data that are asked for: of its own data set, of another one, or in a file.

    Raises Usage for data that are not of the kind and shape of the model's.
    """
    if data is None:
        experiment = assemble(config)
        own_parts = {"network": experiment.model.network, "sde": experiment.model.sde}
        _, model = first_sound(folder / FILE_NAME, lambda path: load(path, **own_parts, device=device))
        own = experiment.data
        truth, y = getattr(own, "truth", None), getattr(own, f"{split}_y", None)
        return Scored(model, experiment.scoring, getattr(own, split), own.train, truth, y)
    model, shape, _ = trained(folder, config, device)
    other = None if Path(data).suffix in ENDINGS else data_set(data)
    y = getattr(other, f"{split}_y", None)
    arguments = getattr(model.network, "arguments", None) or {}
    if y is None and arguments.get("condition") and not arguments.get("condition_dropout"):
        raise Usage(f"--data {data} has no classes, and the model knows data of a class alone: give a set with classes=True")
    try:
        codes = read_like(data, model.data, shape) if other is None else getattr(other, split)
        model.data.check(codes)
    except (ValueError, TypeError) as error:
        raise Usage(f"--data {error}") from None
    if tuple(codes.shape[1:]) != shape or not len(codes):
        raise Usage(f"--data {data} has shape {tuple(codes.shape)}, and the model's data are {shape}")
    return Scored(model, Scoring.of(config.likelihood), codes, None, None, y)


def planned(
    model: ScoreModel, scoring: Scoring, codes: Tensor, y: Tensor | None, target_error: float, seed: int
) -> tuple[Scoring, str]:
    """The scoring that leaves target_error of noise and solver error in the mean, at the least cost, and what it spends."""
    device = next(model.parameters()).device
    if not hasattr(model.data, "levels"):
        raise Usage("--target-error is for bits/dim, and these data have no levels: set --config.likelihood.divergence and rtol")
    try:
        options: Any = {"images": model.data, "dequantize": scoring.dequantize, "seed": seed}
        score_fn = under(model, y, slice(0, PLANNED))
        budget = plan(model.sde, score_fn, codes[:PLANNED].to(device), len(codes), target_error, **options)
    except ValueError as error:
        raise Usage(f"--target-error {target_error}: {error}") from None
    bought: Any = {"rtol": budget.tolerance, "atol": budget.tolerance, "dequantize": budget.dequantize}
    return dataclasses.replace(scoring, divergence=budget.divergence, **bought), str(budget)


def score_set(
    model: ScoreModel,
    scoring: Scoring,
    codes: Tensor,
    seed: int,
    parts: Path,
    here: Processes = Processes(),  # noqa: B008  (a value)
    keep_latents: bool = False,
    y: Tensor | None = None,
) -> BitsPerDim:
    """Bits/dim of integer images by the flow, given their classes y if there are any.

    Each batch is kept in the folder parts until all are done. The same call, after a kill, computes the rest; several processes
    share the batches, and all get the whole result.
    """
    device = next(model.parameters()).device
    starts = range(0, len(codes), scoring.batch_size)

    def score(index: int) -> dict[str, Any]:
        rows = slice(index, index + scoring.batch_size)
        batch = codes[rows].to(device)
        result = bits_per_dim(
            model.sde,
            under(model, y, rows),
            batch,
            images=model.data,
            dequantize=scoring.dequantize,
            divergence=scoring.divergence,
            rtol=scoring.rtol,
            atol=scoring.atol,
            seed=seed,
            index=index,
            solver_images=16 if index == 0 else 0,
            keep_latents=keep_latents,
        )
        return {f.name: _array(getattr(result, f.name)) for f in dataclasses.fields(result) if getattr(result, f.name) is not None}

    job = {"seed": seed, "scoring": repr(scoring), "latents": keep_latents, "data": digest(codes, y), "model": fingerprint(model)}
    return BitsPerDim.join([_result(part) for part in in_batches(parts, job, starts, score, here, "likelihood")])


def _result(arrays: dict[str, Any]) -> BitsPerDim:
    values: Any = {"latents": None} | {name: torch.from_numpy(value) for name, value in arrays.items()}
    return BitsPerDim(**values | {"sigma_over_bin": float(arrays["sigma_over_bin"]), "nfe": int(arrays["nfe"])})


def _array(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, Tensor) else value


def save_scores(result: Any, path: Path) -> None:
    """The values of each image as arrays: bits_per_dim, or nats, and, by the flow, its parts and latents."""
    values = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    arrays = {name: value.cpu().numpy() for name, value in values.items() if isinstance(value, Tensor) and name != "per_image"}
    save_npz(path, **{getattr(result, "unit", "bits_per_dim"): _array(result.per_image)}, nfe=result.nfe, **arrays)


def draw_scores(result: Any, codes: Tensor, data: Any, path: Path) -> None:
    """A histogram of the bits/dim of images, or the nats of real data; of what can be drawn, the ten most and ten least likely."""
    levels = getattr(data, "levels", None)
    unit, better = ("nats", "higher") if levels is None else ("bits/dim", "lower")
    order = result.per_image.argsort(descending=levels is None).tolist()
    drawable = is_drawable(tuple(codes.shape[1:]))
    heights = [4, 1, 1] if drawable else [1]
    size = (7, 5 if drawable else 3.5)
    figure, axes = plt.subplots(len(heights), 1, figsize=size, height_ratios=heights, layout="constrained", squeeze=False)
    histogram = axes[0, 0]
    histogram.hist(result.per_image.numpy(), bins="auto", color="tab:blue", alpha=0.8)
    histogram.axvline(result.mean, color="black", linewidth=1)
    histogram.set(
        xlabel=f"{unit} ({better}: more likely)",
        ylabel="data" if levels is None else "images",
        title=f"{len(codes)} {'data' if levels is None else 'images'}, mean {result.mean:.3f} +- {result.standard_error:.3f}",
    )
    if drawable:
        for axis, which, name in ((axes[1, 0], order[:10], "most likely"), (axes[2, 0], order[::-1][:10], "least likely")):
            axis.imshow(image_grid(codes[which].cpu(), levels, 10), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            low, high = (f"{result.per_image[i].item():.2f}" for i in (which[0], which[-1]))
            axis.set(xticks=[], yticks=[], title=f"{name}: {low} to {high} {unit}")
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
    plt.close(figure)
