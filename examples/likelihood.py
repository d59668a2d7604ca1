"""The likelihood of a score function of your own: nats for real numbers, bits/dim for integers, each with its error.

    python examples/likelihood.py [--rows 200] [--seed 0]

The score can be any function score(x, t), with x (B, *shape) and t one time or (B,), whose result is shaped like x. The flow needs
to differentiate it; the bound in its denoising form does not. Here it is the score of two Gaussian blobs in three dimensions under
a VP process, written by hand, so that the truth can be printed beside the estimates.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from imported import count

from likelihood import Hutchinson, Images, bits_per_dim, log_likelihood, sde_bits_per_dim, sde_bound
from sde_lib import VPSDE

process = VPSDE()
centre, spread = torch.tensor([0.4, -0.3, 0.2]), 0.15  # two blobs, at + and - centre, equally likely


def moments(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean alpha(t) centre (B, 3) and the variance alpha(t)^2 spread^2 + sigma(t)^2 (B, 1) of a blob at time t."""
    alpha, sigma, _ = process.at(torch.as_tensor(t).expand(len(x)))
    return alpha[:, None].to(x) * centre.to(x), (alpha**2 * spread**2 + sigma**2)[:, None].to(x)


def score(x: Tensor, t: Tensor) -> Tensor:
    """The gradient of log p_t(x): it points to each blob in proportion to the probability that x comes from it."""
    m, v = moments(t, x)
    return (m * torch.tanh((m * x).sum(1, keepdim=True) / v) - x) / v


def log_density(x: Tensor) -> Tensor:
    """The exact log p(x) in nats."""
    m, v = moments(torch.tensor(process.t_min), x)
    halves = torch.stack([-0.5 * ((x - s * m) ** 2 / v + torch.log(2 * math.pi * v)).sum(1) for s in (1, -1)])
    return halves.logsumexp(0) - math.log(2)


def main() -> None:
    """Print estimates, their errors, and the truth."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=count, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(options.seed)
    sign = 2 * torch.randint(2, (options.rows, 1), generator=generator) - 1
    x = sign * centre + spread * torch.randn(options.rows, 3, generator=generator)

    print(f"{options.rows} rows of real numbers, nats:")
    flow = log_likelihood(process, score, x, divergence=Hutchinson(probes=4), seed=options.seed)
    bound = sde_bound(process, score, x, seed=options.seed)
    truth = log_density(x)
    print(f"  by the flow            {flow}")
    print(f"  by the SDE's bound     {bound}")
    print(f"  truth                  log p = {truth.mean():.4f}")
    print("  the first three, each with the error of its own draws (the flow's: of its probes):")
    for i in range(min(3, options.rows)):
        print(
            f"    {truth[i]:8.3f}   flow {flow.log_prob[i]:8.3f} +- {flow.probe_error[i]:.3f}"
            f"   bound {bound.log_prob[i]:8.3f} +- {bound.standard_error[i]:.3f}"
        )

    images = Images(levels=256)  # 0..255 on [-1, 1]
    codes = images.decode(x)
    print(f"\nthe same, rounded to {images.levels} levels, bits/dim:")
    print(f"  by the flow            {bits_per_dim(process, score, codes.split(100), images=images, seed=options.seed)}")
    print(f"  by the SDE's bound     {sde_bits_per_dim(process, score, codes.split(100), images=images, seed=options.seed)}")
    bits = -(log_density(images.encode(codes)) + images.log_det(3)) / (3 * math.log(2))
    print(f"  truth                  {bits.mean():.4f} (density at the levels' centres times their width)")


if __name__ == "__main__":
    main()
