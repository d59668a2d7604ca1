"""The config of a run: found, overridden, checked, saved; a key that nobody reads is an error."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from configs import default
from configs.presets import PRESETS
from score_sde.errors import Usage, in_a_line
from score_sde.training.settings import Settings

__all__ = ["Reads", "dump", "find_config", "flat", "nearest", "override", "require", "restore"]

CONFIGS = Path(default.__file__).parent

ALIKE = 0.75  # the part of two words' letters from which one is taken for the other misspelled

# Keys of the section train that older runs do not have, and what they did without.
ADDED = {field.name: field.default for field in dataclasses.fields(Settings) if field.default is not dataclasses.MISSING}


class Reads:
    """A config that remembers which of its keys were read.

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
        """The keys that nobody read."""
        return [key for key in flat(self._config) if key not in self._seen]


def find_config(name: str | None, sde: str | None) -> ConfigDict:
    """The config of a short name, of a preset, of a file with get_config(), or for a process. Raises Usage if there is none."""
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
        raise Usage(
            f"there is no config {name!r}{f', but there is {near[0]}' if near else ''}: use one of {', '.join(known)}, "
            f"or the path of a .py file with get_config(), or a published experiment, of {', '.join(PRESETS)}"
        )
    try:
        config = _module(path).get_config()
    except Exception as error:
        raise error if isinstance(error, Usage) else Usage(f"config {path} cannot be run: {in_a_line(error)}") from error
    if not isinstance(config, ConfigDict):
        raise Usage(f"get_config() of {path} gives a {type(config).__name__}, and an ml_collections.ConfigDict was needed")
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
        raise Usage(f"config {path} cannot be run: {type(error).__name__}: {in_a_line(error)}") from error
    if not hasattr(module, "get_config"):
        raise Usage(f"config {path} has no function get_config()")
    return module


def override(config: ConfigDict, key: str, text: str) -> None:
    """Set one key, a.b.c, from the command line, in the type that it has. Raises Usage for unknown keys and other types."""
    known = flat(config)
    if key not in known:
        raise Usage(f"--config.{key}: there is no such key; {_hint(key, known)}")
    old = known[key]
    value: Any = text
    if not isinstance(old, str):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise Usage(f"--config.{key}={text}: {_a(old)} was needed, such as {old!r}") from None
        if isinstance(old, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(old):
            raise Usage(f"--config.{key}={text}: {_a(old)} was needed, such as {old!r}, and got {_a(value)}")
    *parents, leaf = key.split(".")
    for parent in parents:
        config = config[parent]
    config[leaf] = value


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The key that a name is most likely meant for: of that last part or those initials, a word of it, or spelled alike; or None.

    >>> nearest("train.lr", ["train.flip", "train.learning_rate"]), nearest("step", ["steps"]), nearest("momentum", ["clip"])
    ('train.learning_rate', 'steps', None)
    """
    *section, last = name.split(".")

    def likeness(key: str) -> tuple[float, bool, bool]:
        *own, leaf = key.split(".")
        words = leaf.split("_")
        if last == leaf or (len(words) > 1 and last == "".join(word[0] for word in words)):
            alike = 1.0
        else:
            alike = 0.95 if last in words else difflib.SequenceMatcher(None, last, leaf).ratio()
        return alike, own == section, own == ["train"]

    best = max(known, key=likeness)
    return best if likeness(best)[0] >= ALIKE else None


def _hint(key: str, known: dict[str, Any]) -> str:
    near = nearest(key, known)
    section = key.rpartition(".")[0]
    there = [name for name in known if name.rpartition(".")[0] == section] or list(known)
    return f"did you mean {near!r}?" if near else f"the keys are {', '.join(there)}"


def require(config: ConfigDict) -> None:
    """Refuse a config without a key of the default one, or with a value there of another type. Raises Usage."""
    given = flat(config)
    for key, example in flat(default.get_config()).items():
        if key not in given:
            raise Usage(f"config.{key} is missing: {_a(example)} is needed, such as {example!r}")
        value = given[key]
        if type(value) is not type(example) and not (isinstance(example, float) and type(value) is int):
            raise Usage(f"config.{key} is {value!r}: {_a(example)} was needed, such as {example!r}, and not {_a(value)}")
    if not 0 <= given["seed"] < 2**32:
        raise Usage(f"seed is {given['seed']}, and an integer from 0 to 2^32 - 1 was needed")


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def flat(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """The keys of a config with their values, nested keys joined by dots."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


def dump(config: ConfigDict) -> str:
    """A config as JSON, to be kept in the run's folder."""
    return json.dumps(config.to_dict(), indent=2)


def _tuples(value: Any) -> Any:
    """Tuples where JSON has lists."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def restore(path: Path) -> ConfigDict:
    """The config kept in a run's folder. Raises Usage when it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("it holds no keys")
        if "train" in content:
            content["train"] = ADDED | dict(content["train"])
        return ConfigDict(_tuples(content))
    except FileNotFoundError:
        raise Usage(f"{path.parent} has no {path.name}: give the folder of a run with --workdir, or train one first") from None
    except (ValueError, TypeError) as error:
        raise Usage(f"{path} is damaged ({error}): restore it, or train again") from None
