"""Train, sample and score models: python run.py --sde vp --mode train."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import Any

# Threads that wait by spinning make a busy machine crawl, and threads that sleep make a quiet one wait: spin for microseconds.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # read when torch is imported


def main(argv: list[str] | None = None) -> int:
    """Run a command and give its exit code: 0, 1 for failure, 2 for usage, 130 when interrupted."""
    from training.arguments import overrides_of, parser, refuse_strangers, refuse_unused

    flags = parser()
    arguments, rest = flags.parse_known_args(argv)
    overrides = overrides_of(flags, rest)
    refuse_strangers(flags)
    from training.errors import Usage, in_a_line
    from training.session import Interrupted

    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
    try:
        refuse_unused(arguments)
        commands = (train, sample, likelihood, dequantize, certify, describe, suggest, inspect)
        named = {command.__name__: command for command in commands} | {"import": import_}
        named[arguments.mode](arguments, overrides)
        return 0
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":  # of several processes the first speaks
            print(f"\nstopped at step {stop.step} and saved; go on with:\n  {_command(arguments, 'train')} --resume")
            print(f"the run is in {arguments.workdir.resolve()}")
        return 130
    except KeyboardInterrupt as stop:
        again = f":\n  {_command(arguments, 'train')} --resume" if arguments.mode == "train" else " the same command"
        print(f"\nstopped{f': {stop}; go on with{again}' if stop.args else ''}", file=sys.stderr)
        return 130
    except Exception as error:
        if arguments.debug:
            raise
        print(f"run.py: {in_a_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, Usage) else 1


def _command(arguments: argparse.Namespace, mode: str) -> str:
    sde = f" --sde {shlex.quote(arguments.sde)}" if arguments.sde else ""
    return f"python run.py{sde} --mode {mode} --workdir {shlex.quote(str(arguments.workdir))}"


def train(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Train, sample, score, and say what to do next."""
    from evaluation.estimators import score_set
    from evaluation.report import compare, keep, reverse_strip
    from evaluation.sampling import draw_samples
    from training import session
    from training.config import restore
    from training.devices import choose_device
    from training.errors import Usage
    from training.experiment import assemble, require_rows
    from training.flags import config_of, override_free
    from training.folders import CONFIG_NAME, existing_run, new_run
    from training.metrics import append_metrics
    from training.processes import how_many, processes

    if arguments.resume:
        arguments.workdir = existing_run(arguments.sde, arguments.workdir, CONFIG_NAME)
        config = restore(arguments.workdir / CONFIG_NAME)
        override_free(config, overrides, ("train", "sample", "likelihood"))
        if arguments.seed not in (None, config.get("seed")):
            raise Usage(f"--seed {arguments.seed}: the run was begun with seed {config.get('seed')}, and can only go on with that")
    else:
        config = config_of(arguments, overrides)
    experiment = assemble(config)
    experiment.settings.require_processes(how_many())
    if arguments.dry_run:
        print(experiment)
        return
    require_rows(experiment.data, experiment.name)
    device = choose_device(arguments.device)
    with processes() as here:
        say = print if here.rank == 0 else (lambda *_: None)
        if not arguments.resume:
            arguments.workdir = here.agree(new_run(experiment.name, arguments.workdir) if here.rank == 0 else None)
        folder = arguments.workdir
        say(f"{experiment}\nfolder     {folder.resolve()}\n")
        session.train(experiment, config, folder, device, resume=arguments.resume, here=here)

        model, data, shape = experiment.model, experiment.data, tuple(experiment.data.train.shape[1:])
        draw_samples(model, experiment.sampling, shape, experiment.seed, folder / "samples", here=here)
        start = time.perf_counter()
        parts, y = folder / "likelihood.parts", getattr(data, "test_y", None)
        result = score_set(model, experiment.scoring, data.test, experiment.seed, parts, here, y=y)
        seconds = time.perf_counter() - start
        if here.rank > 0:
            return
        reverse_strip(model, shape, experiment.seed, folder / "reverse.png")
        text, record = compare(result, model, experiment.seed, data.train, data.test, "test", getattr(data, "truth", None))
        keep(record | {"seconds": round(seconds, 2)}, folder / "likelihood.json")
        number: dict[str, Any] = {key: record[key] for key in ("bits_per_dim", "nats", "standard_error") if key in record}
        append_metrics(folder, {"step": experiment.settings.steps, **number})
        print(
            f"\n{text}\n\nthe run is in {folder.resolve()}: {', '.join(sorted(path.name for path in folder.glob('[!.]*')))}\nnext:"
        )
        for mode in ("sample", "likelihood"):
            print(f"  {_command(arguments, mode)}")
        print(f"  python -c \"from models import load; print(load('{folder}'))\"")


def describe(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """What the process of a config does: equations, numbers and a picture."""
    from evaluation.describe import equations, picture
    from training.experiment import assemble, require_rows
    from training.flags import config_of

    experiment = assemble(config_of(arguments, overrides))
    require_rows(experiment.data, experiment.name)
    print(equations(experiment.model, experiment.objective, experiment.data.train))
    if not arguments.dry_run:
        path = (arguments.out or Path(f"describe-{experiment.name}")).with_suffix(".png")
        picture(experiment.model.sde, experiment.data.train, experiment.data.transform, experiment.seed, path)
        print(f"\npicture: {path.resolve()}")


def suggest(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """What the data of a config ask of a process, and whether its process fits them."""
    from evaluation.suggest import fit, proposals
    from training.build import build
    from training.data.items import data_set
    from training.experiment import require_rows
    from training.flags import config_of

    config = config_of(arguments, overrides)
    data = require_rows(data_set(config.data), config.name)
    print(f"{proposals(data.train, data.transform)}\n\n{fit(build('sde', config.sde), data.train, data.transform)}")


def inspect(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """What a data set is, what may be wrong with it, and a picture of it."""
    from evaluation.inspection import looked_at, sheet
    from training.flags import config_of

    config = config_of(arguments, overrides)
    text, data = looked_at(config)
    print(text)
    if data is not None and not arguments.dry_run:
        path = (arguments.out or Path(f"inspect-{config.name}")).with_suffix(".png")
        sheet(data, path)
        print(f"\npicture: {path.resolve()}")


def sample(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Sample from a run; the same command, given again, goes on where it was stopped."""
    import dataclasses

    from evaluation.sampling import draw_samples, stem_of
    from training.devices import choose_device
    from training.errors import Usage
    from training.flags import choose_sampler
    from training.processes import processes
    from training.trained import trained

    folder, config = _run(arguments, overrides)
    choose_sampler(config, arguments)
    stem = folder / "samples" if arguments.out is None else stem_of(arguments.out)
    model, shape, sampling = trained(folder, config, choose_device(arguments.device))
    if arguments.num is not None:
        if arguments.num < 1:
            raise Usage(f"--num {arguments.num}: at least one sample is needed")
        sampling = dataclasses.replace(sampling, num=arguments.num)
    with processes() as here:
        if here.rank == 0:
            print(f"run        {folder.resolve()}\nsampler    {sampling.sampler!r}")
        if arguments.dry_run:
            return
        start = time.perf_counter()
        paths, nfe = draw_samples(
            model, sampling, shape, config.seed, stem, tuple(arguments.format), here, tuple(arguments.classes)
        )
        if here.rank == 0:
            seconds = time.perf_counter() - start
            print(f"{sampling.num} samples, seed {config.seed}, {nfe} network calls a batch, {seconds:.1f} s:")
            print("\n".join(f"  {path.resolve()}" for path in paths))


def likelihood(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Bits/dim of images under a run's model, those of its test set unless others are given, beside the baselines."""
    from evaluation.estimators import score_set
    from evaluation.report import compare, keep
    from evaluation.sampling import named, stem_of
    from evaluation.scoring import beside_target, draw_scores, planned, save_scores, scored
    from training.devices import choose_device
    from training.errors import Usage
    from training.processes import processes

    folder, config = _run(arguments, overrides)
    settled = [key for key, _ in overrides if key.split(".")[-1] in ("divergence", "tolerance")]
    if arguments.target_error is not None and settled:
        raise Usage(f"--target-error chooses divergence and tolerance, and --config.{settled[0]} does so too: leave one out")
    device = choose_device(arguments.device)
    model, scoring, codes, train, truth, y = scored(folder, config, device, arguments.data, arguments.split)
    if arguments.out is not None and arguments.out.is_dir():
        raise Usage(f"--out {arguments.out} is a folder: a file's name was needed, to which the endings are added")
    stem = folder / "likelihood" if arguments.out is None else stem_of(arguments.out)
    with processes() as here:
        say = print if here.rank == 0 else (lambda *_: None)
        say(f"run        {folder.resolve()}\nscoring    {scoring!r}")
        if arguments.dry_run:
            return
        start = time.perf_counter()
        if arguments.target_error is not None:
            scoring, text = here.agree(planned(model, scoring, codes, y, arguments.target_error, config.seed))
            say(f"for +-{arguments.target_error:g}: {text}")
        parts = stem.with_name(f"{stem.name}.parts")
        result = score_set(model, scoring, codes, config.seed, parts, here, keep_latents=arguments.out is not None, y=y)
        if here.rank > 0:
            return
        seconds = time.perf_counter() - start
        text, record = compare(result, model, config.seed, train, codes, arguments.data or arguments.split or "test", truth)
        keep(record | {"seconds": round(seconds, 2)}, named(stem, ".json"))
        draw_scores(result, codes, model.data, named(stem, ".png"))
        missed = "" if arguments.target_error is None else beside_target(result, arguments.target_error)
        print(f"{text}\n{missed}  {seconds:.1f} s")
        written = [named(stem, ".json"), named(stem, ".png")]
        if arguments.out is not None:
            save_scores(result, named(stem, ".npz"))
            written.append(named(stem, ".npz"))
        print("\n".join(f"  {path.resolve()}" for path in written))


def dequantize(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Fit a learned dequantizer to a run's model, for a tighter bound on bits/dim."""
    from evaluation.scoring import scored
    from training.dequantizer import fit_in_folder
    from training.devices import choose_device
    from training.errors import Usage

    arguments.workdir, config = _run(arguments, overrides)
    model, _, codes, *_ = scored(arguments.workdir, config, choose_device(arguments.device), None, "train")
    if model.data.levels is None:
        raise Usage("dequantization is of levels, and the data of this run are real numbers: there is nothing to learn")
    steps = 2000 if arguments.steps is None else arguments.steps
    if steps < 1:
        raise Usage(f"--steps {steps}: at least one step is needed")
    print(f"run        {arguments.workdir.resolve()}")
    if not arguments.dry_run:
        path = fit_in_folder(model, codes, arguments.workdir, steps, config.seed)
        option = shlex.quote(f"--config.likelihood.dequantize=variational(file='{path}')")
        print(f"  {path.resolve()}\nnext:\n  {_command(arguments, 'likelihood')} {option}")


def certify(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Hold samplers to the laws of data that are known: all that are here, or one of one's own."""
    from evaluation.certify import report
    from training.errors import Failure, Usage

    if overrides:
        raise Usage(f"--config.{overrides[0][0]} is of a run, and --mode certify has none: leave it out")
    start = time.perf_counter()
    failures = report(arguments.predictor, arguments.corrector, arguments.sde, arguments.out)
    seconds = time.perf_counter() - start
    if failures:
        raise Failure(f"{failures} of the rows above fail ({seconds:.0f} s)")
    print(f"\nall pass ({seconds:.0f} s)")


def import_(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Another project's checkpoint as a run's folder."""
    from training.errors import Usage
    from training.importing import import_run, options_of

    if overrides:
        raise Usage(f"--config.{overrides[0][0]} belongs to the commands that use what was imported")
    arguments.workdir, text = import_run(arguments.source, arguments.out, arguments.family, options_of(arguments.options))
    print(f"{text}\nnext:\n  {_command(arguments, 'sample')}\n  {_command(arguments, 'likelihood')} --data FILE")


def _run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> tuple[Path, Any]:
    """The folder and config of a run."""
    from training.config import require, restore
    from training.flags import override_free
    from training.folders import CONFIG_NAME, existing_run

    folder = existing_run(arguments.sde, arguments.workdir)
    config = restore(folder / CONFIG_NAME)
    if arguments.seed is not None:
        config.seed = arguments.seed
    require(config)
    override_free(config, overrides, ("sample", "likelihood"))
    return folder, config


if __name__ == "__main__":
    sys.exit(main())
