"""The common part of the benchmarks: the machine, figures with their spread, tables and JSON files."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch


def environment(*packages: str) -> dict[str, Any]:
    """The versions of Python, torch and the named packages, the number of threads and the CPU. They are printed, too."""
    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "cpu": f"{_cpu_name()}, {os.cpu_count()} logical cores",
        "system": platform.system(),
    }
    print(", ".join(f"{key} {value}" for key, value in found.items()))
    return found


def _cpu_name() -> str:
    """The name of the CPU's model, if platform or Linux has it; else the architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """The median and quartiles of repeats."""
    low, median, high = np.percentile(np.asarray(values), [25, 50, 75])
    return {"median": float(median), "q1": float(low), "q3": float(high), "repeats": len(values)}


def text(figure: dict[str, float], digits: int) -> str:
    """A figure for a table: median [first quartile, third quartile]."""
    return f"{figure['median']:.{digits}f} [{figure['q1']:.{digits}f}, {figure['q3']:.{digits}f}]"


def verdict(met: bool) -> str:
    """The verdict on a threshold, as text."""
    return "met" if met else "MISSED"


def print_row(widths: Sequence[int], *cells: Any) -> None:
    """Print a line of a table."""
    print(" ".join(f"{cell!s:<{width}}" for width, cell in zip(widths, cells, strict=False)).rstrip(), flush=True)


def interleaved(runs: Sequence[Callable[[], Any]], repeats: int) -> np.ndarray:
    """The seconds of each run, (repeats, runs). The runs take turns, so that a slow machine slows all of them."""
    for run in runs:
        run()
    seconds = np.empty((repeats, len(runs)))
    for i in range(repeats):
        for j, run in enumerate(runs):
            start = time.perf_counter()
            run()
            seconds[i, j] = time.perf_counter() - start
    return seconds


def save(path: Path, result: dict[str, Any]) -> None:
    """Write a result as JSON, and print the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten to {path}")
