"""Error against network calls for every sampler: one picture and the tables of docs/samplers.md.

    OMP_NUM_THREADS=1 python benchmarks/samplers.py [--run FOLDER] [--out FILE.json] [--docs docs/samplers.md]

All under VP on grids even in log-SNR down to t_min = 1e-3, from starts with the exact law at T.
Path: samplers that draw nothing, on a mixture in the plane with its exact score: root mean square distance, in each coordinate,
to the exact end of the probability flow from the same start (dop853 at 1e-10, float64). Network: the same for the model of a
run's folder, in float32, against dop853 at 1e-6. Law: every sampler, on a mixture in 192 dimensions: the mean of
|x - alpha m_k|^2 / (192 V_k) less 1, which is how wrong the variance around a component is, +- its standard error.
--docs rewrites the tables between the markers of a document and the picture beside it.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import environment, save
from evaluation.certify import high_mixture, plane_mixture
from models import load
from samplers import (
    DDIM,
    Ancestral,
    DPMSolver,
    EulerMaruyama,
    FlowSampler,
    Heun,
    LogSNR,
    ReverseDiffusion,
    Sampler,
    SDEDPMSolver,
    StochasticRungeKutta,
    UniPC,
)
from sde_lib import VPSDE, RowNoise

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SDE, T_MIN = VPSDE(), 1e-3
CALLS = (5, 10, 20, 50, 100, 200)
# Name, predictor, network calls a step.
STILL: list[tuple[str, Any, int]] = [
    ("euler_maruyama(eta=0)", EulerMaruyama(eta=0.0), 1),
    ("ddim = dpm_solver(order=1)", DDIM(), 1),
    ("heun", Heun(), 2),
    ("dpm_solver(order=2)", DPMSolver(2), 1),
    ("dpm_solver(order=2, multistep=False)", DPMSolver(2, multistep=False), 2),
    ("dpm_solver(order=3)", DPMSolver(3), 1),
    ("dpm_solver(order=3, published=True)", DPMSolver(3, published=True), 1),
    ("dpm_solver(order=3, multistep=False)", DPMSolver(3, multistep=False), 3),
    ("unipc(order=2)", UniPC(2), 1),
    ("unipc(order=3)", UniPC(3), 1),
]
DRAWING: list[tuple[str, Any, int]] = [
    ("euler_maruyama", EulerMaruyama(), 1),
    ("reverse_diffusion", ReverseDiffusion(), 1),
    ("ancestral = ddim(eta=1)", Ancestral(), 1),
    ("sde_dpm_solver", SDEDPMSolver(), 1),
    ("stochastic_runge_kutta", StochasticRungeKutta(), 2),
    ("heun(churn=10)", Heun(churn=10.0), 2),
]
Table = dict[str, list[Any]]


def sampler(predictor: Any, steps: int) -> Sampler:
    """One on the grid of this benchmark; the result is the state at t_min."""
    return Sampler(predictor, times=LogSNR(steps, t_min=T_MIN), last="sample")


def within(calls: int, predictor: Any, price: int) -> int:
    """The most steps that take no more than so many calls: some predictors begin with a dearer one."""
    steps = calls // price
    while steps and sampler(predictor, steps).sample(SDE, lambda x, _: -x, (1, 1)).nfe > calls:
        steps -= 1
    return steps


def path_errors(score_fn: Any, x_T: Tensor, tolerance: float) -> Table:
    """Distances to the end of the flow."""
    options = {"x_T": x_T, "dtype": x_T.dtype}
    exact = FlowSampler(tolerance, tolerance, "dop853", t_min=T_MIN).sample(SDE, score_fn, x_T.shape, **options).x
    table: Table = {}
    for name, predictor, price in STILL:
        row = []
        for calls in CALLS:
            steps = within(calls, predictor, price)
            x = sampler(predictor, steps).sample(SDE, score_fn, x_T.shape, **options).x if steps else exact * math.nan
            row.append((x - exact).square().mean().sqrt().item())
        table[name] = row
        print(f"{name:<40} " + " ".join(f"{error:9.2e}" for error in row), flush=True)
    return table


def law_errors(n: int) -> Table:
    """Errors of the variance in 192 dimensions, with their standard errors."""
    data = high_mixture()
    x0 = data.sample(n, seed=1)
    x_T = SDE.kernel(x0, SDE.T).sample(RowNoise(2, n)(x0))
    level = SDE.at(torch.full((n,), T_MIN, dtype=torch.float64))
    table: Table = {}
    for name, predictor, price in STILL + DRAWING:
        row = []
        for calls in CALLS:
            steps = within(calls, predictor, price)
            if not steps:
                row.append((math.nan, math.nan))
                continue
            x = sampler(predictor, steps).sample(SDE, data.score(SDE), x_T.shape, x_T=x_T, seed=3, dtype=x_T.dtype).x
            joint, centred, variances = data.components(x, level.alpha, level.sigma)
            k, rows = joint.argmax(1), torch.arange(n)
            ratio = (centred[rows, k] ** 2 / variances[rows, k]).mean(1)
            row.append((ratio.mean().item() - 1, ratio.std().item() / n**0.5))
        table[name] = row
        print(f"{name:<40} " + " ".join(f"{error:+9.1e}" for error, _ in row), flush=True)
    return table


def picture(path_table: Table, law_table: Table, file: Path) -> None:
    """Both against calls, on logarithmic axes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.5), layout="constrained")
    colours, marks = plt.get_cmap("tab10"), "os^vDP*X<>"
    for i, (name, row) in enumerate(path_table.items()):
        dashed = "--" if "published" in name else "-"
        left.plot(CALLS, row, dashed, marker=marks[i], color=colours(i), label=name, markersize=5, linewidth=1.3)
    left.set(title="samplers that draw nothing: distance to the exact end (plane)", ylabel="root mean square distance")
    for i, (name, _, _) in enumerate(DRAWING):
        errors = [abs(error) for error, _ in law_table[name]]
        right.plot(CALLS, errors, marker=marks[i], color=colours(i), label=name, markersize=5, linewidth=1.3)
    floor = max(law_table[name][-1][1] for name, _, _ in DRAWING)
    right.axhspan(0, 2 * floor, color="grey", alpha=0.2, label="two standard errors")
    right.set(title="samplers that draw: error of the variance (192 dimensions)", ylabel="|variance ratio - 1|", ylim=(1e-3, None))
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="network calls", xticks=CALLS, xticklabels=CALLS)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(file, dpi=110)


def markdown(title: str, table: Table) -> str:
    """A table of a document."""
    lines = [title, "", "| network calls | " + " | ".join(map(str, CALLS)) + " |", "|---" * (len(CALLS) + 1) + "|"]
    for name, row in table.items():
        cells = [_cell(value) for value in row]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    error, spread = value if isinstance(value, tuple) else (value, None)
    if math.isnan(error):
        return "-"
    return f"{error:.1e}" if spread is None else f"{error:+.3f} +- {spread:.3f}" if abs(error) < 10 else f"{error:+.0f}"


def main() -> None:
    """Compute, print, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="the folder of a run under VP, for the table of a network")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/samplers.json"))
    parser.add_argument("--docs", type=Path, help="a document whose tables are rewritten")
    args = parser.parse_args()
    result: dict[str, Any] = {"environment": environment("scipy"), "calls": CALLS}
    data = plane_mixture()
    x0 = data.sample(1000, seed=1)
    print("\npath, mixture in the plane")
    path = path_errors(data.score(SDE), SDE.kernel(x0, SDE.T).sample(RowNoise(2, 1000)(x0)), 1e-10)
    tables = [markdown("**Distance to the exact end of the flow, mixture in the plane, exact score, 1,000 starts**", path)]
    result["path"] = path
    if args.run is not None:
        print("\npath, network")
        model, shape = load(args.run), load(args.run).network.arguments["shape"]
        result["network"] = path_errors(model, RowNoise(2, 64)(torch.empty(64, *shape)), 1e-6)
        tables.append(markdown("**The same under a trained network, 64 starts**", result["network"]))
    print("\nlaw, mixture in 192 dimensions")
    result["law"] = law_errors(1000)
    tables.append(markdown("**Error of the variance, mixture in 192 dimensions, exact score, 1,000 samples**", result["law"]))
    save(args.out, result)
    if args.docs is not None:
        begin, end = "<!-- tables -->", "<!-- end of tables -->"
        before, rest = args.docs.read_text().split(begin)
        args.docs.write_text(f"{before}{begin}\n\n" + "\n\n".join(tables) + f"\n\n{end}{rest.split(end)[1]}")
        picture(path, result["law"], args.docs.parent / "pictures" / "samplers.png")


if __name__ == "__main__":
    main()
