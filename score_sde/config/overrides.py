"""A config from the flags of the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from configs.names import NAMES
from score_sde.config.component import Component
from score_sde.config.config import find_config, override
from score_sde.config.data_sets import data_of, name_of, with_absolute_paths, with_shape_of
from score_sde.errors import UsageError

__all__ = ["choose_sampler", "config_of", "override_free"]


def config_of(arguments: Any, overrides: list[tuple[str, str]]) -> Any:
    """The config that the flags name, changed by the flags and the overrides.

    Raises:
        UsageError: when a flag or a key is refused.
    """
    config = find_config(arguments.config, arguments.sde)
    for key, value in overrides:
        override(config, key, value)
    if arguments.data:
        config.data = with_shape_of(config.data, data_of(arguments.data))
        named = arguments.config or any(key == "name" for key, _ in overrides)
        config.name = config.name if named else name_of(arguments.data)
    config.data = with_absolute_paths(config.data)
    for part in ("objective", "parameterization"):
        if getattr(arguments, part):
            config[part] = getattr(arguments, part)
    if arguments.weighting:
        config.objective = str(Component.of("objective", config.objective).but(weighting=arguments.weighting))
    if arguments.schedule:
        sde = Component.of("sde", config.sde)
        config.sde = str(sde.but(**{_schedule_of(sde, arguments.schedule): arguments.schedule}))
    if arguments.seed is not None:
        config.seed = arguments.seed
    choose_sampler(config, arguments)
    return config


def _schedule_of(sde: Component, asked: str) -> str:
    """The name of the argument of a process that is its schedule."""
    takes = {name: {"schedule", "beta"} & replace(sde, name=name).takes.keys() for name in (*NAMES["sde"], sde.name)}
    if not takes[sde.name]:
        those = [name for name, arguments in takes.items() if arguments]
        raise UsageError(
            f"--schedule {asked} belongs to {', '.join(those[:-1])} and {those[-1]}, and the process is {sde.name!r}: leave it out"
        )
    return takes[sde.name].pop()


def override_free(config: Any, overrides: list[tuple[str, str]], free: tuple[str, ...]) -> None:
    """Set keys of a run's config. Only the sections named in free may change after the training began.

    Raises:
        UsageError: when a key belongs to another section.
    """
    for key, value in overrides:
        if key.split(".")[0] not in free:
            raise UsageError(f"--config.{key} was fixed when the run was trained: only {'.*, '.join(free)}.* can be set now")
        override(config, key, value)


def choose_sampler(config: Any, asked: Any) -> None:
    """Set sample.sampler from --sampler, or from --predictor and --corrector, and its grid from --times and --steps.

    A predictor or corrector that is named replaces both of the config. The grid of the config stays.

    Raises:
        UsageError: when the flags contradict each other, or the sampler does not have what they set.
    """
    if asked.sampler and (asked.predictor or asked.corrector):
        raise UsageError("--sampler is the whole sampler: give it alone, or --predictor and --corrector")
    if not any((asked.sampler, asked.predictor, asked.corrector, asked.times)) and asked.steps is None:
        return
    sampler = Component.of("sampler", asked.sampler or config.sample.sampler)
    if asked.predictor or asked.corrector:
        named = {key: repr(text) for key in ("predictor", "corrector") if (text := getattr(asked, key))}
        sampler = Component.of("sampler", "pc(predictor=None)").but(**named, times=_quoted(sampler.part("times")))
    if asked.times:
        sampler = sampler.but(times=_quoted(_grid(sampler, asked.times, asked.steps)))
    if asked.steps is not None:
        sampler = _with_steps(sampler, asked.steps)
    config.sample.sampler = str(sampler)


def _quoted(part: Component | None) -> str | None:
    return None if part is None else repr(str(part))


def _grid(sampler: Component, text: str, steps: int | None) -> Component:
    """The grid that --times names, when the sampler takes a grid and the number of steps is known."""
    if "times" not in sampler.takes:
        raise UsageError(f"--times {text} belongs to pc, and the sampler is {str(sampler)!r}, which has no grid: leave it out")
    times = Component.of("sampler.times", text)
    if steps is None and times.takes.get("steps") and "steps" not in times.arguments:
        raise UsageError(f"--times {text} needs a number of steps: give --steps N, or '{times.name}(steps=18)'")
    return times


def _with_steps(sampler: Component, steps: int) -> Component:
    """A sampler with another number of steps, set in its grid, or in the sampler itself when it has no grid."""
    if steps < 1:
        raise UsageError(f"--steps {steps}: at least one step is needed")
    takes = sampler.takes
    grid = sampler.part("times") or Component.of("sampler.times", "uniform")
    if "times" in takes and "steps" in grid.takes:
        return sampler.but(times=_quoted(grid.but(steps=steps)))
    if "steps" in takes:
        return sampler.but(steps=steps)
    what = f"grid {str(grid)!r} has a number of its own" if "times" in takes else f"sampler {str(sampler)!r} chooses its own"
    raise UsageError(f"--steps {steps}: the {what}: leave it out")
