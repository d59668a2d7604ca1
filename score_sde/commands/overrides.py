"""From the flags of the command line to a config."""

from __future__ import annotations

import ast
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from configs.names import NAMES
from score_sde.config.component import arguments_of, takes_of, with_argument
from score_sde.config.config import find_config, override
from score_sde.data.reading import ENDINGS
from score_sde.errors import Usage

__all__ = ["choose_sampler", "config_of", "data_of", "name_of", "override_free"]

FILES = {"train", "test", "path", "folder", "train_y", "test_y"}  # arguments of data sets that are files or folders


def config_of(arguments: Any, overrides: list[tuple[str, str]]) -> Any:
    """The config that the flags name, with what they change."""
    config = find_config(arguments.config, arguments.sde)
    for key, value in overrides:
        override(config, key, value)
    if arguments.data:
        config.data = _as_asked(config.data, data_of(arguments.data))
        named = arguments.config or any(key == "name" for key, _ in overrides)
        config.name = config.name if named else name_of(arguments.data)
    config.data = _from_anywhere(config.data)
    for part in ("objective", "parameterization"):
        if getattr(arguments, part):
            config[part] = getattr(arguments, part)
    if arguments.weighting:
        config.objective = with_argument("objective", config.objective, "weighting", arguments.weighting)
    if arguments.schedule:
        config.sde = with_argument("sde", config.sde, _schedule_of(config.sde, arguments.schedule), arguments.schedule)
    if arguments.seed is not None:
        config.seed = arguments.seed
    choose_sampler(config, arguments)
    return config


def _schedule_of(sde: str, asked: str) -> str:
    """The argument of a process that is its schedule. Raises Usage for a process that has none."""
    process = sde.split("(")[0]
    takes = {name: {"schedule", "beta"} & takes_of("sde", name) for name in (*NAMES["sde"], process)}
    if not takes[process]:
        those = [name for name, some in takes.items() if some]
        raise Usage(
            f"--schedule {asked} is of {', '.join(those[:-1])} and {those[-1]}, and the process is {process!r}: leave it out"
        )
    return takes[process].pop()


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
        with suppress(ValueError):  # for what is no literal: build says what is wrong with it
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
        text = with_argument("sampler", text, "times", repr(_grid(text, arguments.times, arguments.steps)))
    if arguments.steps is not None:
        text = _with_steps(text, arguments.steps)
    config.sample.sampler = text


def _grid(sampler: str, times: str, steps: int | None) -> str:
    """The grid that --times names, if the sampler has one and the grid knows how many steps. Raises Usage."""
    if "times" not in takes_of("sampler", sampler):
        raise Usage(f"--times {times} is of pc, and the sampler is {sampler!r}, which has no grid: leave it out")
    if steps is None and "steps" in takes_of("sampler.times", times, only_needed=True) - set(arguments_of("sampler.times", times)):
        raise Usage(f"--times {times} needs --steps N, or the number in itself, as '{times.split('(')[0]}(steps=18)'")
    return times


def _times(text: str) -> str | None:
    """The grid in a sampler's string, without the quotes that it may have."""
    times = arguments_of("sampler", text).get("times")
    return ast.literal_eval(times) if times and times[0] in "'\"" else times


def _with_steps(text: str, steps: int) -> str:
    """A sampler's string with another number of steps: of its grid, or its own where it has no grid. Raises Usage."""
    if steps < 1:
        raise Usage(f"--steps {steps}: at least one step is needed")
    takes = takes_of("sampler", text)
    grid = _times(text) or "uniform"
    if "times" in takes and "steps" in takes_of("sampler.times", grid):
        return with_argument("sampler", text, "times", repr(with_argument("sampler.times", grid, "steps", str(steps))))
    if "steps" in takes:
        return with_argument("sampler", text, "steps", str(steps))
    what = f"grid {grid!r} has a number of its own" if "times" in takes else f"sampler {text!r} chooses its own"
    raise Usage(f"--steps {steps}: the {what}: leave it out")
