"""Train a learned dequantizer for a run's model, which gives a tighter bound on bits/dim."""

from __future__ import annotations

import argparse
import shlex

from score_sde.errors import UsageError
from score_sde.flags import add_device, add_dry_run, add_process, add_seed, add_workdir
from score_sde.program import command
from score_sde.runs.devices import choose_device
from score_sde.runs.opened import config_of_run
from score_sde.runs.scores import load_for_scoring
from score_sde.training.dequantizer import fit_in_folder
from score_sde.training.faults import explain_writing
from score_sde.training.lock import passing_lock

STEPS = 2000


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    add_process(parser)
    add_workdir(parser)
    parser.add_argument("--steps", type=int, default=None, help=f"how many steps of training (default: {STEPS})")
    add_seed(parser)
    add_device(parser)
    add_dry_run(parser)


def run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Train a dequantizer and write it into the run's folder."""
    folder, config = config_of_run(arguments, overrides)
    model, _, codes, *_ = load_for_scoring(folder, config, choose_device(arguments.device), None, "train")
    if model.data.levels is None:
        raise UsageError("dequantization is for levels, and the data of this run are real numbers: there is nothing to learn")
    steps = STEPS if arguments.steps is None else arguments.steps
    if steps < 1:
        raise UsageError(f"--steps {steps}: at least one step is needed")
    print(f"run        {folder.resolve()}")
    if not arguments.dry_run:
        refusal = f"another command is fitting a dequantizer in {folder.resolve()}: wait for its end"
        with explain_writing(folder.resolve()), passing_lock(folder / ".dequantizer.lock", refusal):
            path = fit_in_folder(model, codes, folder, steps, config.seed)
        option = shlex.quote(f"--config.likelihood.dequantize=variational(file='{path}')")
        again = command("likelihood", sde=arguments.sde, workdir=folder, trust=arguments.trust)
        print(f"  {path.resolve()}\nnext:\n  {again} {option}")
