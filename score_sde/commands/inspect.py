"""Inspect a data set: shape, type, range and meaning, what may be wrong with it, and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from score_sde.config.component import Component, build
from score_sde.config.data_sets import data_set, require_rows
from score_sde.config.overrides import config_of
from score_sde.data.inspection import describe_data, describe_files, draw_contact_sheet
from score_sde.errors import UsageError
from score_sde.flags import add_config, add_dry_run, add_out
from score_sde.training.faults import explain_writing


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    add_config(parser)
    add_out(parser, default="inspect-NAME.png")
    add_dry_run(parser)


def run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Print a description of a data set and draw it. For a data set that is refused, print what its files hold."""
    config = config_of(arguments, overrides)
    try:
        data = data_set(config.data)
    except UsageError as refusal:
        print(f"{_files(Component.of('data', config.data), refusal)}\n\nwarning: {refusal}")
        return
    require_rows(data, config.name)
    print(describe_data(data, build("sde", config.sde)))
    if not arguments.dry_run:
        path = (arguments.out or Path(f"inspect-{config.name}")).with_suffix(".png")
        with explain_writing(path.parent.resolve()):
            draw_contact_sheet(data, path)
        print(f"\npicture: {path.resolve()}")


def _files(data: Component, refusal: UsageError) -> str:
    """What the files of a refused data set hold.

    Raises:
        UsageError: the refusal itself, when the files cannot be read either.
    """
    try:
        values: dict[str, Any] = {key: data.literal(key) for key in data.arguments}
        return describe_files(data.name, **values)
    except (KeyError, TypeError, ValueError):
        raise refusal from None
