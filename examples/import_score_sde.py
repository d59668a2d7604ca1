"""Import a checkpoint of score_sde_pytorch: samples by DPM-Solver, and bits/dim.

    python examples/import_score_sde.py checkpoint_8.pth config.json [--weights ema] [--images 8] [--steps 20]

config.json is the config of its training: json.dumps(get_config().to_dict()), run in the folder of that project.

Reference: Song et al., 2021, arXiv 2011.13456, and github.com/yang-song/score_sde_pytorch.
"""

from __future__ import annotations

from pathlib import Path

from imported import count, mistakes, options_of, sample_and_score

from models import import_checkpoint
from samplers import DPMSolver, LogSNR, Sampler


def main() -> None:
    """Import, sample, score."""
    parser = options_of(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("--weights", choices=["ema", "raw"], default="ema")
    parser.add_argument("--steps", type=count, default=20)
    options = parser.parse_args()
    with mistakes(parser):
        model = import_checkpoint(options.checkpoint, "score_sde", options.config, options.weights)
        sampler = Sampler(DPMSolver(order=2), times=LogSNR(options.steps))
        sample_and_score(model, sampler, options)


if __name__ == "__main__":
    main()
