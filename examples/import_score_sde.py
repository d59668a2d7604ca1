"""A checkpoint of score_sde_pytorch: samples by DPM-Solver, and bits/dim.

    python examples/import_score_sde.py checkpoint_8.pth config.json [--weights ema] [--images 8] [--steps 20]

config.json is the config that it was trained with: json.dumps(get_config().to_dict()) in the folder of that project.
What is scored are the samples themselves, since no test set comes with a checkpoint: replace codes by integers (N, C, H, W)
of your own.

Reference: Song et al., 2021, arXiv 2011.13456, and github.com/yang-song/score_sde_pytorch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation.figures import image_grid, save_picture
from likelihood import bits_per_dim
from models import import_checkpoint
from samplers import DPMSolver, LogSNR, Sampler


def main() -> None:
    """Import, sample, score."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("--weights", choices=["ema", "raw"], default="ema")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("samples.png"))
    options = parser.parse_args()
    model = import_checkpoint(options.checkpoint, "score_sde", options.config, options.weights)
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
