"""Anomaly detection by likelihood: how well log p(x) tells unusual images from images of the training set.

    python examples/anomaly.py [--workdir runs/vp-digits] [--steps 600] [--out anomaly.png]

A model of the 8x8 digits (the run in --workdir, or one trained here) scores test digits, and four sets made of them: inverted
digits, digits turned by a quarter, faint digits (a quarter of the contrast) and blank images. Two scores are compared: -log p(x),
and typicality, |log p(x) - mean of log p over held-out digits|. In many dimensions, most of the mass is where log p is near its
mean, and not where it is largest. The output is the AUROC of each score: the probability that it is larger for an unusual image
than for a digit. It has DeLong's standard error, or a 95 % bound (>=, <=) when the two sets do not overlap. The picture shows the
histograms.

Reference: Nalisnick, Matsukawa, Teh, Gorur, Lakshminarayanan, 2019, arXiv 1810.09136 (likelihoods of strange images);
Nalisnick, Matsukawa, Teh, Lakshminarayanan, 2019, arXiv 1906.02994, section 3 (typicality, here of one image at a time).
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from imported import count, mistakes

from likelihood import Hutchinson, bits_per_dim
from models import load
from models.files import write_atomically
from score_sde.config.config import find_config
from score_sde.config.experiment import assemble
from score_sde.data import Digits
from score_sde.evaluation.auroc import auroc
from score_sde.runs import session
from sde_lib import ScoreModel

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CAVEAT = """The caveat: a high likelihood does not show that an image is one of the data. It measures how well the values of the
image are predicted, and simpler images are predicted better. So a blank or faint image can be likelier than any digit (an AUROC
of -log p below a half). Typicality detects these, but not unusual images whose log p happens to be near the mean of the data,
such as digits turned by a quarter. Neither score alone proves that an image belongs to the data."""


def trained_here(steps: int) -> ScoreModel:
    """The model of the default experiment after so many steps, trained in a temporary folder."""
    config = find_config(None, "vp")
    config.train.steps = steps
    experiment = assemble(config)
    with tempfile.TemporaryDirectory() as folder:
        session.train(experiment, config, Path(folder), "cpu", resume=False)
    return experiment.model


def strange(codes: Tensor, levels: int) -> dict[str, Tensor]:
    """Unusual images made from images (N, 1, H, W), by name."""
    return {
        "inverted": levels - 1 - codes,
        "turned": codes.rot90(1, (2, 3)),
        "faint": codes // 4,
        "blank": torch.zeros_like(codes),
    }


def draw(scores: dict[str, Tensor], centre: float, examples: dict[str, Tensor], path: Path) -> None:
    """Histograms of log p and of typicality, and three images of each set."""
    figure = plt.figure(figsize=(12, 5), layout="constrained")
    grid = figure.add_gridspec(len(scores), 3, width_ratios=(1, 4, 4))
    panels = {"log p (nats)": lambda v: v, "typicality |log p - mean| (nats)": lambda v: (v - centre).abs()}
    axes = [figure.add_subplot(grid[:, i]) for i in (1, 2)]
    for row, (name, values) in enumerate(scores.items()):
        small = figure.add_subplot(grid[row, 0])
        small.imshow(torch.cat(list(examples[name][:3, 0]), 1), cmap="gray", vmin=0, vmax=16)
        small.set_xticks([])
        small.set_yticks([])
        small.set_ylabel(name, color=f"C{row}", fontsize=8)
        for panel, of in zip(axes, panels.values(), strict=True):
            panel.hist(of(values).numpy(), bins=30, alpha=0.55, color=f"C{row}", label=name, density=True)
    for panel, title in zip(axes, panels, strict=True):
        panel.set(title=title, yscale="log", ylabel="density")
        panel.legend()
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))
    plt.close(figure)


def main() -> None:
    """Score, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, help="the folder of a run on the digits (default: train a model here)")
    parser.add_argument("--steps", type=count, default=600, help="of the training without --workdir")
    parser.add_argument("--images", type=int, default=180, help="how many of each set; twice as many digits: half is held out")
    parser.add_argument("--out", type=Path, default=Path("anomaly.png"), help="the picture")
    options = parser.parse_args()
    n = options.images
    if not 2 <= n <= 180:
        parser.error(f"--images {n}: there are 360 test digits, of which 2 to 180 can be scored and as many held out")
    with mistakes(parser):
        model = load(options.workdir) if options.workdir else trained_here(options.steps)
    digits = Digits()
    if model.data != digits.transform:
        parser.error(f"--workdir {options.workdir}: its data are {model.data!r}, and a run on the digits was needed")

    def log_prob(codes: Tensor) -> Tensor:
        dims = codes[0].numel()
        settings = {"images": model.data, "divergence": Hutchinson(), "tolerance": 1e-3}
        return -bits_per_dim(model.sde, model, codes.split(90), **settings).per_image * dims * math.log(2)

    held_out, codes = digits.test[:n], digits.test[n : 2 * n]
    sets = {"digits": codes, **strange(codes, digits.transform.levels)}
    scores = {name: log_prob(images) for name, images in sets.items()}
    reference = log_prob(held_out)
    centre = reference.mean().item()
    error = reference.std().item() / n**0.5
    print(f"held-out digits: log P = {centre:.2f} +- {error:.2f} nats an image ({n} images; sd {reference.std():.1f})\n")
    print(f"{'':10} {'log P, nats':>18}   {'AUROC of -log P':>18}   {'AUROC of typicality':>20}")
    for name, values in scores.items():
        line = f"{name:10} {values.mean():9.2f} +- {values.std() / n**0.5:5.2f}"
        if name != "digits":
            usual = scores["digits"]
            by_likelihood = auroc((-values).numpy(), (-usual).numpy())
            by_typicality = auroc((values - centre).abs().numpy(), (usual - centre).abs().numpy())
            line += f"   {by_likelihood!s:>18}   {by_typicality!s:>20}"
        print(line)
    draw(scores, centre, sets, options.out)
    print(f"\n{CAVEAT}\n\npicture: {options.out.resolve()}")


if __name__ == "__main__":
    main()
