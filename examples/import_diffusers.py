"""A folder of diffusers (a pipeline, or its UNet2DModel with a scheduler): samples by DPM-Solver, and bits/dim.

    python examples/import_diffusers.py folder [--export copy] [--images 8] [--steps 20]

folder is what save_pretrained wrote, or a downloaded copy; diffusers need not be installed. --export writes the model as such a
folder again. What is scored are the samples themselves, since no test set comes with a checkpoint: replace codes by
integers (N, C, H, W) of your own.

Reference: von Platen et al., 2022, github.com/huggingface/diffusers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation.figures import image_grid, save_picture
from likelihood import bits_per_dim
from models import export_diffusers, import_checkpoint
from samplers import DPMSolver, LogSNR, Sampler


def main() -> None:
    """Import, sample, score."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--export", type=Path)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("samples.png"))
    options = parser.parse_args()
    model = import_checkpoint(options.folder)
    if options.export:
        export_diffusers(model, options.export)
    print(f"{type(model.network).__name__} under {model.sde}, asked for {model.parameterization}")

    sampler = Sampler(DPMSolver(order=2), times=LogSNR(options.steps))
    samples = sampler.sample(model.sde, model, (options.images, *model.network.arguments["shape"]), seed=options.seed)
    codes = model.data.decode(samples.x)
    save_picture(image_grid(codes, model.data.levels, columns=min(8, len(codes))), options.out)
    print(f"{len(codes)} samples in {samples.nfe} network calls: {options.out}")
    bits = bits_per_dim(model.sde, model, codes, images=model.data, rtol=1e-3, atol=1e-3, seed=options.seed)
    print(f"its own samples: {bits}")


if __name__ == "__main__":
    main()
