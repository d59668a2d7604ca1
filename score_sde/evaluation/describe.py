"""Description of a process: equations and numbers as text, curves and noised images as a picture."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from models.files import write_atomically
from score_sde.evaluation.figures import image_grid, is_drawable, standardized
from sde_lib import LinearSDE, RowNoise, ScoreModel

__all__ = ["equations", "picture"]


def equations(model: ScoreModel, objective: Any, codes: Tensor) -> str:
    """Text with the docstrings of the process, the parameterization and the objective, and the noise levels at some times."""
    sde, parameterization, x0 = model.sde, model.parameterization, model.data.encode(codes[:1000])
    about = (inspect.getdoc(type(part)) or "" for part in (sde, parameterization, objective))
    heads = [text.split("\n\n")[0].replace("\n", " ") for text in about]
    t = sde.snap(torch.linspace(0, 1, 6, dtype=torch.float64) ** 2 * (sde.T - sde.t_min) + sde.t_min)
    (alpha, sigma, log_snr), (f, g2) = sde.at(t), sde.rates(t)
    rows = zip(t.tolist(), alpha.tolist(), sigma.tolist(), log_snr.tolist(), f.tolist(), g2.tolist(), strict=True)
    table = "\n".join("  " + "  ".join(f"{value:10.4g}" for value in row) for row in rows)
    names = "  " + "  ".join(f"{name:>10}" for name in ("t", "alpha", "sigma", "log-SNR", "f", "g^2"))
    a, b = (torch.as_tensor(c).expand(len(t)).tolist() for c in parameterization.target(sde, t, sde.at(t)))
    asked = ", ".join(f"{c:.3g} x0 {d:+.3g} eps (t = {time:.3g})" for time, c, d in list(zip(t.tolist(), a, b, strict=True))[1::2])
    return (
        f"{sde!r}\n  {heads[0]}\n  dx = f x dt + g dw,  x_t = alpha x0 + sigma eps\n\n{names}\n{table}\n\n"
        f"prior N(0, {float(sde.at(sde.T).sigma):.4g}^2); what of the data is left in x_T costs at most "
        f"{sde.prior_mismatch(x0).mean().item():.2g} nats a datum\n\n"
        f"the network answers {parameterization!r}\n  {heads[1]}\n  {asked}\n\nand is trained by {objective!r}\n  {heads[2]}"
    )


def picture(sde: LinearSDE, codes: Tensor, data: Any, seed: int, path: Path, columns: int = 12) -> None:
    """Draw alpha, sigma, log-SNR and g^2 against t, and images at even log-SNR in units of their standard deviation."""
    t = sde.t_min + (sde.T - sde.t_min) * torch.linspace(0, 1, 400, dtype=torch.float64)
    (alpha, sigma, log_snr), rates = sde.at(t), sde.rates(t)
    drawable = is_drawable(tuple(codes.shape[1:]))
    figure = plt.figure(figsize=(11, 5 if drawable else 2.4), layout="constrained")
    grid = figure.add_gridspec(2 if drawable else 1, 4, height_ratios=(2, 3) if drawable else (1,))
    curves = {"alpha(t)": alpha, "sigma(t)": sigma, "log-SNR(t)": log_snr, "g^2(t)": rates.g2}
    for i, (name, values) in enumerate(curves.items()):
        axes = figure.add_subplot(grid[0, i])
        axes.plot(t, values, linewidth=1.2)
        wide = name != "log-SNR(t)" and float(values.max()) > 50 * float(values.median().abs())
        axes.set(title=name, xlabel="t", yscale="log" if wide and float(values.min()) > 0 else "linear")
        axes.grid(alpha=0.3)
    if drawable:
        _strip(sde, codes[:4], data, seed, figure.add_subplot(grid[1, :]), columns)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
    plt.close(figure)


def _strip(sde: LinearSDE, shown: Tensor, data: Any, seed: int, axes: Any, columns: int) -> None:
    """Draw images on their way to noise."""
    ends = sde.at(sde.t_min).log_snr, sde.at(sde.T).log_snr
    stops = sde.snap(sde.t_of_log_snr(torch.lerp(*ends, torch.linspace(0, 1, columns, dtype=torch.float64))))
    x0 = data.encode(shown)
    z = RowNoise(seed, len(shown))(x0)
    states = []
    for time in stops:
        states.append(data.decode(standardized(sde, sde.kernel(x0, time).sample(z), time)))
    strip = image_grid(torch.stack(states, 1).flatten(0, 1), data.levels, columns)
    axes.imshow(strip, cmap="gray", vmin=0, vmax=255)
    width = strip.shape[1] / columns
    axes.set_xticks([(k + 0.5) * width - 0.5 for k in range(columns)], [f"t = {float(s):.2g}" for s in stops], fontsize=8)
    axes.set_yticks([])
