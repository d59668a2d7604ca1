"""Compute the likelihood of data under a trained model and baselines: bits/dim for levels, nats for real numbers."""

from __future__ import annotations

import argparse
import time

from score_sde.errors import UsageError
from score_sde.flags import add_device, add_dry_run, add_out, add_process, add_seed, add_workdir
from score_sde.runs.batches import kept_batches
from score_sde.runs.devices import choose_device
from score_sde.runs.estimators import score_set
from score_sde.runs.opened import config_of_run
from score_sde.runs.report import compare_with_baselines, write_json
from score_sde.runs.samples import strip_ending, with_ending
from score_sde.runs.scores import draw_scores, load_for_scoring, plan_scoring, save_scores, warn_if_above_target
from score_sde.runs.side_by_side import summary
from score_sde.training.faults import explain_writing
from score_sde.training.ranks import torchrun_ranks


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    add_process(parser)
    add_workdir(parser)
    parser.add_argument("--data", help="the data to score: a file, a folder or a data set (default: the run's own)")
    parser.add_argument("--split", choices=("train", "test"), help="which part of a data set to score (default: test)")
    parser.add_argument("--target-error", type=float, help="spend on probes, draws and tolerance until the mean is this exact")
    add_out(parser, default="likelihood in the run's folder")
    add_seed(parser)
    add_device(parser)
    add_dry_run(parser)


def run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Score data, print the numbers with their errors, and write them."""
    folder, config = config_of_run(arguments, overrides)
    settled = [key for key, _ in overrides if key.split(".")[-1] in ("divergence", "tolerance")]
    if arguments.target_error is not None and settled:
        raise UsageError(f"--target-error chooses divergence and tolerance, and --config.{settled[0]} does so too: leave one out")
    device = choose_device(arguments.device)
    model, scoring, codes, train, truth, y = load_for_scoring(folder, config, device, arguments.data, arguments.split)
    if arguments.out is not None and arguments.out.is_dir():
        raise UsageError(f"--out {arguments.out} is a folder: the name of a file was needed")
    stem = folder / "likelihood" if arguments.out is None else strip_ending(arguments.out)
    with torchrun_ranks() as ranks:
        say = print if ranks.rank == 0 else (lambda *_: None)
        say(f"run        {folder.resolve()}\nscoring    {scoring!r}")
        if arguments.dry_run:
            return
        start = time.perf_counter()
        if arguments.target_error is not None:
            plan = plan_scoring(model, scoring, codes, y, arguments.target_error, config.seed)
            scoring, text = ranks.broadcast(plan)
            say(f"for +-{arguments.target_error:g}: {text}")
        with explain_writing(stem.parent.resolve()), kept_batches(stem, ranks) as parts:
            results = score_set(model, scoring, codes, config.seed, parts, ranks, keep_latents=arguments.out is not None, y=y)
            result = summary(results)
            if ranks.rank > 0:
                return
            seconds = time.perf_counter() - start
            what = arguments.data or arguments.split or "test"
            text, record = compare_with_baselines(result, model, config.seed, train, codes, what, truth)
            written = [with_ending(stem, ".json"), with_ending(stem, ".png")]
            write_json(record | {"seconds": round(seconds, 2)}, written[0])
            draw_scores(result, codes, model.data, written[1])
            if arguments.out is not None:
                written.append(with_ending(stem, ".npz"))
                save_scores(results, written[2])
        missed = "" if arguments.target_error is None else warn_if_above_target(result, arguments.target_error)
        print(f"{text}\n{missed}  {seconds:.1f} s")
        print("\n".join(f"  {path.resolve()}" for path in written))
