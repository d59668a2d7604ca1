"""A run's model and the way it is sampled, from its folder alone: without the data it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from models import load
from models.checkpoint import read_header
from sde_lib import ScoreModel
from training.errors import Failure, Usage, in_a_line
from training.experiment import Sampling, parts_of_model, try_sampler

__all__ = ["Trained", "trained"]


class Trained(NamedTuple):
    """The model of a run, the shape of one sample, and how to sample."""

    model: ScoreModel
    shape: tuple[int, ...]
    sampling: Sampling


def trained(folder: Path, config: Any, device: torch.device | str) -> Trained:
    """What a run's folder holds; a network or process of one's own is built as the config says.

    Raises Usage for a sampler that does not work with the model, Failure for a checkpoint without the shape of its data.
    """
    header = read_header(folder)
    named = (header["network"]["arguments"] or {}).get("shape")  # a network of ours knows it, and one of one's own may not
    found = header.get("shape") or named
    if found is None:
        raise Failure(f"the checkpoint in {folder} does not say what shape a sample has: write it with save(..., shape=...)")
    shape, sampling = tuple(found), Sampling.of(config.sample)
    own = header["network"]["arguments"] is None or header["sde"].get("own")
    network, sde, _ = parts_of_model(config, shape) if own else (None, None, None)
    model = load(folder, network=network, sde=sde, device=device)
    try:
        try_sampler(model, sampling.sampler, (1, *shape))
    except Exception as error:
        raise Usage(f"config.sample.sampler is {config.sample.sampler!r}, which does not work here: {in_a_line(error)}") from error
    return Trained(model, shape, sampling)
