"""Samples as files: drawn in batches that survive an interruption, by one process or several, and written in several formats."""

from __future__ import annotations

import math
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.files import write_atomically
from score_sde.config.experiment import Sampling
from score_sde.errors import UsageError
from score_sde.evaluation.figures import image_grid, is_drawable, save_picture, scatter, standardized
from score_sde.protocols import arguments_of, streams
from score_sde.runs.batches import do_batches, kept_batches, read_batches, save_npz
from score_sde.training.fingerprint import fingerprint_of_model
from score_sde.training.ranks import Ranks
from sde_lib import ScoreModel

__all__ = [
    "FORMATS",
    "Written",
    "classes_of",
    "conditioned_score",
    "strip_ending",
    "with_ending",
    "write_samples",
]

FORMATS = ("npy", "npz", "grid", "png", "gif")
GRID, FILM = 256, 64  # the most images in a grid and in a film
ALL = "all.npy"  # the file of all rows, beside the batches
LEFT_BY_SYSTEMS = (".DS_Store", "Thumbs.db")  # files that a desktop puts into a folder that it shows


class Written(NamedTuple):
    """The paths that were written, and the largest number of network calls of a batch."""

    paths: list[Path]
    nfe: int


def strip_ending(path: Path) -> Path:
    """A path without the ending of one of our formats. Any other ending stays.

    Raises:
        UsageError: when the path has no name, as "." has none.

    >>> str(strip_ending(Path("runs/at1.5"))), str(strip_ending(Path("runs/mine.png")))
    ('runs/at1.5', 'runs/mine')
    """
    stem = path.with_suffix("") if path.suffix in (".npy", ".npz", ".png", ".gif", ".json") else path
    if not stem.name:
        raise UsageError(f"--out {path} is a folder: the name of a file was needed")
    return stem


def write_samples(
    model: ScoreModel,
    sampling: Sampling,
    shape: tuple[int, ...],
    seed: int,
    stem: Path,
    formats: tuple[str, ...] = (),
    ranks: Ranks = Ranks(),  # noqa: B008  (a value)
    classes: tuple[int, ...] = (),
) -> Written:
    """Draw sampling.num samples, rows 0 to num - 1 of the seed, and write them to files that are named after stem.

    formats (default: npy, and grid if the samples can be drawn):
        npy: the array (num, *shape).
        npz: the same array as `samples`, with `seed` and `nfe`.
        grid: stem.png, with the first 256 images or all points of a plane.
        png: a folder stem/ with one picture a sample. It takes the place of a folder of pictures that an earlier command wrote.
        gif: a film of the first 64 images on their way from noise.

    classes are assigned to the rows in turn; they are all classes of the model unless given. Each batch is kept in stem.parts/
    until all are drawn, so that the same command after an interruption draws the rest. Ranks on one file system share the
    batches, and rank 0 writes.

    Raises:
        UsageError: when a format needs pictures and the samples are none, the model does not know a class, stem.parts/ belongs to
            another command, another command is writing these files, or the folder for png holds anything else.
    """
    drawable = is_drawable(shape) and model.data is not None
    formats = formats or (("npy", "grid") if drawable or shape == (2,) else ("npy",))
    _check(formats, sampling.sampler, shape, drawable)
    if "png" in formats:
        _require_pictures_alone(stem)
    classes_of(model, range(1), classes)
    job = {
        "seed": seed,
        "num": sampling.num,
        "batch_size": sampling.batch_size,
        "sampler": repr(sampling.sampler),
        "classes": list(classes),
        "shape": list(shape),
        "network": repr(arguments_of(model.network)),
        "model": fingerprint_of_model(model),
    }
    starts = range(0, sampling.num, sampling.batch_size)
    device = next(model.parameters()).device

    def score_fn(rows: range) -> Any:
        return conditioned_score(model, classes_of(model, rows, classes), slice(None))

    def draw(index: int) -> dict[str, Any]:
        rows = range(index, min(index + sampling.batch_size, sampling.num))
        x, nfe = sampling.sampler.sample(model.sde, score_fn(rows), (len(rows), *shape), seed=seed, index=index, device=device)
        return {"codes": _decoded(model, x).numpy(), "nfe": nfe}

    drawn = Written([], 0)
    with kept_batches(stem, ranks) as parts:
        do_batches(parts, job, starts, draw, ranks, "sampling")
        if ranks.rank == 0:
            codes, nfe = _gather(parts, starts)
            drawn = Written(_write(formats, codes, nfe, model, sampling, seed, stem, score_fn), nfe)
            if "npy" in formats:
                os.replace(parts / ALL, with_ending(stem, ".npy"))
    ranks.barrier()
    return drawn


def classes_of(model: ScoreModel, rows: range, classes: tuple[int, ...] = ()) -> Tensor | None:
    """The class of each row: the given classes in turn, or all classes of the model; None for a model without classes.

    Raises:
        UsageError: when the model does not know a class.
    """
    known = arguments_of(model.network).get("condition", 0)
    wrong = [c for c in classes if not 0 <= c < known]
    if wrong:
        raise UsageError(f"--classes {wrong[0]}: the model knows {f'classes 0 to {known - 1}' if known else 'no classes'}")
    turns = classes or tuple(range(known))
    return torch.tensor([turns[row % len(turns)] for row in rows]) if turns else None


def conditioned_score(model: ScoreModel, y: Tensor | None, rows: slice) -> Any:
    """The model's score function, conditioned on the classes y[rows] if there are classes."""
    return model if y is None else model.bind(y=y[rows].to(next(model.parameters()).device))


def _check(formats: tuple[str, ...], sampler: Any, shape: tuple[int, ...], drawable: bool) -> None:
    """Refuse formats that the samples or the sampler cannot have."""
    pictures = [name for name in formats if name in ("grid", "png", "gif") and (name, shape) != ("grid", (2,))]
    if pictures and not drawable:
        raise UsageError(f"--format {pictures[0]} needs images (1 or 3, height, width), and samples are {shape}: use npy or npz")
    if "gif" in formats and not streams(sampler):
        raise UsageError(
            f"--format gif needs a sampler that yields its states, such as pc(...), and {type(sampler).__name__} does not"
        )


def _decoded(model: ScoreModel, x: Tensor) -> Tensor:
    return (x if model.data is None else model.data.decode(x)).cpu()


def _gather(parts: Path, starts: range) -> tuple[np.ndarray, int]:
    """All rows, mapped from a file so that they need not fit into memory, and the largest number of calls of a batch."""
    calls = 0
    with open(parts / ALL, "wb") as file:  # written before it is mapped: on a full disk a write raises, and a mapped page kills
        for part in read_batches(parts, starts):
            rows = np.ascontiguousarray(part["codes"])
            if file.tell() == 0:
                kind = np.lib.format.dtype_to_descr(rows.dtype)
                header = {"descr": kind, "fortran_order": False, "shape": (starts.stop, *rows.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(rows.tobytes())
            calls = max(calls, int(part["nfe"]))
        file.flush()
        os.fsync(file.fileno())
    return np.load(parts / ALL, mmap_mode="r"), calls


def _write(
    formats: tuple[str, ...],
    codes: np.ndarray,
    nfe: int,
    model: ScoreModel,
    sampling: Sampling,
    seed: int,
    stem: Path,
    score_fn: Callable[[range], Any],
) -> list[Path]:
    """Write the files, and give their paths. The caller renames the file of npy into its place last."""
    levels: Any = None if model.data is None else model.data.levels
    paths = []
    for name in sorted(set(formats), key=FORMATS.index):
        path = stem if name == "png" else with_ending(stem, ".png" if name == "grid" else f".{name}")
        paths.append(path)
        if name == "npz":
            save_npz(path, samples=codes, seed=seed, nfe=nfe)
        elif name == "grid" and codes.shape[1:] == (2,):
            scatter(torch.from_numpy(np.array(codes)), path)
        elif name == "grid":
            shown = torch.from_numpy(np.array(codes[:GRID]))
            save_picture(image_grid(shown, levels, math.ceil(math.sqrt(len(shown)))), path)
        elif name == "png":
            _write_pictures(codes, levels, path)
        elif name == "gif":
            _film(model, sampling, codes.shape[1:], seed, path, score_fn)
    return paths


def _write_pictures(codes: np.ndarray, levels: Any, folder: Path) -> None:
    """Write one picture a row into a new folder, which then takes the place of the folder that was there."""
    apart = folder.with_name(f".{folder.name}.{platform.node()}.{os.getpid()}.tmp")  # as write_atomically does
    new, old = apart / "new", apart / "old"
    new.mkdir(parents=True)
    try:
        for i, image in enumerate(codes):
            picture = image_grid(torch.from_numpy(image[None].copy()), levels, 1)
            Image.fromarray(picture).save(new / f"{i:0{len(str(len(codes) - 1))}d}.png")
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(apart, ignore_errors=True)


def _require_pictures_alone(folder: Path) -> None:
    """Refuse to replace a folder that holds anything but numbered pictures.

    Raises:
        UsageError: when the folder is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--format png writes a folder of pictures, and {folder} is a file: name another --out")
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in LEFT_BY_SYSTEMS and not (path.suffix == ".png" and path.stem.isdecimal()):
            raise UsageError(
                f"--format png replaces the folder {folder}, which holds {path.name} beside numbered pictures: name another --out"
            )


def with_ending(stem: Path, ending: str) -> Path:
    """A path with an ending appended. Dots in its name stay, which Path.with_suffix would cut."""
    return stem.with_name(stem.name + ending)


def _film(
    model: ScoreModel, sampling: Sampling, shape: tuple[int, ...], seed: int, path: Path, score_fn: Callable[[range], Any]
) -> None:
    """Write a film of the first samples, each state in units of its own standard deviation. The last frame stays two seconds."""
    rows = min(sampling.num, FILM)
    device = next(model.parameters()).device
    every = max(1, len(sampling.sampler.times(model.sde)) // 40)
    images: Any = model.data
    pictures: list[Image.Image] = []
    frame: Any = None

    def show(x: Tensor) -> None:
        picture = image_grid(images.decode(x).cpu(), images.levels, math.ceil(math.sqrt(rows)))
        pictures.append(Image.fromarray(picture.repeat(6, axis=0).repeat(6, axis=1)))

    for frame in sampling.sampler.stream(model.sde, score_fn(range(rows)), (rows, *shape), seed=seed, device=device):
        if frame.i % every == 0:
            show(standardized(model.sde, frame.mean, frame.t))
    show(frame.mean)
    times = [60] * (len(pictures) - 1) + [2000]  # milliseconds
    write_atomically(path, lambda t: pictures[0].save(t, "GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0))
