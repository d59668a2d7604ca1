"""Import a checkpoint of improved- or guided-diffusion: samples by DPM-Solver, and the variational bound in bits/dim.

    python examples/import_openai.py model.pt '{"image_size": 64, "num_heads": 4, "noise_schedule": "cosine",
        "diffusion_steps": 4000, "rescale_timesteps": true}' [--images 8] [--steps 20]

The second argument are the training flags that cannot be found from the weights, in JSON. For a network with classes, --class
chooses the class.

Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672; Dhariwal and Nichol, 2021, arXiv 2105.05233, and the released code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from imported import count, mistakes, options_of, sample_and_score

from likelihood import variational_bound
from models import import_checkpoint
from samplers import DPMSolver, LogSNR, Sampler
from sde_lib import ScoreModel


def by_the_bound(model: ScoreModel, score_fn: Any, codes: torch.Tensor, seed: int) -> Any:
    """Bits/dim by the variational bound."""
    return variational_bound(model.sde, score_fn, codes, images=model.data, seed=seed)


def main() -> None:
    """Import, sample, score."""
    parser = options_of(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("flags", type=json.loads)
    parser.add_argument("--class", dest="y", type=int)
    parser.add_argument("--steps", type=count, default=20)
    options = parser.parse_args()
    with mistakes(parser):
        model = import_checkpoint(options.checkpoint, config=options.flags)
        score_fn = model if options.y is None else model.bind(y=torch.tensor(options.y))
        sampler = Sampler(DPMSolver(order=2), times=LogSNR(options.steps))
        sample_and_score(model, sampler, options, score_fn=score_fn, bits=by_the_bound)


if __name__ == "__main__":
    main()
