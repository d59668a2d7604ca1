"""Data sets from --data and config.data."""

from __future__ import annotations

import ast
import os
from contextlib import suppress
from pathlib import Path

from configs.names import NAMES
from score_sde.config.component import Component, build
from score_sde.data.data_set import DataSet
from score_sde.data.items import Items
from score_sde.data.reading import ENDINGS
from score_sde.errors import RunError, UsageError, first_line

__all__ = ["data_of", "data_set", "name_of", "require_rows", "with_absolute_paths", "with_shape_of"]

FILES = {"train", "test", "path", "folder", "train_y", "test_y"}  # arguments that are files or folders
# Arguments that a config without data can prescribe, by kind of data set; of the other kinds, low and high.
PRESCRIBED = {"arrays": ("shape", "levels", "low", "high"), "folder": ("size", "low", "high")}


def data_set(text: str) -> DataSet:
    """The data set that a component's text describes. A torch Dataset becomes `Items`.

    Raises:
        UsageError: when the text describes no data set, or `build` or `Items` refuses it.
        RunError: when data cannot be unpacked, for example because the disk is full.
    """
    source = build("data", text)
    try:
        return DataSet.of(source)
    except TypeError as error:
        if not hasattr(source, "__getitem__") or not hasattr(source, "__len__"):
            needed = f"{error}, or a torch Dataset with items and a length"
            raise UsageError(f"config.data is {text!r}, and {needed}") from None
    try:
        return DataSet.of(Items(source, text))
    except RunError:
        raise
    except Exception as error:  # a user's Dataset may raise anything
        raise UsageError(f"config.data is {text!r}, which was refused: {first_line(error)}") from error


def require_rows(data: DataSet, name: str) -> DataSet:
    """The data set itself, when it has rows. Presets have a data set with a shape and no rows.

    Raises:
        UsageError: when the data set has no rows.
    """
    shape = tuple(data.train.shape)
    if not shape[0]:
        raise UsageError(f"{name} has no data of its own: give --data, pictures or arrays (N, {str(shape[1:])[1:]}")
    return data


def data_of(text: str) -> str:
    """The text of the component for the value of --data: a folder, a file, or a component itself.

    Raises:
        UsageError: when there is no such file, folder or data set.
    """
    path = Path(text)
    if path.is_dir() and path.suffix != ".zarr":
        batches = any((folder / "data_batch_1").is_file() for folder in (path, path / "cifar-10-batches-py"))
        return f"cifar10(path={text!r})" if batches else f"folder(path={text!r})"
    if path.exists():
        by_name = "cifar10" if path.name.startswith("cifar-10") else "idx" if "idx" in path.name else "arrays"
        kind = "arrays" if path.suffix in ENDINGS else by_name
        return f"{kind}({'path' if kind == 'cifar10' else 'train'}={text!r})"
    if path.suffix in ENDINGS or "/" in text.split("(")[0]:
        raise UsageError(f"--data {text}: there is no such file or folder")
    if text.isidentifier() and text not in NAMES["data"]:
        known = ", ".join(NAMES["data"])
        raise UsageError(f"--data {text}: there is no such file or folder, and no data set of that name: those are {known}")
    return text


def name_of(text: str) -> str:
    """The name of a run that is trained on the value of --data.

    >>> name_of("photos/cats/"), name_of("mine.npy"), name_of("toy(name=ring)"), name_of("my_package:MyData")
    ('cats', 'mine', 'toy', 'MyData')
    """
    return Path(text.split("(")[0].split(":")[-1]).name.split(".")[0] or "data"


def with_shape_of(asked: str, given: str) -> str:
    """The given data set, with the shape and levels of asked, the data set of a config that prescribes them."""
    wanted = dict(Component.of("data", asked).arguments) if asked.split("(")[0] == "arrays" else {}
    kind = given.split("(")[0]
    if "shape" not in wanted or kind not in ("arrays", "folder", "idx", "cifar10"):
        return given
    if kind == "folder":
        wanted["size"] = str(ast.literal_eval(wanted["shape"])[1:])
    own = Component.of("data", given)
    return str(own.but(**{k: wanted[k] for k in PRESCRIBED.get(kind, ("low", "high")) if k in wanted and k not in own.arguments}))


def with_absolute_paths(text: str) -> str:
    """The text of a data set with a short name, its files by absolute paths, so that a run can be resumed from any folder."""
    if text.split("(")[0] not in NAMES["data"]:
        return text
    data = Component.of("data", text)
    for key in FILES & data.arguments.keys():
        with suppress(ValueError):  # not a literal: `build` reports it
            value = ast.literal_eval(data.arguments[key])
            if isinstance(value, str) and Path(value).exists():
                data = data.but(**{key: repr(os.path.abspath(value))})
    return str(data) if data.arguments else text
