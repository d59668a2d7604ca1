"""The tables and the picture of benchmarks/samplers.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Row = dict[str, Any]
GRID_NAMES = {"u": "uniform", "q": "quadratic", "l": "log_snr", "k": "karras"}
LOOKS: dict[str, tuple[str, str, str]] = {
    "euler_maruyama(eta=0.0)": ("black", "--", "o"),
    "reverse_diffusion(eta=0.0)": ("grey", "--", "s"),
    "ddim": ("tab:brown", "-", "o"),
    "heun": ("tab:orange", "-", "D"),
    "dpm_solver(order=2)": ("tab:blue", "-", "o"),
    "dpm_solver(order=2, data_prediction=False)": ("tab:blue", "--", "s"),
    "dpm_solver(order=2, multistep=False)": ("tab:blue", ":", "^"),
    "dpm_solver(order=3)": ("tab:red", "-", "o"),
    "dpm_solver(order=3, published=True)": ("tab:pink", "-", "X"),
    "dpm_solver(order=3, data_prediction=False)": ("tab:red", "--", "s"),
    "dpm_solver(order=3, multistep=False)": ("tab:red", ":", "^"),
    "unipc(order=1)": ("tab:green", ":", "^"),
    "unipc(order=2)": ("tab:green", "--", "s"),
    "unipc(order=3)": ("tab:green", "-", "o"),
    "flow": ("tab:purple", "-", "*"),
    "euler_maruyama": ("black", "-", "o"),
    "reverse_diffusion": ("grey", "-", "s"),
    "ancestral": ("tab:cyan", "-", "v"),
    "ancestral(variance='large')": ("tab:cyan", "--", "^"),
    "ddim(eta=0.5)": ("tab:brown", "--", "s"),
    "heun(churn=10.0)": ("tab:orange", "--", "D"),
    "sde_dpm_solver": ("tab:olive", "-", "P"),
    "sde_dpm_solver(eta=0.5)": ("tab:olive", "--", "X"),
    "stochastic_runge_kutta": ("tab:purple", "--", "*"),
}
BESIDE = ("ddim", "dpm_solver(order=2)", "unipc(order=3)")  # without noise, for comparison
TITLES = {
    "mixture": "mixture, exact score: distance to the flow's solution",
    "network": "trained network of digits: distance to the flow's solution",
    "law": "Gaussian data, exact score: error of the variance",
}
LIMITS = {"mixture": (1e-7, 2), "network": (1e-7, 2), "law": (1e-4, 10)}


def exact(value: float) -> str:
    """A value with two digits, as 1.2e-3."""
    if not math.isfinite(value):
        return "-"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def with_error(value: float, error: float) -> str:
    """A value with the error of its last digit in brackets, as 1.23(4)e-3."""
    if not (math.isfinite(value) and error > 0):
        return exact(value)
    exponent = math.floor(math.log10(abs(value)))
    digits = min(2, max(1, -math.floor(math.log10(error / 10**exponent))))
    last = math.ceil(error / 10**exponent * 10**digits)
    return f"{value / 10**exponent:.{digits}f}({last})e{exponent}"


def beside(value: float, error: float) -> str:
    """A value that may be 0, and its error, with three decimals, or two digits from 10 on."""
    return f"{value:.3f} ± {error:.3f}" if abs(value) < 10 else f"{exact(value)} ± {exact(error)}"


def write_tables(path: Path, rows: list[Row], budgets: Sequence[int]) -> None:
    """Replace the tables between the marks of a document."""
    head = " | ".join(map(str, budgets))
    lines = []
    for part in [part for part in TITLES if any(row["part"] == part for row in rows)]:
        lines += ["", f"**{TITLES[part]}**", "", f"| sampler | grid | {head} |", "|---|---|" + "---|" * len(budgets)]
        chosen = [row for row in rows if row["part"] == part and row["sampler"] != "flow"]
        least = {budget: min(row["error"][0] for row in chosen if row["nfe"] == budget) for budget in budgets}
        for name in dict.fromkeys(row["sampler"] for row in chosen):
            mine = [row for row in chosen if row["sampler"] == name]
            cells = [with_error(*row["error"]) for row in mine]
            cells = [f"**{cell}**" if row["error"][0] == least[row["nfe"]] else cell for cell, row in zip(cells, mine, strict=True)]
            lines.append(f"| `{name}` | {GRID_NAMES[mine[0]['grid']]} | {' | '.join(cells)} |")
        adaptive = [row for row in rows if row["part"] == part and row["sampler"] == "flow"]
        if adaptive:
            found = ", ".join(f"{with_error(*row['error'])} in {row['nfe']}" for row in adaptive)
            first, last = (exact(row["tolerance"]) for row in (adaptive[0], adaptive[-1]))
            lines += ["", f"The adaptive `flow` sampler (dopri5), tolerances {first} to {last}: {found} calls."]
    noisy = [row for row in rows if "stein" in row]
    lines += [
        "",
        "**mixture, exact score: Stein's statistic**",
        "",
        f"| sampler | grid | {head} |",
        "|---|---|" + "---|" * len(budgets),
    ]
    for name in dict.fromkeys(row["sampler"] for row in noisy):
        mine = [row for row in noisy if row["sampler"] == name]
        cells = [beside(*row["stein"]) for row in mine]
        lines.append(f"| `{name}` | {GRID_NAMES[mine[0]['grid']]} | {' | '.join(cells)} |")
    thirds = {p: f"dpm_solver(order=3{', published=True' * p})" for p in (False, True)}
    lines += ["", "**`dpm_solver(order=3, published=True)` over `dpm_solver(order=3)`, each on the same grid**", ""]
    lines += [f"| sampler | grid | {head} |", "|---|---|" + "---|" * len(budgets)]
    for part in TITLES:
        pair = {p: [row for row in rows if (row["part"], row["sampler"]) == (part, name)] for p, name in thirds.items()}
        for grid in pair[True][0]["by_grid"] if pair[True] else ():
            ratios = [theirs["by_grid"][grid][0] / ours["by_grid"][grid][0] for ours, theirs in zip(*pair.values(), strict=True)]
            lines.append(f"| {part} | {GRID_NAMES[grid]} | {' | '.join(f'{ratio:.2g}' for ratio in ratios)} |")
    before, _, rest = path.read_text().partition("<!-- tables -->")
    _, _, after = rest.partition("<!-- end -->")
    path.write_text(before + "<!-- tables -->" + "\n".join(lines) + "\n\n<!-- end -->" + after)


def draw(rows: list[Row], path: Path) -> None:
    """Draw error against network calls on logarithmic axes, a panel for each part, with a common legend."""
    parts = [part for part in TITLES if any(row["part"] == part for row in rows)]
    figure, panels = plt.subplots(1, len(parts), figsize=(6.2 * len(parts), 8.6))
    seen: dict[str, Any] = {}
    for axes, part in zip(panels, parts, strict=True):
        for name, (color, dashes, marker) in LOOKS.items():
            faint = part == "law" and name in BESIDE
            if part == "law" and not faint and not any(row["sampler"] == name and "stein" in row for row in rows):
                continue
            points = [(row["nfe"], row["error"][0]) for row in rows if (row["part"], row["sampler"]) == (part, name)]
            if points:
                strong = name in ("dpm_solver(order=3)", "dpm_solver(order=3, published=True)")
                width = {"linewidth": 2.6 if strong else 1.5, "markersize": 6, "alpha": 0.45 if faint else 1}
                (line,) = axes.plot(*zip(*points, strict=True), color=color, linestyle=dashes, marker=marker, **width)
                seen.setdefault(name, line)
        axes.set(xscale="log", yscale="log", xlabel="network calls", ylim=LIMITS[part], xlim=(4.4, 330))
        axes.set_title(TITLES[part], fontsize=11)
        axes.set_xticks([5, 10, 20, 50, 100, 200], labels=["5", "10", "20", "50", "100", "200"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    order = [name for name in LOOKS if name in seen]
    figure.legend([seen[name] for name in order], order, loc="lower center", ncols=4, fontsize=9.5, frameon=False)
    figure.tight_layout(rect=(0, 0.19, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, pil_kwargs={"optimize": True})
    plt.close(figure)
