"""Reading of other projects' files, without running any code in them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

__all__ = ["as_config", "read"]

# A file of weights may hold a learning rate that numpy computed: these types are needed for that number alone.
_SCALAR: Any = numpy.float64(0).__reduce__()[0]
_DTYPES = [type(numpy.dtype(name)) for name in ("float64", "float32", "int64")]
SAFE: list[Any] = [
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    numpy.dtype,
    *_DTYPES,
]


def read(path: Path) -> Any:
    """The content of a .safetensors file, or of a file of torch.save: tensors, numbers, strings, and lists and dicts of them.

    Files of torch.save are zip archives with checksums, which torch does not verify and this function does.

    Raises:
        ValueError: when the file is damaged.
        ValueError: when a pickle asks for other types, with which it could run code.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged, or not a safetensors file ({error}): use another copy") from None
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if path.suffix == ".pkl" or b"torch_utils.persistence" in head:
        raise ValueError(
            f"{path} is a pickle that carries its own code, as EDM's are, and was not opened: where EDM is installed, "
            "write torch.save(network.state_dict(), file) and give import_checkpoint that file, family='edm' and the "
            "network's options as config"
        )
    if head[:2] == b"PK":
        _check_sums(path)
    try:
        with torch.serialization.safe_globals(SAFE):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes torch say
        asked = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "not an allowed" in line]
        if b"\x80\x03" <= head[:2] <= b"\x80\x05":
            asked.append(f"pickle protocol {head[1]}, and torch.save writes 2")
        if not asked:
            raise ValueError(f"{path} is damaged, or no file that torch.save wrote: use another copy") from None
        raise ValueError(
            f"{path} was not opened, because it could run code: only tensors and numbers are read from a pickle, and it asks for "
            f"more ({asked[0][:120]}); where you trust it, load it yourself and torch.save the weights alone"
        ) from None


def _check_sums(path: Path) -> None:
    """Refuse a zip archive that is truncated, or a member of which differs from its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path} is damaged ({error}): use another copy") from None
    if bad is not None:
        raise ValueError(
            f"{path} is damaged: {bad} differs from its checksum; use another copy, or save it again if it was saved without "
            "(torch.serialization.set_crc32_options(False))"
        )


def as_config(config: Mapping[str, Any] | str | Path | None) -> dict[str, Any] | None:
    """A config as nested dictionaries: from dictionaries, from an object with to_dict, or from a JSON file. None stays None.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file or the object is not a config.
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
