"""Log-likelihoods at equal error: ours beside the usual way, scipy's RK45 on the whole batch with two passes each time.

    OMP_NUM_THREADS=1 python benchmarks/likelihood.py [--images 16] [--repeats 5] [--out FILE.json]

Trains a small U-Net on the digits, then computes log p of the same test images with the same network and the same
Hutchinson probe at a series of tolerances, in float32. The usual way makes one ODE of the flattened batch, and at each
evaluation runs the network twice: without gradients for the drift, and with them for the divergence. The error is the
mean of |log p - reference| in nats an image, the reference being ours in float64 with rtol = atol = 1e-7; scipy's own at
that tolerance is compared with it. The cost at equal error is interpolated between tolerances, in logarithms.
Two runs that are compared take turns; a ratio is the median, with quartiles, of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before this folder: here "likelihood" is this file

from benchmarks.record import environment, interleaved, print_row, save, spread, text, verdict
from likelihood import Hutchinson, log_likelihood
from models import UNet
from sde_lib import VPSDE, DenoisingScoreMatching, Epsilon, ImportanceTime, ReverseSDE, RowNoise, ScoreModel
from sde_lib.noise import Stream
from training.data import Digits

TOLERANCES = [10 ** (-k / 2) for k in range(4, 13)]
SEED = 0


class Answer(NamedTuple):
    """log p (B,); evaluations of the ODE, rows evaluated per image, and passes through the network."""

    log_prob: Tensor
    nfe: int
    rows: float
    passes: int


def train(steps: int) -> tuple[ScoreModel, Tensor]:
    """A U-Net after some steps on the digits, and the test images as states."""
    torch.manual_seed(SEED)
    digits = Digits()
    model = ScoreModel(UNet((1, 8, 8), channels=32, blocks=1), VPSDE(), Epsilon(), digits.transform)
    loss_of = DenoisingScoreMatching("likelihood", ImportanceTime())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    start = time.perf_counter()
    for _ in range(steps):
        codes = digits.train[torch.randint(len(digits.train), (64,))]
        loss = loss_of(model, digits.transform.dequantize(codes, torch.rand(codes.shape))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"trained {steps} steps in {time.perf_counter() - start:.0f} s, last loss {loss.item():.3f}")
    return model.eval(), digits.transform.dequantize(digits.test, torch.rand(digits.test.shape))


def ours(model: ScoreModel, x: Tensor, tolerance: float) -> Answer:
    """log_likelihood with one probe."""
    result = log_likelihood(model.sde, model, x, divergence=Hutchinson(), rtol=tolerance, atol=tolerance, seed=SEED)
    return Answer(result.log_prob, result.nfe, result.rows / len(x), result.nfe)


def usual(model: ScoreModel, x: Tensor, tolerance: float) -> Answer:
    """solve_ivp on the flattened batch, with the probe of ours."""
    B, sde, reverse = len(x), model.sde, ReverseSDE(model.sde, model)
    probe = Hutchinson().probe(RowNoise(SEED, B, Stream.PROBE), x)[0]

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(y[:-B]).to(x.dtype).reshape(x.shape)
        times = torch.full((B,), t, dtype=x.dtype)
        with torch.no_grad():
            drift = reverse.flow(state, times)
        with torch.enable_grad():
            state.requires_grad_()
            (vJ,) = torch.autograd.grad((reverse.flow(state, times) * probe).sum(), state)
        return np.concatenate([drift.flatten().double().numpy(), (vJ * probe).flatten(1).sum(1).double().numpy()])

    y0 = np.concatenate([x.flatten().double().numpy(), np.zeros(B)])
    solution = solve_ivp(slope, (sde.t_min, sde.T), y0, rtol=tolerance, atol=tolerance, method="RK45")
    if not solution.success:
        sys.exit(f"scipy could not solve the flow: {solution.message}")
    latent = torch.from_numpy(solution.y[:-B, -1]).reshape(x.shape)
    log_prob = sde.prior(latent).log_prob(latent) + torch.from_numpy(solution.y[-B:, -1])
    return Answer(log_prob, solution.nfev, float(solution.nfev), reverse.calls)


WAYS = {"ours": ours, "usual": usual}
Sweep = dict[str, list[dict[str, Any]]]


def at_error(level: float, errors: list[float], costs: list[float]) -> float | None:
    """The least cost of an error, interpolated in logarithms between the tolerances that are worth their price."""
    best: list[tuple[float, float]] = []
    for cost, error in sorted(zip(costs, errors, strict=True)):
        if not best or error < best[-1][0]:
            best.append((error, cost))
    error, cost = np.log(best[::-1]).T
    return float(np.exp(np.interp(np.log(level), error, cost))) if error[0] <= np.log(level) else None


def equal_error(sweep: Sweep, levels: list[float]) -> list[dict[str, Any]]:
    """The second table: costs of both ways at errors that both reach."""
    table = []
    widths = (12, 24, 24, 10, 10, 20, 10)
    print("\nat equal error: seconds an image, and usual over ours")
    print_row(widths, "error, nats", "ours", "usual", "rows", "passes", "time", "bar >= 1.4")
    for level in levels:
        costs: dict[str, dict[str, Any]] = {}
        for name, rows in sweep.items():
            errors = [row["error"] for row in rows]
            kinds = {kind: [row[kind] for row in rows] for kind in ("nfe", "rows", "passes")}
            costs[name] = {kind: at_error(level, errors, values) for kind, values in kinds.items()}
            repeats = zip(*(row["seconds"] for row in rows), strict=True)
            costs[name]["seconds"] = [at_error(level, errors, list(repeat)) for repeat in repeats]
        if any(cost["rows"] is None for cost in costs.values()):
            print_row(widths, level, "not reached by both")
            continue
        faster = spread([b / a for a, b in zip(costs["ours"]["seconds"], costs["usual"]["seconds"], strict=True)])
        seconds = [text(spread(costs[name]["seconds"]), 4) for name in WAYS]
        ratios = [f"{costs['usual'][kind] / costs['ours'][kind]:.2f}" for kind in ("rows", "passes")]
        print_row(widths, level, *seconds, *ratios, text(faster, 2), verdict(faster["median"] >= 1.4))
        table.append({"error": level, **costs, "faster": faster})
    return table


def main() -> None:
    """Print both tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--train-steps", type=int, default=200)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.03, 0.01, 0.003], help="errors, in nats")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/likelihood.json"))
    args = parser.parse_args()
    result: dict[str, Any] = {"environment": environment("scipy"), "images": args.images}
    model, test = train(args.train_steps)
    x, double = test[: args.images], copy.deepcopy(model).double()
    reference = ours(double, x.double(), 1e-7).log_prob
    check = (usual(double, x.double(), 1e-7).log_prob - reference).abs().mean().item()
    print(f"mean log p {reference.mean().item():.3f} nats; the two references differ by {check:.1e}")
    sweep: Sweep = {name: [] for name in WAYS}
    print(f"\n{len(x)} images: median [quartiles] of {args.repeats}")
    widths = (10, 6, 12, 6, 12, 8, 24)
    print_row(widths, "tolerance", "", "error, nats", "nfe", "rows/image", "passes", "seconds an image")
    for tolerance in TOLERANCES:
        runs = [partial(way, model, x, tolerance) for way in WAYS.values()]
        timed = interleaved(runs, args.repeats) / len(x)
        for (name, way), seconds in zip(WAYS.items(), timed.T, strict=True):
            answer = way(model, x, tolerance)
            error = (answer.log_prob - reference).abs().mean().item()
            costs = {"nfe": answer.nfe, "rows": answer.rows, "passes": answer.passes, "seconds": seconds.tolist()}
            sweep[name].append({"tolerance": tolerance, "error": error, **costs})
            figures = (f"{error:.2e}", answer.nfe, f"{answer.rows:.1f}", answer.passes, text(spread(seconds), 4))
            print_row(widths, f"{tolerance:.1e}", name, *figures)
    result |= {"reference_check": check, "sweep": sweep, "equal_error": equal_error(sweep, args.levels)}
    save(args.out, result)


if __name__ == "__main__":
    main()
