"""A checkpoint of improved- or guided-diffusion: samples by DPM-Solver, and the variational bound in bits/dim.

    python examples/import_openai.py model.pt '{"image_size": 64, "num_heads": 4, "noise_schedule": "cosine",
        "diffusion_steps": 4000, "rescale_timesteps": true}' [--images 8] [--steps 20]

The second argument is the flags that it was trained with, in JSON: those that weights do not show. For a network with classes
--class says which. What is scored are the samples themselves, since no test set comes with a checkpoint: replace codes by
integers (N, C, H, W) of your own.

Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672; Dhariwal and Nichol, 2021, arXiv 2105.05233, and the released code.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation.figures import image_grid, save_picture
from likelihood import variational_bound
from models import import_checkpoint
from samplers import DPMSolver, LogSNR, Sampler


def main() -> None:
    """Import, sample, score."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("flags", type=json.loads)
    parser.add_argument("--class", dest="y", type=int)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("samples.png"))
    options = parser.parse_args()
    model = import_checkpoint(options.checkpoint, config=options.flags)
    score = model if options.y is None else model.bind(y=torch.tensor(options.y))
    print(f"{type(model.network).__name__} under {model.sde}, asked for {model.parameterization}")

    sampler = Sampler(DPMSolver(order=2), times=LogSNR(options.steps))
    samples = sampler.sample(model.sde, score, (options.images, *model.network.arguments["shape"]), seed=options.seed)
    codes = model.data.decode(samples.x)
    save_picture(image_grid(codes, model.data.levels, columns=min(8, len(codes))), options.out)
    print(f"{len(codes)} samples in {samples.nfe} network calls: {options.out}")
    bound = variational_bound(model.sde, score, codes, images=model.data, seed=options.seed)
    print(f"its own samples: {bound}")


if __name__ == "__main__":
    main()
