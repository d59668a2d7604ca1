"""Parameterizations and objectives compared: the same network, data, steps and levels.

    OMP_NUM_THREADS=1 python benchmarks/objectives.py [--steps 1500] [--seeds 0 1] [--out FILE.json] [--table docs/objectives.md]

Each model is a U-Net on the 8x8 digits under a cosine table of 100 levels, trained on the centres of the levels. It predicts
epsilon, x0 or v, with one of four objectives:

simple: the squared error of the prediction itself.
vlb: one term of the variational bound a sample, with a learned variance.
hybrid: simple + 0.001 vlb, with a learned variance.
likelihood: g^2 times the squared error of the score.

The models are scored by the variational bound on the 360 test digits. A model without a learned variance takes the better of the
two fixed ones, which the table names. The second score is the Frechet distance between 360 ancestral samples and the test digits,
in features of a small classifier. A perfect model would have the distance of 360 training digits.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import environment, save
from likelihood import variational_bound
from models import UNet
from samplers import Ancestral, Sampler, Uniform
from score_sde.data import Digits
from score_sde.evaluation.features import DigitFeatures
from score_sde.evaluation.fid import frechet_distance
from sde_lib import Data, DenoisingScoreMatching, Epsilon, Hybrid, ScoreModel, V, VariationalBound, WithVariance
from sde_lib.tabulated import ddpm

READINGS = {"epsilon": (Epsilon(), "sigma2"), "x0": (Data(), "x0"), "v": (V(), "v")}
OBJECTIVES = ("simple", "vlb", "hybrid", "likelihood")
LEVELS, SAMPLES = 100, 360


def build(reading: str, objective: str, data: Digits) -> tuple[ScoreModel, Any]:
    """A new model and its objective."""
    parameterization, own = READINGS[reading]
    learned = objective in ("vlb", "hybrid")
    loss = {
        "simple": DenoisingScoreMatching(own),
        "vlb": VariationalBound(),
        "hybrid": Hybrid(0.001, DenoisingScoreMatching(own)),
        "likelihood": DenoisingScoreMatching("likelihood"),
    }[objective]
    network = UNet((1, 8, 8), channels=32, blocks=1, outputs=2 if learned else 1)
    return ScoreModel(
        network, ddpm("cosine", LEVELS), WithVariance(of=parameterization) if learned else parameterization, data.transform
    ), loss


def train(model: ScoreModel, objective: Any, data: Digits, steps: int) -> None:
    """Adam with warm-up and clipping; the weights are replaced by their average at the end."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    average = AveragedModel(model.network, multi_avg_fn=get_ema_multi_avg_fn(0.995))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 100)
        x0 = data.transform.encode(data.train[torch.randint(len(data.train), (64,))])
        optimizer.zero_grad()
        objective(model, x0).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model.network)
    model.network.load_state_dict(average.module.state_dict())
    model.eval()


def score(model: ScoreModel, data: Digits, features: DigitFeatures, seed: int) -> dict[str, Any]:
    """Bits/dim and distance, each with its error."""
    learned = model.parameterization.outputs > 1
    bounds = {
        kind: variational_bound(model.sde, model, data.test, images=data.transform, variance=kind, seed=seed)
        for kind in (("small",) if learned else ("small", "large"))
    }
    best = min(bounds, key=lambda kind: bounds[kind].mean)
    variance = "learned" if learned else best
    sampler = Sampler(Ancestral(variance=variance), times=Uniform(LEVELS), last="denoise")
    parts = [sampler.sample(model.sde, model, (180, 1, 8, 8), seed=seed, index=i).x for i in range(0, SAMPLES, 180)]
    distance = frechet_distance(features(data.transform.decode(torch.cat(parts))), features(data.test))
    return {
        "bits": bounds[best].mean,
        "bits_error": bounds[best].standard_error,
        "variance": variance,
        "distance": distance.value,
        "distance_error": distance.standard_error,
    }


def main() -> None:
    """Train and score every combination, print each result, and write JSON and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/objectives.json"))
    parser.add_argument("--table", type=Path, help="a Markdown file, in which the table between the two marks is replaced")
    args = parser.parse_args()
    data, features = Digits(), DigitFeatures()
    real = frechet_distance(features(data.train[:SAMPLES]), features(data.test))
    print(
        f"features: accuracy {features.accuracy:.3f} on test; distance of {SAMPLES} training digits "
        f"{real.value:.2f} +- {real.standard_error:.2f}"
    )
    rows = []
    for seed in args.seeds:
        for reading in READINGS:
            for objective in OBJECTIVES:
                torch.manual_seed(seed)
                model, loss = build(reading, objective, data)
                start = time.perf_counter()
                train(model, loss, data, args.steps)
                seconds = time.perf_counter() - start
                row = {"seed": seed, "reading": reading, "objective": objective, "train_seconds": seconds}
                rows.append(row | score(model, data, features, seed))
                print(
                    "seed {seed} {reading:8} {objective:10} {bits:.3f} +- {bits_error:.3f} bits/dim ({variance}), "
                    "distance {distance:.2f} +- {distance_error:.2f}".format(**rows[-1]),
                    flush=True,
                )
    result = {"environment": environment(), "steps": args.steps, "real_distance": real._asdict(), "rows": rows}
    save(args.out, result)
    if args.table:
        write_table(args.table, rows, args, real)


def write_table(path: Path, rows: list[dict[str, Any]], args: argparse.Namespace, real: Any) -> None:
    """Replace the table between the marks of a document."""
    seeds = args.seeds
    lines = ["| asked for | objective | bits/dim, at most | variance | Frechet distance |", "|---|---|---|---|---|"]
    for reading in READINGS:
        for objective in OBJECTIVES:
            runs = [row for row in rows if (row["reading"], row["objective"]) == (reading, objective)]
            bits = ", ".join(f"{row['bits']:.3f} ± {row['bits_error']:.3f}" for row in runs)
            distance = ", ".join(f"{row['distance']:.2f} ± {row['distance_error']:.2f}" for row in runs)
            lines.append(
                f"| {reading} | {objective} | {bits} | {', '.join(dict.fromkeys(r['variance'] for r in runs))} | {distance} |"
            )
    lines.append(f"| {SAMPLES} training digits | | | | {real.value:.2f} ± {real.standard_error:.2f} |")
    made = (
        f"`python benchmarks/objectives.py --steps {args.steps} --seeds {' '.join(map(str, seeds))}`, one value for each seed, CPU."
    )
    before, _, rest = path.read_text().partition("<!-- table -->")
    _, _, after = rest.partition("<!-- end -->")
    path.write_text(before + "<!-- table -->\n" + "\n".join(lines) + f"\n\n{made}\n<!-- end -->" + after)


if __name__ == "__main__":
    main()
