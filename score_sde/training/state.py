"""What a run needs to go on as if it had never stopped, in one file."""

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
    """The parts by name (weights, averages, what the law of times remembers, counters) and the optimizer's moments.

    All else follows from the seed and the step. What is in shards is put together: all processes must ask.
    """
    tensors = {
        f"{part}/{name}": gather_full(value) for part, module in parts.items() for name, value in module.state_dict().items()
    }
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{i}/{name}": gather_full(torch.as_tensor(value)) for name, value in moments.items()}
    return tensors


def read_state(path: Path, parts: Mapping[str, nn.Module], optimizer: Optimizer, data: str) -> int:
    """Put everything back where contents_of took it from, and give the step.

    Raises ValueError when the file is missing, damaged or none of its kind, RunError when it is of another network or objective,
    UsageError when it is of data with another fingerprint; older versions kept none.
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
        raise ValueError(f"{path}, from which the run would go on, cannot be read ({first_line(error)})") from error
    groups.get("ema", {}).pop("n_averaged", None)  # which older versions kept
    groups["guard"] = {name: value for name, value in parts["guard"].state_dict().items()} | groups["guard"]  # which they did not
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
    for place, own in moments.items():  # in the weights' order in memory, which the file does not keep
        like = parameters[place]
        moments[place] = {
            name: torch.empty_like(like).copy_(shard_like(like, m)) if m.shape == like.shape else m for name, m in own.items()
        }
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return step
