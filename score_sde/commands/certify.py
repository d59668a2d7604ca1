"""Certify samplers against the laws of data that are known: all samplers of the library, or your own."""

from __future__ import annotations

import argparse
import time
from typing import Any

from configs.names import NAMES
from score_sde.config.component import build
from score_sde.errors import RunError, UsageError
from score_sde.evaluation.certification import certify, impulse_table, law_table
from score_sde.flags import add_out, add_process
from score_sde.runs.report import write_json
from score_sde.training.faults import explain_writing

SHORT = {"annealed": "annealed(steps=5)"}  # its 100 moves a time would make 100 times as many draws to follow


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    add_process(parser)
    parser.add_argument("--predictor", help=f"{', '.join(NAMES['sampler.predictor'])}, or my_package:Mine (default: all)")
    parser.add_argument("--corrector", help=f"{', '.join(NAMES['sampler.corrector'])}, or my_package:Mine (default: all)")
    add_out(parser, default="not written")


def run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Print both tables of certificates.

    Raises:
        UsageError: when --config.* is given.
        RunError: when a row of the tables fails.
    """
    if overrides:
        raise UsageError(f"--config.{overrides[0][0]} belongs to a run, and --mode certify uses none: leave it out")
    start = time.perf_counter()
    predictors = _built("predictor", arguments.predictor)
    correctors: list[Any] = [None] if arguments.corrector is None else []
    correctors += [] if arguments.predictor and arguments.corrector is None else _built("corrector", arguments.corrector)
    processes = [build("sde", name) for name in ([arguments.sde] if arguments.sde else NAMES["sde"])]
    laws_with = correctors if arguments.corrector is not None else [None]
    impulses, laws = certify(predictors, correctors, processes, laws_with)
    print(f"{impulse_table(impulses)}\n\n{law_table(laws)}")
    if arguments.out is not None:
        record = {"impulses": [row._asdict() for row in impulses], "laws": [row._asdict() for row in laws]}
        path = arguments.out.with_suffix(".json")
        with explain_writing(path.parent.resolve()):
            write_json(record, path)
    failures = sum(row.verdict == "fail" for row in impulses) + sum(row.verdict == "fail" for row in laws)
    seconds = time.perf_counter() - start
    if failures:
        raise RunError(f"{failures} of the rows above fail ({seconds:.0f} s)")
    print(f"\nall pass ({seconds:.0f} s)")


def _built(kind: str, text: str | None) -> list[Any]:
    """The algorithm that a text describes, or without a text one of each class that has a short name."""
    once = {path: name for name, path in reversed(NAMES[f"sampler.{kind}"].items())}
    names = [text] if text is not None else [SHORT.get(name, name) for name in reversed(once.values())]
    return [build(f"sampler.{kind}", name) for name in names]
