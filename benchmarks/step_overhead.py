"""The overhead of the sampling loop over the network: microseconds a step, next to the schedulers of diffusers.

    pip install diffusers
    OMP_NUM_THREADS=1 python benchmarks/step_overhead.py [--steps 200] [--repeats 21] [--only trivial] [--out FILE.json]

The first table times whole runs, from drawing the start to the last step, on a (4, 2) float32 tensor, and divides by the number of
steps. The network is 0.1 x, and the bare score for VE is -0.0001 x; their calls are in both columns. diffusers runs the loop of
its documentation, with set_timesteps. Its VE scheduler takes a score, so ours gets the bare score there, too.

The second table is the time of sampling with a U-Net, relative to as many forward calls. Steps and calls take turns.

Compared runs take turns. A ratio is the median, with quartiles, of the ratios of neighbouring runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import environment, interleaved, print_row, save, spread, text, verdict
from models import UNet
from samplers import DDIM, DPMSolver, EulerMaruyama, Langevin, ReverseDiffusion, Sampler, Uniform, UniPC
from sde_lib import VESDE, VPSDE, Epsilon, ScoreModel, Tabulated

try:
    import diffusers
except ImportError:
    sys.exit("this benchmark compares with diffusers, which is not installed: pip install diffusers")

SHAPE = (4, 2)
BETAS = torch.linspace(1e-4, 0.02, 1000)
Row = dict[str, Any]


def trivial(x: torch.Tensor, _: Any) -> torch.Tensor:
    """The network of the first table."""
    return 0.1 * x


def contracting(x: torch.Tensor, _: Any) -> torch.Tensor:
    """A bare score for VE. trivial would not do: it points away from 0, and Langevin steps at sigma = 50 are long."""
    return -1e-4 * x


def loop(scheduler: Any, steps: int, corrected: bool = False) -> Callable[[], None]:
    """Sampling as in the documentation of diffusers. Its VE scheduler has two methods, which are both called."""
    ve = hasattr(scheduler, "step_pred")
    step = scheduler.step_pred if ve else scheduler.step

    @torch.no_grad()
    def run() -> None:
        scheduler.set_timesteps(steps)
        if ve:
            scheduler.set_sigmas(steps)
        x = torch.randn(SHAPE) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            if corrected:
                x = scheduler.step_correct(trivial(x, t), x).prev_sample
            x = step(trivial(x, t), t, x).prev_sample

    return run


def their_runs(steps: int) -> dict[str, Callable[[], None]]:
    """Runs of diffusers by name, with VE if the installed version has it."""
    betas: Row = {"trained_betas": BETAS.numpy()}
    runs = {
        "DDPM": loop(diffusers.DDPMScheduler(**betas, clip_sample=False), steps),
        "DDIM": loop(diffusers.DDIMScheduler(**betas, clip_sample=False), steps),
        "DPMSolverMultistep(1)": loop(diffusers.DPMSolverMultistepScheduler(**betas, solver_order=1), steps),
        "DPMSolverMultistep(2)": loop(diffusers.DPMSolverMultistepScheduler(**betas, solver_order=2), steps),
        "DPMSolverMultistep(3)": loop(diffusers.DPMSolverMultistepScheduler(**betas, solver_order=3), steps),
        "UniPC(2)": loop(diffusers.UniPCMultistepScheduler(**betas, solver_order=2), steps),
    }
    if hasattr(diffusers, "ScoreSdeVeScheduler"):
        for name, corrected in (("ScoreSdeVe", False), ("ScoreSdeVe + corrector", True)):
            runs[name] = loop(diffusers.ScoreSdeVeScheduler(), steps, corrected)
    return runs


def pairs() -> list[tuple[Any, Any, Any, Any, str]]:
    """Process, score function, predictor, corrector, and the name of the run of diffusers with the same step, or ""."""
    table: list[tuple[Any, Any, Any, Any, str]] = []
    tabulated = Tabulated.from_betas(BETAS)
    for model in (ScoreModel(trivial, VPSDE(), Epsilon("time")), ScoreModel(trivial, tabulated, Epsilon("index"))):
        both = (model.sde, model)
        table += [(*both, predictor, None, "DDPM") for predictor in (EulerMaruyama(), ReverseDiffusion())]
        table += [(*both, DPMSolver(1), None, "DPMSolverMultistep(1)")]
        table += [(*both, DPMSolver(n), None, f"DPMSolverMultistep({n})") for n in (2, 3)]
        table += [(*both, DDIM(), None, "DDIM"), (*both, UniPC(2), None, "UniPC(2)")]
        predictors = (EulerMaruyama(), ReverseDiffusion(), DPMSolver(1), DPMSolver(2))
        table += [(*both, predictor, Langevin(), "") for predictor in predictors]
    ve = (VESDE(), contracting, ReverseDiffusion())
    table += [(*ve, None, "ScoreSdeVe")]
    return table + [(*ve, Langevin(step=rule), "ScoreSdeVe + corrector") for rule in ("batch", "time")]


def trivial_network(steps: int, repeats: int) -> list[Row]:
    """The first table."""
    print(f"\nmicroseconds a step, network 0.1 x on {SHAPE}, runs of {steps} steps: median [quartiles] of {repeats}")
    widths = (10, 38, 22, 23, 22, 18, 10)
    print_row(widths, "process", "ours", "us", "diffusers", "us", "ratio", "bar <= 1")
    theirs, rows = their_runs(steps), []
    for sde, score_fn, predictor, corrector, name in pairs():
        sampler = Sampler(predictor, corrector, times=Uniform(steps))
        runs: list[Callable[[], Any]] = [partial(sampler.sample, sde, score_fn, SHAPE)]
        runs += [theirs[name]] if name in theirs else []
        us = interleaved(runs, repeats) / steps * 1e6
        row: Row = {"process": repr(sde), "ours": repr(sampler), "ours_us": spread(us[:, 0]), "diffusers": None}
        cells = [type(sde).__name__, named(predictor, corrector), text(row["ours_us"], 1)]
        if len(runs) > 1:
            row |= {"diffusers": name, "diffusers_us": spread(us[:, 1]), "ratio": spread(us[:, 0] / us[:, 1])}
            met = verdict(row["ratio"]["median"] <= 1)
            cells += [name, text(row["diffusers_us"], 1), text(row["ratio"], 2), met]
        print_row(widths, *cells)
        rows.append(row)
    return rows


def named(predictor: Any, corrector: Any) -> str:
    """A short name of a predictor and a corrector."""
    order = f"({predictor.order})" if isinstance(predictor, (DPMSolver, UniPC)) else ""
    return f"{type(predictor).__name__}{order}" + (f" + Langevin({corrector.step})" if corrector else "")


def step_by_step(sampler: Sampler, model: ScoreModel, shape: tuple[int, ...]) -> tuple[float, float, int]:
    """The seconds of a run's steps, the seconds of as many forward calls, and the number of calls."""
    x, label = torch.randn(shape), torch.full(shape[:1], 0.3)
    sampling, forward, calls = 0.0, 0.0, 0
    start = time.perf_counter()
    for frame in sampler.stream(model.sde, model, shape):  # the first frame is the start, whose cost counts too
        middle = time.perf_counter()
        with torch.no_grad():
            for _ in range(frame.nfe - calls):
                model.network(x, label)
        end = time.perf_counter()
        sampling, forward, calls = sampling + middle - start, forward + end - middle, frame.nfe
        start = time.perf_counter()
    return sampling, forward, calls


def real_network(steps: int, repeats: int) -> list[Row]:
    """The second table."""
    print(f"\ntime of sampling over that of its forward calls, runs of {steps} steps: median [quartiles] of {repeats}")
    widths = (12, 10, 7, 32, 22, 24, 10)
    print_row(widths, "shape", "channels", "batch", "sampler", "forward, ms", "ratio", "bar <= 1.03")
    rows = []
    for shape, channels, batch in (((1, 8, 8), 32, 64), ((3, 32, 32), 64, 4)):
        model = ScoreModel(UNet(shape, channels=channels, blocks=1), VPSDE(), Epsilon()).eval()
        for predictor, corrector in ((EulerMaruyama(), None), (EulerMaruyama(), Langevin()), (DPMSolver(2), None)):
            sampler = Sampler(predictor, corrector, times=Uniform(steps))
            runs = [step_by_step(sampler, model, (batch, *shape)) for _ in range(repeats + 1)][1:]
            ms = spread([forward / calls * 1e3 for _, forward, calls in runs])
            ratio = spread([sampling / forward for sampling, forward, _ in runs])
            rows.append({"network": repr(model.network.arguments), "batch": batch, "sampler": repr(sampler)})
            rows[-1] |= {"calls": runs[0][2], "forward_ms": ms, "ratio": ratio}
            cells = (named(predictor, corrector), text(ms, 2), text(ratio, 3), verdict(ratio["median"] <= 1.03))
            print_row(widths, shape, channels, batch, *cells)
    return rows


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="steps of a run; the U-Nets take a tenth of them")
    parser.add_argument("--repeats", type=int, default=21, help="runs of each; of the U-Nets a third as many")
    parser.add_argument("--only", choices=("trivial", "real"), help="one table alone")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/step_overhead.json"))
    args = parser.parse_args()
    result: Row = {"environment": environment("diffusers"), "steps": args.steps}
    if args.only != "real":
        result["trivial_network"] = trivial_network(args.steps, args.repeats)
    if args.only != "trivial":
        result["real_network"] = real_network(max(args.steps // 10, 1), max(args.repeats // 3, 3))
    save(args.out, result)


if __name__ == "__main__":
    main()
