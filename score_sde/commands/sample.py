"""Draw samples from a trained model. The same command, given again, continues where it was stopped."""

from __future__ import annotations

import argparse
import dataclasses
import time

from score_sde.config.overrides import choose_sampler
from score_sde.errors import UsageError
from score_sde.flags import add_device, add_dry_run, add_out, add_process, add_sampler, add_seed, add_workdir
from score_sde.runs.devices import choose_device
from score_sde.runs.opened import config_of_run, open_run, sampling_of
from score_sde.runs.samples import FORMATS, strip_ending, write_samples
from score_sde.training.faults import explain_writing
from score_sde.training.ranks import torchrun_ranks


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    add_process(parser)
    add_workdir(parser)
    parser.add_argument("--num", type=int, help="how many samples (default: the config's)")
    parser.add_argument(
        "--classes", type=int, nargs="+", default=(), help="classes of the samples, in turn (default: all that the model knows)"
    )
    add_sampler(parser)
    add_out(parser, default="samples in the run's folder", formats=FORMATS)
    add_seed(parser)
    add_device(parser)
    add_dry_run(parser)


def run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Draw samples and write them."""
    folder, config = config_of_run(arguments, overrides)
    choose_sampler(config, arguments)
    stem = folder / "samples" if arguments.out is None else strip_ending(arguments.out)
    opened = open_run(folder, config, choose_device(arguments.device))
    (model, shape), sampling = opened, sampling_of(config, opened)
    if arguments.num is not None:
        if arguments.num < 1:
            raise UsageError(f"--num {arguments.num}: at least one sample is needed")
        sampling = dataclasses.replace(sampling, num=arguments.num)
    with torchrun_ranks() as ranks:
        if ranks.rank == 0:
            print(f"run        {folder.resolve()}\nsampler    {sampling.sampler!r}")
        if arguments.dry_run:
            return
        start = time.perf_counter()
        formats, classes = tuple(arguments.format), tuple(arguments.classes)
        with explain_writing(stem.parent.resolve()):
            paths, nfe = write_samples(model, sampling, shape, config.seed, stem, formats, ranks, classes)
        if ranks.rank == 0:
            seconds = time.perf_counter() - start
            print(f"{sampling.num} samples, seed {config.seed}, {nfe} network calls a batch, {seconds:.1f} s:")
            print("\n".join(f"  {path.resolve()}" for path in paths))
