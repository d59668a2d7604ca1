"""From what --data and config.data say to a data set."""

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

FILES = {"train", "test", "path", "folder", "train_y", "test_y"}  # arguments of data sets that are files or folders
OF_SHAPE = {"arrays": ("shape", "levels", "low", "high"), "folder": ("size", "low", "high")}  # arguments that a config can ask for


def data_set(text: str) -> DataSet:
    """The data set that a component's text describes, with train, test and transform; a torch Dataset becomes Items.

    Raises:
        UsageError: when the text describes neither, or `build` or `Items` refuses it.
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
    except Exception as error:  # whatever the items raise, too
        raise UsageError(f"config.data is {text!r}, which was refused: {first_line(error)}") from error


def require_rows(data: DataSet, name: str) -> DataSet:
    """The data set, unless it has a shape and no rows, as those of published experiments.

    Raises:
        UsageError: when the data set has no rows.
    """
    shape = tuple(data.train.shape)
    if not shape[0]:
        raise UsageError(f"{name} comes without its data: give --data, pictures or arrays (N, {str(shape[1:])[1:]}")
    return data


def data_of(text: str) -> str:
    """The component that reads what --data names: a folder, a file, or a component as it is.

    Raises:
        UsageError: when there is no such file, folder or data set.
    """
    path = Path(text)
    if path.is_dir() and path.suffix != ".zarr":
        batches = any((folder / "data_batch_1").is_file() for folder in (path, path / "cifar-10-batches-py"))
        return f"cifar10(path={text!r})" if batches else f"folder(path={text!r})"
    if path.exists():
        named = "cifar10" if path.name.startswith("cifar-10") else "idx" if "idx" in path.name else "arrays"
        kind = "arrays" if path.suffix in ENDINGS else named
        return f"{kind}({'path' if kind == 'cifar10' else 'train'}={text!r})"
    if path.suffix in ENDINGS or "/" in text.split("(")[0]:
        raise UsageError(f"--data {text}: there is no such file or folder")
    if text.isidentifier() and text not in NAMES["data"]:
        known = ", ".join(NAMES["data"])
        raise UsageError(f"--data {text}: there is no such file or folder, and no data set of that name: those are {known}")
    return text


def name_of(text: str) -> str:
    """The name of a run on what --data names.

    >>> name_of("photos/cats/"), name_of("mine.npy"), name_of("toy(name=ring)"), name_of("my_package:MyData")
    ('cats', 'mine', 'toy', 'MyData')
    """
    return Path(text.split("(")[0].split(":")[-1]).name.split(".")[0] or "data"


def with_shape_of(asked: str, given: str) -> str:
    """The data that are given, read in the shape and levels of a config that asks for them and has no data itself."""
    wanted = dict(Component.of("data", asked).arguments) if asked.split("(")[0] == "arrays" else {}
    kind = given.split("(")[0]
    if "shape" not in wanted or kind not in ("arrays", "folder", "idx", "cifar10"):
        return given
    if kind == "folder":
        wanted["size"] = str(ast.literal_eval(wanted["shape"])[1:])
    own = Component.of("data", given)
    return str(own.but(**{k: wanted[k] for k in OF_SHAPE.get(kind, ("low", "high")) if k in wanted and k not in own.arguments}))


def with_absolute_paths(text: str) -> str:
    """A data set of ours with absolute paths of its files, so that a run can be resumed from any folder."""
    if text.split("(")[0] not in NAMES["data"]:
        return text
    data = Component.of("data", text)
    for key in FILES & data.arguments.keys():
        with suppress(ValueError):  # for what is no literal: build says what is wrong with it
            value = ast.literal_eval(data.arguments[key])
            if isinstance(value, str) and Path(value).exists():
                data = data.but(**{key: repr(os.path.abspath(value))})
    return str(data) if data.arguments else text
