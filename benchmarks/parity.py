"""Differences between imported networks and the outputs and gradients of other implementations.

    pip install diffusers
    OMP_NUM_THREADS=1 python benchmarks/parity.py [--out FILE.json]

The weights of each network recorded in tests/golden/networks are written in the format of its project, and read by
import_checkpoint or import_classifier. Networks of diffusers are created here with random weights, saved by diffusers, imported,
and compared with its classes. A number is the largest deviation, relative to the largest entry of the expected output. float32
compares our float32 with theirs, and float64 our float64 with theirs if it was recorded. A star marks a comparison of our float64
with their float32, which shows only its rounding. gradient is v^T d out / d x, or d log p(y) / d x for the classifier.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import environment, print_row, save
from models import import_checkpoint, import_classifier
from tests.laws.test_importers import CONFIG, DIFFUSERS, FLAGS, TINY, told, weights_of
from tests.laws.test_parity_networks import CONFIGS
from tests.recorded import load

HEADS = {"net_improved_unet_ddpm": {"num_heads": 1}, "net_guided_unet_adm": {"num_head_channels": 16}}
WIDTHS = (36, 14, 10, 10, 10, 10)


class Case(NamedTuple):
    """A network, its inputs, and the expected out and gradient (with v), perhaps also in float64."""

    name: str
    network: nn.Module
    x: Tensor
    arguments: tuple[Tensor, ...]
    out: Tensor
    out_f64: Tensor | None = None
    v: Tensor | None = None
    vjp: Tensor | None = None
    vjp_f64: Tensor | None = None


def recorded(scratch: Path) -> Iterator[Case]:
    """The cases in tests/golden/networks."""
    path = scratch / "weights.pth"
    for name, config in CONFIGS.items():
        golden = load(f"networks/{name}")
        torch.save({"model": weights_of(name) or weights_of("vp_ddpm"), "ema": {}, "step": 0}, path)
        network = import_checkpoint(path, "score_sde", config, weights="raw").network
        yield Case(name, network, golden["x"], (golden["labels"],), golden["out"], golden["out_f64"], golden["v"], golden["vjp"])
    golden = load("networks/tiny_ncsnpp")
    for which in ("raw", "ema"):
        network = import_checkpoint(TINY, config=CONFIG, weights=which).network
        yield Case(f"tiny_ncsnpp, {which}", network, golden["probe_x"], (golden["probe_labels"],), golden[f"out_{which}"])
    for name, heads in HEADS.items():
        golden = load(f"networks/{name}")
        torch.save(weights_of(name), path)
        network = import_checkpoint(path, config=FLAGS | heads).network
        yield Case(name, network, golden["x"], (golden["t"], *([golden["y"]] if "y" in golden else [])), golden["out"])
    golden = load("networks/net_guided_classifier")
    torch.save(weights_of("net_guided_classifier"), path)
    classifier = import_classifier(path, {"num_head_channels": 16, "num_res_blocks": 1})
    v = torch.zeros_like(golden["out"]).scatter(1, golden["y"][:, None], 1.0) - golden["out"].softmax(1)
    yield Case("net_guided_classifier", classifier, golden["x"], (golden["t"],), golden["out"], None, v, golden["grad_logp_y"])
    golden = load("networks/net_ncsnv2")
    torch.save(weights_of("net_ncsnv2"), path)
    network = import_checkpoint(path, config={"image_size": 8}).network
    yield Case("net_ncsnv2", network, golden["x"], (golden["y"],), golden["out"], golden["out_f64"])
    golden = load("networks/net_edm_ddpmpp_vp")
    torch.save(weights_of("net_edm_ddpmpp_vp"), path)
    network = import_checkpoint(path, config=told("net_edm_ddpmpp_vp")).network
    yield Case("net_edm_ddpmpp_vp", network, golden["F_in"], (golden["c_noise"],), golden["F_out"])


def of_diffusers(scratch: Path) -> Iterator[Case]:
    """Cases of UNet2DModel with four sets of options and random weights, seed 0."""
    import diffusers

    diffusers.utils.logging.set_verbosity_error()

    for name, options in DIFFUSERS.items():
        torch.manual_seed(0)
        theirs = diffusers.UNet2DModel(**{"block_out_channels": (64, 128), "sample_size": 16} | options).eval()
        theirs.save_pretrained(scratch / name / "unet")
        diffusers.DDPMScheduler().save_pretrained(scratch / name / "scheduler")
        x, v = torch.randn(2, 3, 16, 16), torch.randn(2, theirs.config.out_channels, 16, 16)
        label = torch.tensor([0.5, 7.0]) if name == "ncsnpp" else torch.tensor([3, 977])
        arguments = (label, *([torch.tensor([1, 4])] if theirs.config.num_class_embeds else []))
        network = import_checkpoint(scratch / name).network
        y = {"class_labels": arguments[1]} if len(arguments) > 1 else {}
        held = [answer(theirs, x, (label,), v, dtype, **y) for dtype in (torch.float32, torch.float64)]
        (out, vjp), (out_f64, vjp_f64) = held
        yield Case(f"diffusers, {name}", network, x, arguments, out, out_f64, v, vjp, vjp_f64)


def answer(network: nn.Module, x: Tensor, arguments: tuple[Tensor, ...], v: Tensor | None, dtype: torch.dtype, **cond: Any) -> Any:
    """out and v^T d out / d x in a type, of a copy of the network: converting back would leave tables of sigmas rounded."""
    x = x.to(dtype).requires_grad_()
    out = copy.deepcopy(network).to(dtype)(x, *(a.to(dtype) if a.is_floating_point() else a for a in arguments), **cond)
    out = getattr(out, "sample", out)  # diffusers'
    vjp = None if v is None else torch.autograd.grad(out, x, v.to(dtype))[0]
    return out.detach().double(), vjp if vjp is None else vjp.double()


def deviation(ours: Tensor | None, theirs: Tensor | None, star: str = "") -> str:
    """The largest difference, relative to the largest entry, as text."""
    if ours is None or theirs is None:
        return "-"
    return f"{float((ours - theirs).abs().max() / theirs.abs().max()):.1e}{star}"


def main() -> None:
    """Print the table and write it."""
    warnings.simplefilter("ignore")  # whatever diffusers says of its own dependencies
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/parity.json"))
    args = parser.parse_args()
    rows = []
    print_row(WIDTHS, "network", "class", "out, f32", "out, f64", "grad, f32", "grad, f64")
    with tempfile.TemporaryDirectory() as scratch:
        for case in (*recorded(Path(scratch)), *of_diffusers(Path(scratch))):
            cells = []
            for dtype, out, vjp in ((torch.float32, case.out, case.vjp), (torch.float64, case.out_f64, case.vjp_f64)):
                star = "*" if dtype == torch.float64 else ""
                ours, gradient = answer(case.network, case.x, case.arguments, case.v, dtype)
                cells.append(deviation(ours, case.out, star) if out is None else deviation(ours, out))
                cells.append(deviation(gradient, case.vjp, star) if vjp is None else deviation(gradient, vjp))
            row = [case.name, type(case.network).__name__, *(cells[i] for i in (0, 2, 1, 3))]
            rows.append(row)
            print_row(WIDTHS, *row)
    save(args.out, {"environment": environment(), "rows": rows})


if __name__ == "__main__":
    main()
