"""One file that says what it is: weights, architecture, process, parameterization, meaning of the data, versions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

import sde_lib
from sde_lib import Images, LinearSDE, ScoreModel, Standardize
from sde_lib.parameterizations import Parameterization

from .building import build_to_fit, load_weights
from .files import commit, read_metadata, read_tensors, write_tensors
from .registry import NETWORKS

__all__ = ["FILE_NAME", "describe", "load", "read_header", "save"]

FILE_NAME = "checkpoint.safetensors"
FORMAT, VERSION = "sde-score-model", 1
# What a class raises when a header describes it wrongly. A ValueError is a sentence of its own.
UNBUILT = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, RuntimeError, TypeError)
KEYS = {"network", "sde", "parameterization", "data", "weights"}


def save(
    model: ScoreModel,
    path: str | Path,
    *,
    ema: Mapping[str, Tensor] | None = None,
    more: Mapping[str, Mapping[str, Tensor]] | None = None,
    step: int | None = None,
    shape: Sequence[int] | None = None,
) -> None:
    """Write a model to one safetensors file, which is all that load needs. The file is replaced as a whole or not at all.

    ema: averaged weights, by the names of model.network.state_dict(), beside the model's own ("raw") weights.
    more: further sets of weights, each under a name. step: the training step. shape: the shape of one sample.

    Raises:
        TypeError: when the network is not a torch.nn.Module.
        TypeError: when JSON cannot keep the process, the data or the arguments of a registered network.
    """
    if not isinstance(model.network, nn.Module):
        raise TypeError("the model's network is a plain function, whose weights cannot be saved: wrap it in a torch.nn.Module")
    sets = {"raw": model.network.state_dict()} | ({} if ema is None else {"ema": ema}) | dict(more or {})
    tensors = {f"{which}/{name}": value for which, weights in sets.items() for name, value in weights.items()}
    header = {
        "network": {"name": type(model.network).__name__, "arguments": _arguments_of(model.network)},
        "sde": describe(model.sde),
        "parameterization": describe(model.parameterization),
        "data": None if model.data is None else describe(model.data),
        "weights": {"ema": "raw" if ema is None else "ema"} | {which: which for which in sets},
        "step": step,
        "shape": None if shape is None else list(shape),
        "torch": str(torch.__version__),
        "commit": commit(),
    }
    write_tensors(path, tensors, {"format": FORMAT, "version": str(VERSION), "model": json.dumps(header)})


def read_header(path: str | Path) -> dict[str, Any]:
    """The description in a checkpoint: network, sde, parameterization, data, weights, step, shape, torch, git commit of the code.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is damaged, of another kind, or newer than this code.
    """
    with _open(path) as file:
        return _header(path, read_metadata(path, file))


def load(
    path: str | Path,
    weights: str = "ema",
    *,
    network: nn.Module | None = None,
    sde: LinearSDE | None = None,
    device: torch.device | str = "cpu",
) -> ScoreModel:
    """The ScoreModel in a checkpoint, or in the checkpoint of a run's folder, in evaluation mode.

    weights: "ema", "raw", or the name of another set in the file. Without an average, "ema" is the same as "raw".
    network: needed for a class that was not registered (models.network). sde: needed for a process of your own.
    No pickle is read, and nothing that the file names is imported.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is damaged, of another kind, or newer than this code.
        ValueError: when it has no such weights, or they do not fit the network.
        ValueError: when the class of the network or of the process is not known here.
    """
    with _open(path) as file:
        header = _header(path, read_metadata(path, file))
        if weights not in header["weights"]:
            raise ValueError(f"weights={weights!r}: {path} has {', '.join(header['weights'])}")
        prefix = header["weights"][weights] + "/"
        names = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
        state = {key.removeprefix(prefix): value for key, value in read_tensors(path, file, names).items()}
    try:
        build = None if network is not None else _network(path, header["network"])
        sde = _rebuild(path, header["sde"], "sde", LinearSDE) if sde is None else sde
        parameterization = _rebuild(path, header["parameterization"], None, Parameterization)
        data = _rebuild(path, header["data"], None, (Images, Standardize, type(None)))
    except UNBUILT as error:
        raise _cannot_be_built(path, error) from None
    try:
        fitted: Any = network if build is None else build_to_fit(build, state)
        load_weights(fitted, state)
    except ValueError as error:
        raise ValueError(
            f"the weights in {path} do not fit the network: {error}; pass the network that they were trained with"
        ) from None
    except UNBUILT as error:
        raise _cannot_be_built(path, error) from None
    return ScoreModel(fitted, sde, parameterization, data).to(device).eval()


def describe(value: Any) -> Any:
    """A frozen dataclass as JSON: the name of its class, its fields, and whether the class is from outside of sde_lib ("own").

    Raises:
        TypeError: when JSON cannot keep a field.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        fields = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr}
        return {"name": name, "fields": fields, "own": getattr(sde_lib, name, None) is not type(value)}
    if isinstance(value, (tuple, list)):
        return [describe(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} cannot be kept in a checkpoint: write it as a frozen dataclass of numbers and strings")


def _cannot_be_built(path: str | Path, error: Exception) -> ValueError:
    why = str(error).strip().split("\n")[0]
    return ValueError(f"{path} describes what cannot be built here ({why}): it is damaged, or of another version of this code")


def _rebuild(path: str | Path, described: Any, argument: str | None, kind: Any) -> Any:
    """The object that `describe` described. It must be of a kind.

    Raises:
        TypeError: when it is of another kind.
    """
    value = _value(path, described, argument, kind)
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} has the place of another object")
    return value


def _value(path: str | Path, described: Any, argument: str | None, kind: Any = object) -> Any:
    if isinstance(described, list):
        return tuple(_value(path, item, argument) for item in described)
    if not isinstance(described, dict):
        return described
    name = described["name"]
    if name not in sde_lib.__all__ or described.get("own"):
        remedy = f"pass it, load(path, {argument}={name}(...))" if argument else "build the ScoreModel from its parts"
        raise ValueError(f"{path} was made with {name}, which sde_lib does not have: {remedy}")
    cls: Any = getattr(sde_lib, name)
    described_so = dataclasses.is_dataclass(cls)
    if not described_so or not issubclass(cls, kind):  # before it is called
        raise TypeError(f"a {name} has the place of another object")
    return cls(**{key: _value(path, value, argument) for key, value in described["fields"].items()})


def _arguments_of(network: Any) -> Any:
    """The arguments that build a registered network; None for any other class, even one with the name of a registered class."""
    name = type(network).__name__
    if NETWORKS.get(name) is not type(network):
        return None
    arguments: Any = network.arguments
    for key, value in arguments.items():
        try:
            json.dumps(value)
        except TypeError:
            raise TypeError(
                f"{name} was built with {key}={value!r:.60}, which a checkpoint cannot keep: give numbers, words, or lists of them"
            ) from None
    return arguments


def _network(path: str | Path, described: dict[str, Any]) -> Callable[[], nn.Module]:
    """What builds the network of a header."""
    name, arguments = described["name"], described["arguments"]
    if arguments is None:
        raise ValueError(
            f"{path} holds the weights of {name}, a class that was not registered: pass a network, load(path, network={name}(...))"
        )
    if name not in NETWORKS:
        raise ValueError(
            f"{path} holds the weights of {name}, which no imported module registers: import the module of that class, "
            f"or pass a network, load(path, network={name}(...))"
        )
    return partial(NETWORKS[name], **arguments)


def _open(path: str | Path) -> Any:
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}: give a .safetensors file, or the folder of a run")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        head = path.read_bytes()[:2]
        if head in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise ValueError(
                f"{path} is a pickle, which can run code when it is read, and was not opened: "
                "load its weights into a network yourself, with torch.load(weights_only=True), and use save"
            ) from None
        raise ValueError(f"{path} is damaged, or not a safetensors file ({error}): use another copy") from None


def _header(path: str | Path, metadata: dict[str, str]) -> dict[str, Any]:
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file of another kind, without the description that save writes: "
            "load its weights into a network, build a ScoreModel, and use save"
        )
    try:
        version, header = int(metadata["version"]), json.loads(metadata["model"])
    except (KeyError, ValueError, TypeError, RecursionError):
        version, header = 0, None
    if version > VERSION:
        raise ValueError(f"{path} has format version {metadata['version']}, and this code reads up to {VERSION}: update it")
    if not isinstance(header, dict) or not header.keys() >= KEYS or not _is_whole(header):
        raise ValueError(f"{path} is damaged: it does not say what its weights are of; use another copy")
    return header


def _is_whole(header: dict[str, Any]) -> bool:
    """Whether the parts of a header have the types that save writes."""
    network, weights, shape = header["network"], header["weights"], header.get("shape")
    if not isinstance(network, dict) or not isinstance(network.get("arguments", ()), (dict, type(None))):
        return False
    if not isinstance(weights, dict) or not all(isinstance(prefix, str) for prefix in weights.values()):
        return False
    sizes = shape if isinstance(shape, list) else []
    return (shape is None or isinstance(shape, list)) and all(type(size) is int and 0 < size < 1 << 31 for size in sizes)
