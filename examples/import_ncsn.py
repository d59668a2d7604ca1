"""Import a checkpoint of NCSN or NCSNv2: samples by annealed Langevin dynamics, and bits/dim.

    python examples/import_ncsn.py checkpoint_300000.pth [--size 32] [--epsilon 6.2e-6] [--moves 5] [--ncsn 1.0 0.01]

NCSNv2's file has its sigmas. NCSN's file has not, so --ncsn gives the first and the last one. --epsilon is the step size, and
--moves the number of moves at each level. Their defaults are those of NCSNv2 on CIFAR-10 (NCSN: 2e-5 and 100). --size is needed
because the weights do not depend on the size of the images.

Reference: Song and Ermon, 2019, arXiv 1907.05600; 2020, arXiv 2006.09011, and the released code.
"""

from __future__ import annotations

from pathlib import Path

from imported import count, mistakes, options_of, sample_and_score

from models import import_checkpoint
from samplers import AnnealedLangevin, Sampler, Table


def main() -> None:
    """Import, sample, score."""
    parser = options_of(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--ncsn", type=float, nargs=2, metavar=("FIRST", "LAST"))
    parser.add_argument("--size", type=count, default=32)
    parser.add_argument("--epsilon", type=float, default=6.2e-6)
    parser.add_argument("--moves", type=count, default=5)
    options = parser.parse_args()
    with mistakes(parser):
        ends = dict(zip(("sigma_begin", "sigma_end"), options.ncsn, strict=True)) if options.ncsn else {}
        model = import_checkpoint(options.checkpoint, "ncsn", {"image_size": options.size, **ends})
        published = "ncsn" if options.ncsn else "ncsnv2"
        langevin = AnnealedLangevin(options.epsilon, options.moves, published=published)
        sampler = Sampler(None, langevin, times=Table(), last="sample" if options.ncsn else "denoise")
        sample_and_score(model, sampler, options)


if __name__ == "__main__":
    main()
