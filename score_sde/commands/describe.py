"""Show what the process of a config does to its data: equations, numbers and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from score_sde.config.data_sets import require_rows
from score_sde.config.experiment import assemble
from score_sde.config.overrides import config_of
from score_sde.evaluation.describe import equations, picture
from score_sde.flags import add_config, add_dry_run, add_out, add_seed
from score_sde.training.faults import explain_writing


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    add_config(parser)
    add_out(parser, default="describe-NAME.png")
    add_seed(parser)
    add_dry_run(parser)


def run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Print the equations of a process and draw it."""
    experiment = assemble(config_of(arguments, overrides))
    data = require_rows(experiment.data, experiment.name)
    print(equations(experiment.model, experiment.objective, data.train))
    if not arguments.dry_run:
        path = (arguments.out or Path(f"describe-{experiment.name}")).with_suffix(".png")
        with explain_writing(path.parent.resolve()):
            picture(experiment.model.sde, data.train, data.transform, experiment.seed, path)
        print(f"\npicture: {path.resolve()}")
