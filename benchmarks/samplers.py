"""Error against network calls for every predictor: on a mixture, on Gaussian data, and on a trained network.

    OMP_NUM_THREADS=1 python benchmarks/samplers.py [--run runs/vp-digits] [--out FILE.json] [--document docs/samplers.md]

The process is VP, from T to t_min = 1e-3, with 5 to 200 network calls. Each predictor uses the best of four grids, by the mean of
the logarithms of its errors.

- flow: the deterministic predictors, on a mixture in 8 dimensions with its exact score. The error is the root mean squared
  distance of an entry to the solution of the probability flow from the same start (dop853, rtol 1e-10, float64).
- law: all predictors, on Gaussian data of standard deviation 0.1, 0.3 and 1. The error is the root mean square of
  variance / true variance - 1, which impulse_response gives without random numbers. A second column is Stein's statistic on the
  mixture, 1 + E[x . score] / 8 over 20,000 samples, with its standard error. It is 0 for the exact law.
- network: as flow, with the network of a trained run of digits, in float64, and rtol 1e-8 for the solution.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import environment, save
from benchmarks.samplers_shown import draw, write_tables
from models import load
from samplers import FlowSampler, Karras, LogSNR, Quadratic, Sampler, Uniform, impulse_response
from score_sde.config.component import build
from sde_lib import VPSDE, MixtureOracle

BUDGETS = (5, 10, 20, 50, 100, 200)
GRIDS = {"u": Uniform, "q": Quadratic, "l": LogSNR, "k": Karras}
T_MIN, DIMS, STARTS, SAMPLES, IMAGES = 1e-3, 8, 1000, 20_000, 16
WITHOUT_NOISE = (
    "euler_maruyama(eta=0.0)",
    "reverse_diffusion(eta=0.0)",
    "ddim",
    "heun",
    "dpm_solver(order=2)",
    "dpm_solver(order=2, data_prediction=False)",
    "dpm_solver(order=2, multistep=False)",
    "dpm_solver(order=3)",
    "dpm_solver(order=3, published=True)",
    "dpm_solver(order=3, data_prediction=False)",
    "dpm_solver(order=3, multistep=False)",
    "unipc(order=1)",
    "unipc(order=2)",
    "unipc(order=3)",
)
WITH_NOISE = (
    "euler_maruyama",
    "reverse_diffusion",
    "ancestral",
    "ancestral(variance='large')",
    "ddim(eta=0.5)",
    "heun(churn=10.0)",
    "sde_dpm_solver",
    "sde_dpm_solver(eta=0.5)",
    "stochastic_runge_kutta",
)
Row = dict[str, Any]


def sampler_of(name: str, steps: int, grid: str) -> Sampler:
    """A predictor by its short name, on a grid of so many steps."""
    return Sampler(build("sampler.predictor", name), times=GRIDS[grid](steps, t_min=T_MIN), last="sample")


def _minus(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return -x


@cache
def steps_within(name: str, budget: int) -> int:
    """The largest number of steps whose network calls stay within a budget."""
    one, two = (sampler_of(name, n, "l").sample(VPSDE(), _minus, (1, 1)).nfe for n in (3, 4))
    return max(1, (budget - one) // (two - one) + 3)


def mixture() -> MixtureOracle:
    """Four components of different widths in 8 dimensions, near enough to each other that no few starts dominate the mean."""
    means = torch.randn(4, DIMS, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    return MixtureOracle([0.1, 0.2, 0.3, 0.4], 0.3 * means, [0.2, 0.3, 0.4, 0.5])


def distance(x: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """The root mean squared error of an entry, and its standard error over the starts."""
    square = (x - truth).square().flatten(1).mean(1)
    rms = square.mean().sqrt().item()
    return rms, (square.std() / len(square) ** 0.5).item() / (2 * rms)


def measured(part: str, name: str, grids: str, measure: Callable[[Sampler], tuple[float, float]]) -> list[Row]:
    """The errors of a predictor at each budget on its best grid, and on the other grids."""
    errors: dict[int, dict[str, tuple[float, float]]] = {budget: {} for budget in BUDGETS}
    for budget in BUDGETS:
        for grid in grids:
            try:
                errors[budget][grid] = measure(sampler_of(name, steps_within(name, budget), grid))
            except RuntimeError:  # samples that are not finite
                errors[budget][grid] = (math.inf, math.nan)
    best = min(grids, key=lambda grid: sum(math.log(errors[budget][grid][0]) for budget in BUDGETS))
    print(part, name, best, *(f"{errors[budget][best][0]:.2g}" for budget in BUDGETS), flush=True)
    common = {"part": part, "sampler": name, "grid": best}
    return [
        common | {"nfe": budget, "steps": steps_within(name, budget), "error": errors[budget][best], "by_grid": errors[budget]}
        for budget in BUDGETS
    ]


def along_the_flow(sde: VPSDE, score_fn: Any, x_T: torch.Tensor, rtol: float, grids: str, which: str) -> list[Row]:
    """The errors of the deterministic predictors and of the adaptive solver against the solution of the flow."""
    truth = FlowSampler(rtol, rtol, "dop853", T_MIN).sample(sde, score_fn, x_T.shape, x_T=x_T, dtype=x_T.dtype)
    print(f"{which}: solved in {truth.nfe} calls", flush=True)
    rows = []

    def measure(sampler: Sampler) -> tuple[float, float]:
        return distance(sampler.sample(sde, score_fn, x_T.shape, x_T=x_T, dtype=x_T.dtype).x, truth.x)

    for name in WITHOUT_NOISE:
        rows += measured(which, name, grids, measure)
    for exponent in range(1, 8):
        found = FlowSampler(10.0**-exponent, 10.0**-exponent, t_min=T_MIN).sample(
            sde, score_fn, x_T.shape, x_T=x_T, dtype=x_T.dtype
        )
        row = {
            "part": which,
            "sampler": "flow",
            "nfe": found.nfe,
            "error": distance(found.x, truth.x),
            "tolerance": 10.0**-exponent,
        }
        rows.append(row)
        print(which, "flow", found.nfe, f"{row['error'][0]:.2g}", flush=True)
    return rows


def of_the_law(sde: VPSDE) -> list[Row]:
    """The errors of the law of the samples, exact on Gaussian data, and Stein's statistic on the mixture."""
    oracle, rows = mixture(), []
    score_fn = oracle.score(sde)

    def variance(sampler: Sampler) -> tuple[float, float]:
        squares = [impulse_response(sampler, sde, var=std**2).variance_error ** 2 for std in (0.1, 0.3, 1.0)]
        return math.sqrt(sum(squares) / len(squares)), 0.0

    for name in (*WITHOUT_NOISE, *WITH_NOISE):
        rows += measured("law", name, "uqlk", variance)
    for row in rows:
        if row["sampler"] in WITH_NOISE:
            sampler = sampler_of(row["sampler"], row["steps"], row["grid"])
            x = sampler.sample(sde, score_fn, (SAMPLES, DIMS), dtype=torch.float64).x
            each = 1 + (x * score_fn(x, torch.tensor(T_MIN))).sum(1) / DIMS
            row["stein"] = each.mean().item(), (each.std() / SAMPLES**0.5).item()
    return rows


def main() -> None:
    """Measure, print and write JSON. With --document, replace the document's tables and draw its picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="the folder of a trained VP run of digits, for the third part")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/samplers.json"))
    parser.add_argument("--document", type=Path, help="a Markdown file whose tables are replaced, pictures/samplers.png beside it")
    args = parser.parse_args()
    result: dict[str, Any] = {"environment": environment()}
    sde = VPSDE()
    x_T = sde.prior(torch.empty(STARTS, DIMS)).sample(
        torch.randn(STARTS, DIMS, generator=torch.Generator().manual_seed(1)).double()
    )
    rows = along_the_flow(sde, mixture().score(sde), x_T, 1e-10, "uqlk", "mixture")
    rows += of_the_law(sde)
    if args.run:
        model = load(args.run).double()
        shape = (IMAGES, *model.network.arguments["shape"])
        x_T = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        rows += along_the_flow(model.sde, model, x_T, 1e-8, "ulk", "network")
    save(args.out, result | {"rows": rows})
    if args.document:
        draw(rows, args.document.parent / "pictures" / "samplers.png")
        write_tables(args.document, rows, BUDGETS)


if __name__ == "__main__":
    main()
