"""From the flags of the command line to a config."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

from configs.names import NAMES
from training.build import arguments_of, with_argument
from training.config import find_config, override
from training.data.reading import ENDINGS
from training.errors import Usage

__all__ = ["choose_sampler", "config_of", "data_of", "name_of", "override_free"]

FILES = {"train", "test", "path", "folder", "train_y", "test_y"}  # arguments of data sets that are files or folders


def config_of(arguments: Any, overrides: list[tuple[str, str]]) -> Any:
    """The config that the flags name, with what they change."""
    config = find_config(arguments.config, arguments.sde)
    for key, value in overrides:
        override(config, key, value)
    if arguments.data:
        config.data = _as_asked(config.data, data_of(arguments.data))
        config.name = config.name if arguments.config else name_of(arguments.data)
    config.data = _from_anywhere(config.data)
    for part in ("objective", "parameterization"):
        if getattr(arguments, part):
            config[part] = getattr(arguments, part)
    if arguments.weighting:
        config.objective = with_argument("objective", config.objective, "weighting", arguments.weighting)
    if arguments.schedule:
        key = "schedule" if config.sde.split("(")[0] == "ddpm" else "beta"
        config.sde = with_argument("sde", config.sde, key, arguments.schedule)
    if arguments.seed is not None:
        config.seed = arguments.seed
    choose_sampler(config, arguments)
    return config


def _as_asked(asked: str, given: str) -> str:
    """Data that are given, read as a config asks that has a shape and no data: in that size, its levels going from end to end."""
    wanted = arguments_of("data", asked) if asked.split("(")[0] == "arrays" else {}
    kind = given.split("(")[0]
    if "shape" not in wanted or kind not in ("arrays", "folder", "idx", "cifar10"):
        return given
    if kind == "folder":
        wanted["size"] = str(ast.literal_eval(wanted["shape"])[1:])
    takes = {"arrays": ("shape", "levels", "low", "high"), "folder": ("size", "low", "high")}.get(kind, ("low", "high"))
    own = arguments_of("data", given)
    for key in takes:
        if key in wanted and key not in own:
            given = with_argument("data", given, key, wanted[key])
    return given


def data_of(text: str) -> str:
    """The component that reads what --data names: a folder, a file, or a component as it is."""
    path = Path(text)
    if path.is_dir() and path.suffix != ".zarr":
        batches = any((folder / "data_batch_1").is_file() for folder in (path, path / "cifar-10-batches-py"))
        return f"cifar10(path={text!r})" if batches else f"folder(path={text!r})"
    if path.exists():
        named = "cifar10" if path.name.startswith("cifar-10") else "idx" if "idx" in path.name else "arrays"
        kind = "arrays" if path.suffix in ENDINGS else named
        return f"{kind}({'path' if kind == 'cifar10' else 'train'}={text!r})"
    if path.suffix in ENDINGS or "/" in text.split("(")[0]:
        raise Usage(f"--data {text}: there is no such file or folder")
    if text.isidentifier() and text not in NAMES["data"]:
        known = ", ".join(NAMES["data"])
        raise Usage(f"--data {text}: there is no such file or folder, and no data set of that name: those are {known}")
    return text


def _from_anywhere(data: str) -> str:
    """The string of a data set of ours with the files that it names as seen from any folder, so that a run can be resumed there."""
    own = arguments_of("data", data) if data.split("(")[0] in NAMES["data"] else {}
    for key in FILES & own.keys():
        value = ast.literal_eval(own[key])
        if isinstance(value, str) and Path(value).exists():
            data = with_argument("data", data, key, repr(os.path.abspath(value)))
    return data


def name_of(text: str) -> str:
    """The name of a run on what --data names.

    >>> name_of("photos/cats/"), name_of("mine.npy"), name_of("toy(name=ring)"), name_of("my_package:MyData")
    ('cats', 'mine', 'toy', 'MyData')
    """
    return Path(text.split("(")[0].split(":")[-1]).name.split(".")[0] or "data"


def override_free(config: Any, overrides: list[tuple[str, str]], free: tuple[str, ...]) -> None:
    """Set keys of a trained run's config, of those that may change after the training began."""
    for key, value in overrides:
        if key.split(".")[0] not in free:
            raise Usage(f"--config.{key} was settled when the run was trained: only {'.*, '.join(free)}.* can be set now")
        override(config, key, value)


def choose_sampler(config: Any, arguments: Any) -> None:
    """Set sample.sampler from --sampler, or from --predictor and --corrector, with --times and --steps of the grid.

    A predictor or corrector that is named stands alone, without the other one that the config has; the grid stays.
    """
    text = arguments.sampler or config.sample.sampler
    if arguments.sampler and (arguments.predictor or arguments.corrector):
        raise Usage("--sampler is the whole sampler: give it alone, or --predictor and --corrector")
    if arguments.predictor or arguments.corrector:
        parts = {"predictor": arguments.predictor, "corrector": arguments.corrector, "times": _times(text)}
        text = "pc(predictor=None)"
        for key, value in parts.items():
            if value:
                text = with_argument("sampler", text, key, repr(value))
    if arguments.times:
        text = with_argument("sampler", text, "times", repr(arguments.times))
    if arguments.steps is not None:
        text = _with_steps(text, arguments.steps)
    config.sample.sampler = text


def _times(text: str) -> str | None:
    """The grid in a sampler's string, without the quotes that it may have."""
    times = arguments_of("sampler", text).get("times")
    return ast.literal_eval(times) if times and times[0] in "'\"" else times


def _with_steps(text: str, steps: int) -> str:
    """A sampler's string with another number of steps: of its grid, or its own where it has no grid."""
    if text.split("(")[0] == "pc":
        grid = with_argument("sampler.times", _times(text) or "uniform", "steps", str(steps))
        return with_argument("sampler", text, "times", repr(grid))
    return with_argument("sampler", text, "steps", str(steps))
