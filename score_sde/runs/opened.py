"""Opening a run from its folder alone, without the data that it was trained on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from models import load
from models.checkpoint import FILE_NAME, read_header
from models.registry import NETWORKS
from score_sde.config.component import build
from score_sde.config.config import require, restore
from score_sde.config.experiment import Sampling, parts_of_model, try_sampler
from score_sde.config.overrides import override_free
from score_sde.errors import RunError, UsageError, first_line
from score_sde.runs.folders import existing_run
from score_sde.training.kept import newest_readable
from score_sde.training.store import CONFIG_NAME
from sde_lib import ScoreModel

__all__ = ["Run", "config_of_run", "open_run", "sampling_of"]


class Run(NamedTuple):
    """A run: its model, and the shape of one sample."""

    model: ScoreModel
    shape: tuple[int, ...]


def config_of_run(arguments: Any, overrides: list[tuple[str, str]]) -> tuple[Path, Any]:
    """The folder of the run that --sde and --workdir name, and its config with --seed and the overrides.

    Raises:
        UsageError: when there is no such run, its config is damaged, or an override is refused.
    """
    folder = existing_run(arguments.sde, arguments.workdir)
    config = restore(folder / CONFIG_NAME)
    if arguments.seed is not None:
        config.seed = arguments.seed
    require(config)
    override_free(config, overrides, ("sample", "likelihood"))
    return folder, config


def open_run(folder: Path, config: Any, device: torch.device | str, classes: int = 0) -> Run:
    """Load a run from its folder. A user's network or process is built from the config.

    classes is how many classes a user's network is built for, when the checkpoint does not have its arguments.

    When the checkpoint is damaged, the newest readable one before it is used, with a warning on stderr.

    Raises:
        RunError: when the checkpoint does not have the shape of a sample.
        UsageError: when the process of the config is not the checkpoint's.
        ValueError: when no checkpoint can be read.
    """

    def read(path: Path) -> tuple[ScoreModel, tuple[int, ...]]:
        header = read_header(path)
        arguments = header["network"]["arguments"] or {}  # registered networks record them
        found = header.get("shape") or arguments.get("shape")
        if found is None:
            raise RunError(f"the checkpoint in {folder} does not say what shape a sample has: write it with save(..., shape=...)")
        own = header["network"]["name"] not in NETWORKS or header["network"]["arguments"] is None or header["sde"].get("own")
        network, sde, _ = parts_of_model(config, tuple(found), arguments.get("condition", classes)) if own else (None, None, None)
        return load(path, network=network, sde=sde, device=device), tuple(found)

    folder = folder.resolve()  # messages name folders from the root
    path, (model, shape) = newest_readable(folder / FILE_NAME, read)
    named = config.sde == type(model.sde).__name__  # by its class alone, as an import writes it
    if not named and _text(build("sde", config.sde)) != _text(model.sde):
        raise UsageError(
            f"{folder / CONFIG_NAME} says sde={config.sde!r}, and {path.name} was trained with {model.sde!r}: "
            "put the config of that training back"
        )
    return Run(model, shape)


def _text(sde: Any) -> str:
    """The repr of a process, with whole numbers written as real ones."""
    return re.sub(r"(?<![\w.])(\d+)(?![\w.])", r"\1.0", repr(sde))


def sampling_of(config: Any, run: Run) -> Sampling:
    """How the config of a run says to sample.

    Raises:
        UsageError: when the sampler cannot be built, or does not work with the run's model.
    """
    sampling = Sampling.of(config.sample)
    try:
        try_sampler(run.model, sampling.sampler, (1, *run.shape))
    except Exception as error:
        raise UsageError(
            f"config.sample.sampler is {config.sample.sampler!r}, which does not work here: {first_line(error)}"
        ) from error
    return sampling
