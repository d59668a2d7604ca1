"""From the flags of the command line to a config."""

from __future__ import annotations

import ast
from typing import Any

from training.build import arguments_of, with_argument
from training.config import find_config, override
from training.errors import Usage

__all__ = ["choose_sampler", "config_of", "override_free"]


def config_of(arguments: Any, overrides: list[tuple[str, str]]) -> Any:
    """The config that the flags name, with what they change."""
    config = find_config(arguments.config, arguments.sde)
    for key, value in overrides:
        override(config, key, value)
    for part in ("objective", "parameterization"):
        if getattr(arguments, part):
            config[part] = getattr(arguments, part)
    if arguments.data:
        config.data = _data(config.data, arguments.data)
    if arguments.weighting:
        config.objective = with_argument("objective", config.objective, "weighting", arguments.weighting)
    if arguments.schedule:
        key = "schedule" if config.sde.split("(")[0] == "ddpm" else "beta"
        config.sde = with_argument("sde", config.sde, key, arguments.schedule)
    if arguments.seed is not None:
        config.seed = arguments.seed
    choose_sampler(config, arguments)
    return config


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


def _data(text: str, given: str) -> str:
    """A data set's string: what --data names, or where that is a .npy file the config's arrays, or the usual ones, from it."""
    if not given.endswith(".npy"):
        return given
    return with_argument("data", text if text.split("(")[0] == "arrays" else "arrays", "train", repr(given))


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
