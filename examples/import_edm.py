"""Import a network of EDM: samples by DPM-Solver, and bits/dim.

    python examples/import_edm.py edm.pt edm.json [--images 8] [--steps 20]

edm.pt and edm.json are written by examples/convert_edm_pickle.py from EDM's own file, which is a pickle with code in it.

Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, and the released code.
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
    parser.add_argument("--steps", type=count, default=20)
    options = parser.parse_args()
    with mistakes(parser):
        model = import_checkpoint(options.checkpoint, "edm", options.config)
        sampler = Sampler(DPMSolver(order=2), times=LogSNR(options.steps))
        sample_and_score(model, sampler, options)


if __name__ == "__main__":
    main()
