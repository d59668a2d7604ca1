"""The common part of the examples of imports: their options, and samples of a model as a picture with their bits/dim.

The samples themselves are scored, because a checkpoint comes without a test set: replace codes by your own integers (N, C, H, W).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from likelihood import bits_per_dim
from samplers import Sampler
from score_sde.evaluation.figures import image_grid, save_picture
from sde_lib import ScoreModel


def count(text: str) -> int:
    """A positive integer from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} were asked for, and at least 1 is needed")
    return number


@contextlib.contextmanager
def mistakes(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Print errors in files and options as one sentence, without a traceback, and exit."""
    try:
        yield
    except (OSError, ValueError) as error:
        parser.error(str(error))


def options_of(description: str) -> argparse.ArgumentParser:
    """A parser with the options of every example."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--images", type=count, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("samples.png"))
    return parser


def by_the_flow(model: ScoreModel, score_fn: Any, codes: Any, seed: int) -> Any:
    """Bits/dim by the probability flow ODE."""
    return bits_per_dim(model.sde, score_fn, codes, images=model.data, tolerance=1e-3, seed=seed)


def sample_and_score(
    model: ScoreModel,
    sampler: Sampler,
    options: argparse.Namespace,
    score_fn: Any = None,
    bits: Callable[..., Any] = by_the_flow,
) -> None:
    """Draw samples of the network's shape, save them as a picture, and print their bits/dim."""
    score_fn = score_fn or model
    print(f"{type(model.network).__name__} under {model.sde}, asked for {model.parameterization}")
    rows = (options.images, *model.network.arguments["shape"])
    samples = sampler.sample(model.sde, score_fn, rows, seed=options.seed)
    codes = model.data.decode(samples.x)
    save_picture(image_grid(codes, model.data.levels, columns=min(8, len(codes))), options.out)
    print(f"{len(codes)} samples in {samples.nfe} network calls: {options.out}")
    print(f"its own samples: {bits(model, score_fn, codes, options.seed)}")
