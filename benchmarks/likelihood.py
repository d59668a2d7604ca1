"""The cost of log-likelihoods at equal error: ours, scipy's RK45 on the whole batch with two passes, and torchdiffeq.

    pip install torchdiffeq
    OMP_NUM_THREADS=1 python benchmarks/likelihood.py [--data digits|patches] [--run FOLDER] [--images 16] [--out FILE.json]

Computes log p of the same images with the same network and the same Hutchinson probe at a series of tolerances, in float32.
The network is from a run's folder, or a small U-Net after some steps on the digits (8x8) or on 3x32x32 patches of the two
photographs of scikit-learn.

The usual method solves one ODE of the flattened batch with scipy's RK45. Each evaluation runs the network twice: without gradients
for the drift, and with gradients for the divergence. torchdiffeq's dopri5 and dopri8 solve for the pair (x, log p) in one pass.
Ours are dopri5 and dop853.

The error is the mean of |log p - reference| in nats an image. The reference is our dop853 in float64 at tolerance 1e-6, and is
checked against scipy's at 1e-7. The cost at equal error is interpolated between tolerances, in logarithms. The last error is that
of the usual method at 1e-5, the tolerance of score_sde; for the other errors each method chooses its tolerance.

The last table divides our time into the passes of the network, replayed alone at the same batch sizes; the rest of the evaluation
(probe, divergence, process); and the solver. Compared runs take turns. A ratio is the median, with quartiles, of the ratios of
neighbouring runs.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from sklearn.datasets import load_sample_images
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before this folder: here "likelihood" is this file

from benchmarks.record import environment, interleaved, print_row, save, spread, text, verdict
from likelihood import Hutchinson, log_likelihood
from models import UNet, load
from score_sde.data import Digits
from sde_lib import VPSDE, DenoisingScoreMatching, Epsilon, Images, ImportanceTime, ReverseSDE, RowNoise, ScoreModel
from sde_lib.noise import Stream

try:
    from torchdiffeq import odeint
except ImportError:
    sys.exit("this benchmark compares with torchdiffeq, which is not installed: pip install torchdiffeq")

TOLERANCES = [10 ** (-k / 2) for k in range(13)]
SEED = 0


class Answer(NamedTuple):
    """log p (B,); evaluations of the ODE, rows evaluated per image, and passes through the network."""

    log_prob: Tensor
    nfe: int
    rows: float
    passes: int


def digits() -> tuple[Tensor, Tensor, Images]:
    """Training and test images of digits, 1x8x8."""
    data = Digits()
    return data.train, data.test, data.transform


def patches() -> tuple[Tensor, Tensor, Images]:
    """Patches of 3x32x32 of two photographs: the first one's to train, the second one's to test."""
    first, second = (torch.from_numpy(image.copy()).permute(2, 0, 1) for image in load_sample_images().images)
    cut = lambda image: image.unfold(1, 32, 16).unfold(2, 32, 16).flatten(1, 2).transpose(0, 1)
    return cut(first), cut(second)[::7], Images(256)


def train(train: Tensor, images: Images, steps: int) -> ScoreModel:
    """A U-Net after some steps on images."""
    torch.manual_seed(SEED)
    model = ScoreModel(UNet(tuple(train.shape[1:]), channels=32, blocks=1), VPSDE(), Epsilon(), images)
    loss_of = DenoisingScoreMatching("likelihood", ImportanceTime())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    start = time.perf_counter()
    for _ in range(steps):
        codes = train[torch.randint(len(train), (64 if train[0].numel() < 1000 else 16,))]
        loss = loss_of(model, images.dequantize(codes, torch.rand(codes.shape))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"trained {steps} steps in {time.perf_counter() - start:.0f} s, last loss {loss.item():.3f}")
    return model.eval()


def ours(model: ScoreModel, x: Tensor, tolerance: float, method: str = "dopri5") -> Answer:
    """log_likelihood with one probe."""
    result = log_likelihood(model.sde, model, x, divergence=Hutchinson(), tolerance=tolerance, method=method, seed=SEED)
    return Answer(result.log_prob, result.nfe, result.rows / len(x), result.nfe)


def usual(model: ScoreModel, x: Tensor, tolerance: float) -> Answer:
    """solve_ivp on the flattened batch, with the same probe as ours."""
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


def torchdiffeqs(model: ScoreModel, x: Tensor, tolerance: float, method: str = "dopri5") -> Answer:
    """odeint on the pair (x, log p), one pass for value and divergence, with the same probe as ours."""
    B, sde, reverse = len(x), model.sde, ReverseSDE(model.sde, model)
    divergence = Hutchinson()
    probe = divergence.probe(RowNoise(SEED, B, Stream.PROBE), x)

    def slope(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        inside = t.clamp(sde.t_min, sde.T)  # it steps beyond the end
        drift, div = divergence(lambda state: reverse.flow(state, inside.expand(B)), y[0], probe)
        return drift, div[:, 0]

    with torch.no_grad():
        times = torch.tensor([sde.t_min, sde.T], dtype=x.dtype)
        states, logs = odeint(slope, (x, x.new_zeros(B)), times, rtol=tolerance, atol=tolerance, method=method)
    log_prob = sde.prior(states[-1]).log_prob(states[-1]).double() + logs[-1].double()
    return Answer(log_prob, reverse.calls, float(reverse.calls), reverse.calls)


OURS = {method: partial(ours, method=method) for method in ("dopri5", "dop853")}
THEIRS = {"usual": usual} | {f"torchdiffeq's {method}": partial(torchdiffeqs, method=method) for method in ("dopri5", "dopri8")}
WAYS = OURS | THEIRS
BARS = {name: 2.0 if name == "usual" else 1.0 for name in THEIRS}
Sweep = dict[str, list[dict[str, Any]]]


def at_error(level: float, errors: list[float], costs: list[float]) -> float | None:
    """The smallest cost of an error, interpolated in logarithms between the tolerances on the Pareto front."""
    best: list[tuple[float, float]] = []
    for cost, error in sorted(zip(costs, errors, strict=True)):
        if not best or error < best[-1][0]:
            best.append((error, cost))
    error, cost = np.log(best[::-1]).T
    return float(np.exp(np.interp(np.log(level), error, cost))) if error[0] <= np.log(level) else None


def equal_error(sweep: Sweep, levels: list[float]) -> list[dict[str, Any]]:
    """Print the second table: costs at errors that both reach."""
    table = []
    widths = (12, 8, 21, 26, 26, 8, 8, 20, 10)
    print("\nat equal error: seconds an image, and theirs over ours")
    print_row(widths, "error, nats", "ours", "theirs", "ours", "theirs", "rows", "passes", "time", "bar")
    for level in levels:
        costs: dict[str, dict[str, Any]] = {}
        for name, rows in sweep.items():
            errors = [row["error"] for row in rows]
            kinds = {kind: [row[kind] for row in rows] for kind in ("nfe", "rows", "passes")}
            costs[name] = {kind: at_error(level, errors, values) for kind, values in kinds.items()}
            repeats = zip(*(row["seconds"] for row in rows), strict=True)
            costs[name]["seconds"] = [at_error(level, errors, list(repeat)) for repeat in repeats]
        for method, other in product(OURS, THEIRS):
            own, their = costs[method], costs[other]
            if own["rows"] is None or their["rows"] is None:
                print_row(widths, f"{level:.2g}", method, other, "not reached by both")
                continue
            faster = spread([b / a for a, b in zip(own["seconds"], their["seconds"], strict=True)])
            seconds = [text(spread(cost["seconds"]), 4) for cost in (own, their)]
            ratios = [f"{their[kind] / own[kind]:.2f}" for kind in ("rows", "passes")]
            met = f">= {BARS[other]}: {verdict(faster['median'] >= BARS[other])}"
            print_row(widths, f"{level:.2g}", method, other, *seconds, *ratios, text(faster, 2), met)
            table.append({"error": level, "method": method, "other": other, "ours": own, "theirs": their, "faster": faster})
    return table


def breakdown(model: ScoreModel, x: Tensor, tolerance: float, repeats: int) -> dict[str, float]:
    """Print the third table: the parts of our time, as fractions of the whole."""
    calls: list[tuple[int, bool]] = []
    inner, reverse = model.network, ReverseSDE(model.sde, model)

    class Recorded(torch.nn.Module):
        def forward(self, x: Tensor, label: Tensor) -> Tensor:
            calls.append((len(x), x.requires_grad))
            return inner(x, label)

    ours(ScoreModel(Recorded(), model.sde, model.parameterization, model.data), x, tolerance)
    label = torch.zeros(len(x))

    def passes() -> None:
        for size, divergence in calls:
            with torch.set_grad_enabled(divergence):
                state = x[:size].clone().requires_grad_(divergence)
                output = inner(state, label[:size])
                if divergence:
                    torch.autograd.grad(output, state, state.detach())

    def evaluations() -> None:
        hutchinson, t = Hutchinson(), torch.full((len(x),), 0.5, dtype=torch.float64)
        probe = hutchinson.probe(RowNoise(SEED, len(x), Stream.PROBE), x)
        for size, divergence in calls:
            flow = partial(reverse.flow, t=t[:size])
            with torch.no_grad():
                hutchinson(flow, x[:size], probe[:, :size]) if divergence else flow(x[:size])

    seconds = interleaved([partial(ours, model, x, tolerance), evaluations, passes], repeats)
    whole, evaluation, network = (np.median(seconds[:, i]) for i in range(3))
    shares = {
        "network": network / whole,
        "rest of the evaluation": (evaluation - network) / whole,
        "solver": 1 - evaluation / whole,
    }
    print(f"\nwhere the time goes at a tolerance of {tolerance:g} ({len(calls)} calls, {whole:.3f} s)")
    for name, share in shares.items():
        print_row((24, 8), name, f"{100 * share:.0f} %")
    return {name: float(share) for name, share in shares.items()}


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("digits", "patches"), default="digits")
    parser.add_argument("--run", type=Path, help="the folder of a run, instead of a network trained here")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--train-steps", type=int, default=200)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.03, 0.01, 0.003], help="errors, in nats")
    parser.add_argument("--loosest", type=float, default=1e-2, help="tolerance, at most 1")
    parser.add_argument("--tightest", type=float, default=1e-6, help="tolerance, at least 1e-6")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/likelihood.json"))
    args = parser.parse_args()
    result: dict[str, Any] = {
        "environment": environment("scipy", "torchdiffeq"),
        "arguments": {k: str(v) for k, v in vars(args).items()},
    }
    training, test, images = {"digits": digits, "patches": patches}[args.data]()
    model = train(training, images, args.train_steps) if args.run is None else load(args.run)
    codes, double = test[: args.images], copy.deepcopy(model).double()
    x = images.dequantize(codes, torch.rand(codes.shape, generator=torch.Generator().manual_seed(SEED)))
    reference = ours(double, x.double(), 1e-6, "dop853").log_prob
    check = (usual(double, x.double(), 1e-7).log_prob - reference).abs().mean().item()
    print(f"mean log p {reference.mean().item():.3f} nats; the two references differ by {check:.1e}")
    sweep: Sweep = {name: [] for name in WAYS}
    print(f"\n{len(x)} images: median [quartiles] of {args.repeats}")
    widths = (10, 21, 12, 6, 12, 8, 24)
    print_row(widths, "tolerance", "", "error, nats", "nfe", "rows/image", "passes", "seconds an image")
    answers: dict[str, Answer] = {}

    def solve(name: str, tolerance: float) -> None:
        answers[name] = WAYS[name](model, x, tolerance)

    for tolerance in (t for t in TOLERANCES if args.tightest <= t * 1.001 and t <= args.loosest * 1.001):
        timed = interleaved([partial(solve, name, tolerance) for name in WAYS], args.repeats) / len(x)
        for name, seconds in zip(WAYS, timed.T, strict=True):
            answer = answers[name]
            error = (answer.log_prob - reference).abs().mean().item()
            costs = {"nfe": answer.nfe, "rows": answer.rows, "passes": answer.passes, "seconds": seconds.tolist()}
            sweep[name].append({"tolerance": tolerance, "error": error, **costs})
            figures = (f"{error:.2e}", answer.nfe, f"{answer.rows:.1f}", answer.passes, text(spread(seconds), 4))
            print_row(widths, f"{tolerance:.1e}", name, *figures)
    shipped = min(sweep["usual"], key=lambda row: abs(np.log(row["tolerance"] / 1e-5)))["error"]
    print(f"\nthe usual way at its usual tolerance of 1e-5 has an error of {shipped:.2e} nats")
    result |= {"reference_check": check, "sweep": sweep, "equal_error": equal_error(sweep, [*args.levels, shipped])}
    result["shares"] = breakdown(model, x, 1e-4, args.repeats)
    save(args.out, result)


if __name__ == "__main__":
    main()
