"""Import another project's checkpoint as a run's folder, which can be sampled and scored."""

from __future__ import annotations

import argparse
from pathlib import Path

from score_sde.errors import UsageError
from score_sde.flags import add_out
from score_sde.program import command
from score_sde.runs.imported import import_run, options_of


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="the checkpoint, or the folder of a diffusers pipeline"
    )
    parser.add_argument(
        "--family",
        help="the project: score_sde, ncsn, improved-diffusion, guided-diffusion, diffusers, edm (default: found from the file)",
    )
    parser.add_argument(
        "--options", help="what its weights do not show (docs/checkpoints.md): a JSON file, or '{\"num_heads\": 4}'"
    )
    add_out(parser, default="a new folder in runs/")


def run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Write the folder and print the next commands."""
    if overrides:
        raise UsageError(f"--config.{overrides[0][0]} belongs to the commands that use the imported run: leave it out")
    if arguments.source is None:
        raise UsageError("--mode import needs --from, another project's checkpoint")
    folder, text = import_run(arguments.source, arguments.out, arguments.family, options_of(arguments.options))
    print(f"{text}\nnext:\n  {command('sample', workdir=folder)}\n  {command('likelihood', workdir=folder)} --data FILE")
