"""Import a folder of diffusers (a pipeline, or its UNet2DModel with a scheduler): samples by DPM-Solver, and bits/dim.

    python examples/import_diffusers.py folder [--export copy] [--images 8] [--steps 20]

folder is the output of save_pretrained, or a downloaded copy. diffusers need not be installed. --export writes the model as such
a folder again.

Reference: von Platen et al., 2022, github.com/huggingface/diffusers.
"""

from __future__ import annotations

from pathlib import Path

from imported import count, mistakes, options_of, sample_and_score

from models import export_diffusers, import_checkpoint
from samplers import DPMSolver, LogSNR, Sampler


def main() -> None:
    """Import, sample, score."""
    parser = options_of(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--export", type=Path)
    parser.add_argument("--steps", type=count, default=20)
    options = parser.parse_args()
    with mistakes(parser):
        model = import_checkpoint(options.folder)
        if options.export:
            export_diffusers(model, options.export)
        sampler = Sampler(DPMSolver(order=2), times=LogSNR(options.steps))
        sample_and_score(model, sampler, options)


if __name__ == "__main__":
    main()
