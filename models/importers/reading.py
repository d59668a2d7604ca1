"""Other people's files, read without running anything that is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

__all__ = ["as_config", "read"]

# A learning rate that numpy computed makes its number, and nothing else, part of a file of weights.
_SCALAR: Any = numpy.float64(0).__reduce__()[0]
_DTYPES = [type(numpy.dtype(name)) for name in ("float64", "float32", "int64")]
SAFE: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    numpy.dtype,
    *_DTYPES,
]


def read(path: Path) -> Any:
    """What a .safetensors file, or one that torch.save wrote, holds: tensors, numbers, strings, and lists and dicts of them.

    Raises ValueError for what is damaged, and for a pickle that wants more than that: it could run code, and is not opened.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged, or not a safetensors file ({error}): use another copy") from None
    head = path.read_bytes()[: 1 << 16]
    if path.suffix == ".pkl" or b"torch_utils.persistence" in head:
        raise ValueError(
            f"{path} is a pickle that carries its own code, as EDM's are, and was not opened: where EDM is installed, "
            "write torch.save(network.state_dict(), file) and give import_checkpoint that file, family='edm' and the "
            "network's options as config"
        )
    try:
        with torch.serialization.safe_globals(SAFE):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes torch say
        asked = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "not an allowed" in line]
        why = f"it asks for more ({asked[0][:120]})" if asked else "it is damaged, or of another kind"
        raise ValueError(
            f"{path} was not opened, because it could run code: only tensors and numbers are read from a pickle, and {why}; "
            "where you trust it, load it yourself and torch.save the weights alone"
        ) from None


def as_config(config: Mapping[str, Any] | str | Path | None) -> dict[str, Any] | None:
    """A config as nested dictionaries, from those, from anything with to_dict, or from a JSON file. None stays None.

    Raises FileNotFoundError where there is no such file, ValueError for what is no config.
    """
    if config is None or isinstance(config, dict):
        return config
    if isinstance(config, (str, Path)):
        if not Path(config).exists():
            raise FileNotFoundError(f"there is no config at {config}: give a JSON file, or a dictionary")
        try:
            return dict(json.loads(Path(config).read_text()))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"config={str(config)!r} cannot be read ({error}): give a JSON file, or a dictionary") from None
    try:
        return dict(config.to_dict() if hasattr(config, "to_dict") else config)
    except (TypeError, ValueError):
        raise ValueError(f"config is a {type(config).__name__}: give a dictionary, or a JSON file of one") from None
