"""The overhead of the training loop: images a second, relative to bare forward and backward passes with optimizer steps.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--steps 20] [--repeats 9] [--device cpu] [--out FILE.json]

The loop is the one of `run.py --mode train`: rows of the data set, dequantization, times, noise, the loss, clipping, Adam and the
average of the weights. The bare step is the same network's forward pass on fixed inputs, the mean square of its output, the
backward pass, and Adam. Both take turns, --steps at a time. A ratio is the median, with quartiles, of the ratios of neighbouring
runs, and should be at least 0.95. The last column is the same ratio for data in a memory-mapped file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import environment, interleaved, print_row, save, spread, text, verdict
from models import UNet
from score_sde.data import Digits
from score_sde.data.reading import read_array
from score_sde.training.settings import Settings
from score_sde.training.trainer import Progress, Trainer
from sde_lib import VPSDE, DenoisingScoreMatching, Images, ImportanceTime, ScoreModel, V

CASES = {
    "digits": ((1, 8, 8), {"channels": 32, "blocks": 1}, 64),
    "3x32x32": ((3, 32, 32), {"channels": 64, "multipliers": (1, 2, 2), "blocks": 1}, 16),
}
SETTINGS: dict[str, Any] = {"learning_rate": 1e-4, "warmup": 10, "clip": 1.0, "ema": 0.999}


def loop(
    data: Tensor, shape: tuple[int, ...], network: dict[str, Any], batch: int, folder: Path, device: str
) -> Iterator[Progress]:
    """The training loop, which takes a step at each next()."""
    torch.manual_seed(0)
    levels = int(data[:1000].max()) + 1
    model = ScoreModel(UNet(shape, **network), VPSDE(), V(), Images(levels)).to(device)
    settings = Settings.of(steps=10**9, batch_size=batch, log_every=50, save_every=10**9, dequantize=True, **SETTINGS)
    return Trainer(model, data, DenoisingScoreMatching("likelihood", ImportanceTime()), settings, 0, folder).run()


def bare(shape: tuple[int, ...], network: dict[str, Any], batch: int, device: str) -> Callable[[], None]:
    """A step of the network alone."""
    torch.manual_seed(0)
    net = UNet(shape, **network).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)
    x, label = torch.randn(batch, *shape, device=device), torch.randn(batch, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        net(x, label).square().mean().backward()
        optimizer.step()

    return step


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="of each turn")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training.json"))
    args = parser.parse_args()
    result: dict[str, Any] = {"environment": environment(), "device": args.device, "steps": args.steps, "rows": []}
    widths = (10, 12, 26, 26, 26, 8)
    print_row(widths, "data", "parameters", "images/s", "over bare", "from a file, over bare", ">= 0.95")
    with tempfile.TemporaryDirectory() as scratch:
        for name, (shape, network, batch) in CASES.items():
            held = Digits().train if name == "digits" else torch.randint(0, 256, (4096, *shape), dtype=torch.uint8)
            path = Path(scratch) / f"{name}.npy"
            np.save(path, held.numpy())
            net, loops = bare(shape, network, batch, args.device), []
            for data in (held, read_array(path)):
                loops.append(loop(data, shape, network, batch, Path(scratch) / name, args.device))

            def turn(step: Callable[[], Any]) -> Callable[[], None]:
                def run() -> None:
                    for _ in range(args.steps):
                        step()
                    if args.device != "cpu":
                        torch.cuda.synchronize()

                return run

            seconds = interleaved([turn(net), *(turn(lambda it=it: next(islice(it, 1))) for it in loops)], args.repeats)
            rate = spread(args.steps * batch / seconds[:, 1])
            ratios = [spread(seconds[:, 0] / seconds[:, i]) for i in (1, 2)]
            parameters = sum(p.numel() for p in UNet(shape, **network).parameters())
            result["rows"].append({"data": name, "network": network, "batch": batch, "images_per_second": rate, "ratios": ratios})
            met = verdict(ratios[0]["median"] >= 0.95)
            print_row(widths, name, f"{parameters:,}", text(rate, 0), *(text(ratio, 3) for ratio in ratios), met)
    save(args.out, result)


if __name__ == "__main__":
    main()
