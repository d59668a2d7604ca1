"""Suggest processes for a data set, and say whether the process of the config fits it."""

from __future__ import annotations

import argparse

from score_sde.config.component import build
from score_sde.config.data_sets import data_set, require_rows
from score_sde.config.overrides import config_of
from score_sde.data.suggest import judge_process, proposals
from score_sde.flags import add_config


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    add_config(parser)


def run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Print proposals computed from the data, and whether the process of the config fits them."""
    config = config_of(arguments, overrides)
    data = require_rows(data_set(config.data), config.name)
    judgement = judge_process(build("sde", config.sde), data.train, data.transform)
    print(f"{proposals(data.train, data.transform)}\n\n{judgement}")
