"""A run's model and the way it is sampled, from its folder alone: without the data it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from models import load
from models.checkpoint import FILE_NAME, read_header
from models.registry import NETWORKS
from sde_lib import ScoreModel
from training.errors import Failure, Usage, in_a_line
from training.experiment import Sampling, parts_of_model, try_sampler
from training.kept import first_sound

__all__ = ["Trained", "trained"]


class Trained(NamedTuple):
    """The model of a run, the shape of one sample, and how to sample."""

    model: ScoreModel
    shape: tuple[int, ...]
    sampling: Sampling


def trained(folder: Path, config: Any, device: torch.device | str) -> Trained:
    """What a run's folder holds; a network or process of one's own is built as the config says.

    A checkpoint that is damaged is told of on stderr, and the one before it used, if that was kept.
    Raises Usage for a sampler that does not work with the model, Failure for a checkpoint without the shape of its data.
    """

    def read(path: Path) -> tuple[ScoreModel, tuple[int, ...]]:
        header = read_header(path)
        named = (header["network"]["arguments"] or {}).get("shape")  # a network of ours knows it, and one of one's own may not
        found = header.get("shape") or named
        if found is None:
            raise Failure(f"the checkpoint in {folder} does not say what shape a sample has: write it with save(..., shape=...)")
        own = header["network"]["name"] not in NETWORKS or header["network"]["arguments"] is None or header["sde"].get("own")
        network, sde, _ = parts_of_model(config, tuple(found)) if own else (None, None, None)
        return load(path, network=network, sde=sde, device=device), tuple(found)

    folder = folder.resolve()  # as sentences have it
    sampling = Sampling.of(config.sample)
    _, (model, shape) = first_sound(folder / FILE_NAME, read)
    try:
        try_sampler(model, sampling.sampler, (1, *shape))
    except Exception as error:
        raise Usage(f"config.sample.sampler is {config.sample.sampler!r}, which does not work here: {in_a_line(error)}") from error
    return Trained(model, shape, sampling)
