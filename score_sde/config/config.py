"""The config of a run: finding, overriding, checking, saving and restoring it. A key that nothing reads is an error."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from configs import default
from configs.presets import PRESETS
from score_sde.errors import UsageError, first_line, nearest
from score_sde.trust import reading_a_folder

__all__ = ["Reads", "dump", "find_config", "flat", "override", "require", "restore"]

CONFIGS = Path(default.__file__).parent

# Keys of the section train that the configs of older runs lack, each with the value that reproduces those runs.
OLDER = {
    "ema_warmup": True,
    "ema_rates": (),
    "ema_widths": (),
    "keep": 1,
    "held_out": 0,
    "flip": False,
    "rotate": False,
    "shift": 0,
    "augment": 0.0,
    "autocast": "none",
    "channels_last": False,
    "checkpointing": False,
    "compile": False,
    "micro_batch": 0,
    "schedule": "constant",
    "shard": False,
    "look_every": 0,
    "tensorboard": False,
}


class Reads:
    """A config that records which of its keys were read.

    >>> config = Reads(ConfigDict({"a": 1, "b": {"c": 2}}))
    >>> config.b.c, config.unread()
    (2, ['a'])
    """

    def __init__(self, config: ConfigDict, prefix: str = "", seen: set[str] | None = None) -> None:
        self._config, self._prefix, self._seen = config, prefix, set() if seen is None else seen

    def __getattr__(self, key: str) -> Any:
        value = getattr(self._config, key)
        if isinstance(value, ConfigDict):
            return Reads(value, f"{self._prefix}{key}.", self._seen)
        self._seen.add(self._prefix + key)
        return value

    def unread(self) -> list[str]:
        """The keys that were not read."""
        return [key for key in flat(self._config) if key not in self._seen]


def find_config(name: str | None, sde: str | None) -> ConfigDict:
    """The config named by a short name, a preset or a .py file with get_config(); without a name, the config of a process.

    Raises:
        UsageError: when there is no such config, or its file fails.
    """
    short = (sde or "vp").split("(")[0]
    if name is None:
        name = f"{short}_digits" if (CONFIGS / f"{short}_digits.py").exists() else "default"
    if name in PRESETS:
        config = PRESETS[name]()
        config.name = name
        if sde is not None:
            config.sde = sde
        return config
    path = Path(name) if name.endswith(".py") else CONFIGS / f"{name}.py"
    if not path.is_file():
        known = sorted(p.stem for p in CONFIGS.glob("*.py") if p.stem not in ("__init__", "names"))
        near = difflib.get_close_matches(name, PRESETS, n=1)
        raise UsageError(
            f"there is no config {name!r}{f', but there is {near[0]}' if near else ''}: use one of {', '.join(known)}, "
            f"or the path of a .py file with get_config(), or a published experiment, of {', '.join(PRESETS)}"
        )
    try:
        config = _module(path).get_config()
    except Exception as error:
        raise error if isinstance(error, UsageError) else UsageError(f"config {path} cannot be run: {first_line(error)}") from error
    if not isinstance(config, ConfigDict):
        raise UsageError(f"get_config() of {path} gives a {type(config).__name__}, and an ml_collections.ConfigDict was needed")
    if sde is not None and (name == "default" or "(" in sde or path.stem.split("_")[0] != short):
        config.sde = sde
    return config


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"config {path} cannot be run: {type(error).__name__}: {first_line(error)}") from error
    if not hasattr(module, "get_config"):
        raise UsageError(f"config {path} has no function get_config()")
    return module


def override(config: ConfigDict, key: str, text: str) -> None:
    """Set one key, a.b.c, to a value given as text. The value keeps the key's type.

    Raises:
        UsageError: when the key is unknown, or the value has another type.
    """
    known = flat(config)
    if key not in known:
        raise UsageError(f"--config.{key}: there is no such key; {_hint(key, known)}")
    old = known[key]
    value: Any = text
    if not isinstance(old, str):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise UsageError(f"--config.{key}={text}: {_type_of(old)} was needed, such as {old!r}") from None
        if isinstance(old, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(old):
            raise UsageError(f"--config.{key}={text}: {_type_of(old)} was needed, such as {old!r}, and got {_type_of(value)}")
    *parents, leaf = key.split(".")
    for parent in parents:
        config = config[parent]
    config[leaf] = value


def _hint(key: str, known: dict[str, Any]) -> str:
    near = nearest(key, known)
    section = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == section] or list(known)
    return f"did you mean {near!r}?" if near else f"the keys are {', '.join(siblings)}"


def require(config: ConfigDict) -> None:
    """Refuse a config that lacks a key of the default config, or has a value of another type there.

    Raises:
        UsageError: when a key is missing, a value has another type, or the seed is out of range.
    """
    given = flat(config)
    for key, example in flat(default.get_config()).items():
        if key not in given:
            raise UsageError(f"config.{key} is missing: {_type_of(example)} is needed, such as {example!r}")
        value = given[key]
        if type(value) is not type(example) and not (isinstance(example, float) and type(value) is int):
            needed = f"{_type_of(example)} was needed, such as {example!r}, and not {_type_of(value)}"
            raise UsageError(f"config.{key} is {value!r}: {needed}")
    if not 0 <= given["seed"] < 2**32:
        raise UsageError(f"seed is {given['seed']}, and an integer from 0 to 2^32 - 1 was needed")


def _type_of(value: Any) -> str:
    """The name of a value's type, with its article."""
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def flat(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """The values of a config by key. Nested keys are joined by dots."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


def dump(config: ConfigDict) -> str:
    """A config as JSON, for the run's folder."""
    return json.dumps(config.to_dict(), indent=2)


def _tuples(value: Any) -> Any:
    """A value from JSON with tuples in place of lists."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def restore(path: Path) -> ConfigDict:
    """The config in a file of a run's folder. From here on the command builds registered classes and those of its flags alone.

    Raises:
        UsageError: when the file is missing or damaged.
    """
    reading_a_folder()
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("it holds no keys")
        if "train" in content:
            content["train"] = OLDER | dict(content["train"])
        return ConfigDict(_tuples(content))
    except FileNotFoundError:
        raise UsageError(f"{path.parent} has no {path.name}: give the folder of a run with --workdir, or train one first") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is damaged ({error}): restore it, or train again") from None
