"""The effect of the likelihood weighting on bits/dim: the default digits experiment under VP and sub-VP.

    OMP_NUM_THREADS=1 python benchmarks/weightings.py [--steps 2500] [--seeds 0 1] [--out FILE.json]

Each model is trained by `run.py --mode train` and scored by the probability flow on the same 360 test digits, with the same
dequantization and probes. So differences from the first row are computed image by image. Song, Durkan, Murray and Ermon
(2021, arXiv 2101.09258, table 2) find sigma^2 weighting worst and the likelihood weighting of sub-VP best.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import run
from benchmarks.record import environment, save
from likelihood import BitsPerDim, Probing, bits_per_dim
from models import load
from score_sde.data import Digits

RECIPES = {
    "VP, sigma^2": ("vp", "dsm(weighting='sigma2')"),
    "VP, likelihood": ("vp", "dsm(weighting='likelihood', times=importance)"),
    "sub-VP, likelihood": ("subvp", "dsm(weighting='likelihood', times=importance)"),
}


def trained(sde: str, objective: str, steps: int, seed: int, folder: Path) -> BitsPerDim:
    """The bits/dim of a model that is trained with a process and an objective."""
    options = [f"--config.objective={objective}", f"--config.train.steps={steps}"]
    if run.main(["--mode", "train", "--sde", sde, "--seed", str(seed), "--workdir", str(folder), *options]):
        raise RuntimeError(f"the training of {sde} with {objective} failed: see above")
    model, data = load(folder), Digits()
    return bits_per_dim(model.sde, model, data.test.split(90), images=model.data, divergence=Probing(4), tolerance=1e-4)


def row(name: str, seed: int, result: BitsPerDim, first: BitsPerDim) -> dict[str, Any]:
    """The row of the table, for JSON."""
    difference = result.per_image - first.per_image
    return {
        "recipe": name,
        "seed": seed,
        "bits_per_dim": result.mean,
        "standard_error": result.standard_error,
        "from_first": difference.mean().item(),
        "from_first_error": (difference.std() / len(difference) ** 0.5).item(),
        "sigma_over_bin": result.sigma_over_bin,
    }


def main() -> None:
    """Train and score every combination, print each result, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/weightings.json"))
    args = parser.parse_args()
    rows, kept = [], environment()
    with tempfile.TemporaryDirectory() as scratch:
        for seed in args.seeds:
            first = None
            for i, (name, (sde, objective)) in enumerate(RECIPES.items()):
                result = trained(sde, objective, args.steps, seed, Path(scratch) / f"{seed}-{i}")
                first = first or result
                rows.append(row(name, seed, result, first))
                save(args.out, {"environment": kept, "steps": args.steps, "rows": rows})
    print(f"{'':<20} {'seed':>4} {'bits/dim':>18} {'from the first':>18}")
    for r in rows:
        bits = f"{r['bits_per_dim']:.4f} +- {r['standard_error']:.4f}"
        print(f"{r['recipe']:<20} {r['seed']:>4} {bits:>18} {r['from_first']:>+8.4f} +- {r['from_first_error']:.4f}")


if __name__ == "__main__":
    main()
