"""The standard error of log p for a number of probes: independent probes, and probes that share their signs.

    OMP_NUM_THREADS=1 python benchmarks/probes.py --run runs/vp-digits [--images 32] [--repeats 4] [--out FILE.json]

The test images of the digits are dequantized once and scored under the model of a run. The result is the standard deviation of
log p over repeats with other probes, as a root mean square over the images, in nats and in bits/dim. Its relative error is about
1 / sqrt(2 (repeats - 1) images). The cost is in backward passes an evaluation, besides one forward pass.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import environment, print_row, save
from likelihood import Hutchinson, Probing, log_likelihood
from models import load
from score_sde.data import Digits
from sde_lib import RowNoise
from sde_lib.noise import Stream


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/probes.json"))
    args = parser.parse_args()
    result: dict[str, Any] = {"environment": environment(), "rows": []}
    model, codes = load(args.run), Digits().test[: args.images]
    u = RowNoise(0, len(codes), Stream.DEQUANTIZE).uniform(torch.empty(codes.shape))
    x, dims = model.data.dequantize(codes, u), codes[0].numel()
    relative = (2 * (args.repeats - 1) * len(x)) ** -0.5
    widths = (8, 24, 24, 10)
    print_row(widths, "probes", "independent, nats", "sharing signs, nats", "variance ratio")
    for probes in (1, 2, 4, 8, 16, 32):
        spreads = []
        for divergence in (Hutchinson(probes), Probing(probes)):
            runs = [
                log_likelihood(model.sde, model, x, divergence=divergence, tolerance=1e-2, seed=seed).log_prob
                for seed in range(args.repeats)
            ]
            spreads.append(torch.stack(runs).var(0).mean().sqrt().item())
        cells = [f"{spread:.3f} +- {spread * relative:.3f}" for spread in spreads]
        print_row(widths, probes, *cells, f"{(spreads[0] / spreads[1]) ** 2:.1f}")
        bits = [spread / dims / math.log(2) for spread in spreads]
        result["rows"].append({"probes": probes, "nats": spreads, "bits_per_dim": bits, "relative_error": relative})
    save(args.out, result)


if __name__ == "__main__":
    main()
