"""The state of a training in one file, from which a run resumes as if it had never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from models.files import read_metadata, read_tensors
from score_sde.errors import RunError, UsageError, first_line
from score_sde.training.sharding import gather_full, shard_like

__all__ = ["STATE_NAME", "contents_of", "read_state"]

STATE_NAME = "state.safetensors"


def contents_of(parts: Mapping[str, nn.Module], optimizer: Optimizer) -> dict[str, Tensor]:
    """The tensors of a state: the parts by name (weights, averages, law of times, counters) and the optimizer's moments.

    All else follows from the seed and the step. Shards are gathered, so every rank must call this.
    """
    tensors = {
        f"{part}/{name}": gather_full(value) for part, module in parts.items() for name, value in module.state_dict().items()
    }
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{i}/{name}": gather_full(torch.as_tensor(value)) for name, value in moments.items()}
    return tensors


def read_state(path: Path, parts: Mapping[str, nn.Module], optimizer: Optimizer, data: str) -> int:
    """Load a state into the parts and the optimizer, and return its step.

    data is the fingerprint of the data. States of older versions have none, and are not checked.

    Raises:
        ValueError: when the file is missing, damaged or of another kind.
        RunError: when the state is of another network or objective.
        UsageError: when the state is of other data.
    """
    groups: dict[str, dict[str, Any]] = {name: {} for name in (*parts, "optimizer")}
    try:
        with safe_open(path, framework="pt") as file:
            facts = read_metadata(path, file)
            step = int(facts["step"])
            if facts.get("data", data) != data:
                raise UsageError(
                    f"the run in {path.parent} was begun with data of {facts['data']}, and they are now {data}: "
                    "give it the data that it had, or train anew in another folder"
                )
            for key, value in read_tensors(path, file, file.keys()).items():
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = value
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in groups.pop("optimizer").items():
            i, name = key.split("/")
            moments.setdefault(int(i), {})[name] = value
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the state {path} cannot be read ({first_line(error)})") from error
    groups.get("ema", {}).pop("n_averaged", None)  # states of older versions have it
    groups["guard"] = dict(parts["guard"].state_dict()) | groups["guard"]  # states of older versions lack some counters
    if groups.keys() != parts.keys():
        odd = ", ".join(sorted(groups.keys() ^ parts.keys()))
        raise RunError(
            f"the state in {path} does not fit the averages of the config ({odd}): go on with the config it was made with"
        )
    try:
        for name, part in parts.items():
            own = part.state_dict()
            part.load_state_dict({key: shard_like(own.get(key, value), value) for key, value in groups[name].items()})
    except RuntimeError:
        raise RunError(
            f"the state in {path} does not fit the network and objective of the config: go on with the config it was made with"
        ) from None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for place, own in moments.items():  # in the memory format of the weights, which the file does not keep
        like = parameters[place]
        moments[place] = {
            name: torch.empty_like(like).copy_(shard_like(like, m)) if m.shape == like.shape else m for name, m in own.items()
        }
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return step
