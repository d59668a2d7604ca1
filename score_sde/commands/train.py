"""Train a model, draw samples from it, compute its likelihood on the test set, and print the next commands."""

from __future__ import annotations

import argparse
import functools
import time
from pathlib import Path
from typing import Any

from score_sde.config.component import classes_in, own_classes
from score_sde.config.config import flat, restore
from score_sde.config.data_sets import require_rows
from score_sde.config.experiment import Experiment, assemble
from score_sde.config.overrides import config_of, override_free
from score_sde.errors import UsageError
from score_sde.flags import add_config, add_device, add_dry_run, add_seed, add_workdir
from score_sde.program import command
from score_sde.runs import session
from score_sde.runs.batches import kept_batches
from score_sde.runs.devices import choose_device
from score_sde.runs.estimators import score_set
from score_sde.runs.folders import existing_run, new_run
from score_sde.runs.metrics import append_metrics
from score_sde.runs.report import compare_with_baselines, reverse_strip, write_json
from score_sde.runs.samples import write_samples
from score_sde.runs.side_by_side import summary
from score_sde.training.ranks import Ranks, torchrun_ranks, world_size
from score_sde.training.store import CONFIG_NAME

FIXED = ("config", "data", "objective", "weighting", "parameterization", "schedule")  # flags that --resume cannot change
SAMPLER = ("sampler", "predictor", "corrector", "times", "steps")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    add_config(parser)
    add_workdir(parser)
    add_seed(parser)
    add_device(parser)
    add_dry_run(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the training in --workdir, or with the newest run")


def run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Train, sample, score, and print the next commands."""
    config = _resumed(arguments, overrides) if arguments.resume else config_of(arguments, overrides)
    experiment = assemble(config)
    arguments.trust |= bool(own_classes(flat(config)) - set(classes_in("sde", arguments.sde or "")))  # in what is printed
    experiment.settings.require_processes(world_size())
    if arguments.dry_run:
        print(experiment)
        return
    require_rows(experiment.data, experiment.name)
    device = choose_device(arguments.device)
    with torchrun_ranks() as ranks:
        say = print if ranks.rank == 0 else (lambda *_: None)
        if not arguments.resume:
            folder = new_run(experiment.name, arguments.workdir) if ranks.rank == 0 else None
            arguments.workdir = ranks.broadcast(folder)
        folder = arguments.workdir
        say(f"{experiment}\nfolder     {folder.resolve()}\n")
        evaluate = functools.partial(_evaluate, experiment, arguments, ranks)
        session.train(experiment, config, folder, device, resume=arguments.resume, ranks=ranks, afterwards=evaluate)


def _evaluate(experiment: Experiment, arguments: argparse.Namespace, ranks: Ranks) -> None:
    """Sample and score a trained experiment, write the results into its folder, and print the next commands."""
    folder: Path = arguments.workdir
    model, data, shape = experiment.model, experiment.data, tuple(experiment.data.train.shape[1:])
    write_samples(model, experiment.sampling, shape, experiment.seed, folder / "samples", ranks=ranks)
    start = time.perf_counter()
    with kept_batches(folder / "likelihood", ranks) as parts:
        result = summary(score_set(model, experiment.scoring, data.test, experiment.seed, parts, ranks, y=data.test_y))
        seconds = time.perf_counter() - start
        if ranks.rank > 0:
            return
        reverse_strip(model, shape, experiment.seed, folder / "reverse.png")
        text, record = compare_with_baselines(result, model, experiment.seed, data.train, data.test, "test", data.truth)
        write_json(record | {"seconds": round(seconds, 2)}, folder / "likelihood.json")
        number: dict[str, Any] = {key: record[key] for key in ("bits_per_dim", "nats", "standard_error") if key in record}
        append_metrics(folder, {"step": experiment.settings.steps, **number})
    files = ", ".join(sorted(path.name for path in folder.glob("[!.]*")))
    print(f"\n{text}\n\nthe run is in {folder.resolve()}: {files}\nnext:")
    for name in ("sample", "likelihood"):
        print(f"  {command(name, sde=arguments.sde, workdir=folder, trust=arguments.trust)}")
    print(f"  python -c \"from models import load; print(load('{folder}'))\"")


def _resumed(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> Any:
    """The config of the run to resume. Its folder becomes arguments.workdir."""
    for flag in FIXED + SAMPLER:
        if getattr(arguments, flag) is not None:
            raise UsageError(f"--resume continues with the config in the run's folder: leave out --{flag}")
    arguments.workdir = existing_run(arguments.sde, arguments.workdir, CONFIG_NAME)
    config = restore(arguments.workdir / CONFIG_NAME)
    override_free(config, overrides, ("train", "sample", "likelihood"))
    if arguments.seed not in (None, config.get("seed")):
        raise UsageError(
            f"--seed {arguments.seed}: the run began with seed {config.get('seed')}, and resumes only with it: leave out --seed"
        )
    return config
