"""Time and memory of the networks, next to UNet2DModel of diffusers: eager and compiled, float32 and bfloat16.

    pip install diffusers
    OMP_NUM_THREADS=1 python benchmarks/networks.py [--batch 4] [--repeats 7] [--compile] [--only "same DDPM"] [--out FILE.json]

Networks whose names begin with "same" have the blocks and the imported weights of a network of diffusers. Before the timing, both
outputs are required to agree to 1e-4 of the largest entry. Networks whose names begin with "near" are DDPM++ and NCSN++ as
published for CIFAR-10. They are compared with the nearest network of diffusers: as many levels, blocks and attentions, and about
as many parameters.

forward is without gradients. both is forward and backward in training, without dropout. memory is the peak memory of tensors above
the memory before (weights and input), without the workspace of kernels. Compared networks take turns. A ratio is the median, with
quartiles, of the ratios of neighbouring runs. ours/diffusers has the same settings on both sides. ours/float32 compares the
settings with eager float32, both for ours.
"""

from __future__ import annotations

import argparse
import copy
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import environment, interleaved, print_row, save, spread, text, verdict
from models import NCSNpp, autocast, channels_last, recompute
from models.importers.diffusers import network_of, weights_of

try:
    from diffusers import UNet2DModel
except ImportError:
    sys.exit("this benchmark compares with diffusers, which is not installed: pip install diffusers")

LEVELS = (1, 2, 2, 2)
DDPM = {"flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6, "attention_head_dim": None, "downsample_padding": 0}
ADM = {"attention_head_dim": 64, "resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 32}
SKIP = {"time_embedding_type": "fourier", "norm_eps": 1e-6, "attention_head_dim": None, "mid_block_scale_factor": 2**0.5}
WITHIN = {"downsample_type": "resnet", "upsample_type": "resnet", "attention_head_dim": None}
Row = dict[str, Any]


class Mode(NamedTuple):
    """How a network is run."""

    name: str
    bf16: bool = False
    last: bool = False
    recomputed: bool = False
    compiled: bool = False


MODES = (
    Mode("float32"),
    Mode("float32, channels last", last=True),
    Mode("bfloat16", bf16=True),
    Mode("bfloat16, channels last", bf16=True, last=True),
    Mode("float32, blocks recomputed", recomputed=True),
    Mode("float32, compiled", compiled=True),
    Mode("bfloat16, compiled", bf16=True, compiled=True),
    Mode("bfloat16, channels last, compiled", bf16=True, last=True, compiled=True),
)


class Theirs(nn.Module):
    """UNet2DModel with a tensor as its output."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """The output of the network."""
        return self.network(x, label, return_dict=False)[0]


def of_diffusers(channels: int, size: int, blocks: int, word: str = "", **more: Any) -> Any:
    """UNet2DModel with attention at the second level. word is a part of the names of its blocks."""
    kinds = [f"{'Attn' * (i == 1)}{word}DownBlock2D" for i in range(len(LEVELS))]
    if more.get("downsample_type") == "resnet":  # which blocks with attention read, and others have as a name
        kinds = [kind if "Attn" in kind else "ResnetDownsampleBlock2D" for kind in kinds]
    ups = [kind.replace("Downsample", "Upsample").replace("DownBlock", "UpBlock") for kind in reversed(kinds)]
    sizes = tuple(channels * m for m in LEVELS)
    blocks_of: Row = {"down_block_types": tuple(kinds), "up_block_types": tuple(ups), "block_out_channels": sizes}
    return UNet2DModel(sample_size=size, in_channels=3, out_channels=3, layers_per_block=blocks, **blocks_of, **more)


def pairs(channels: int, size: int, blocks: int) -> dict[str, Callable[[], tuple[nn.Module, nn.Module, float]]]:
    """Our network, theirs, and the label that both are called with, by name."""

    def same(label: float, **more: Any) -> tuple[nn.Module, nn.Module, float]:
        theirs = randomized(of_diffusers(channels, size, min(blocks, 2), **more))
        ours = network_of(dict(theirs.config))
        ours.load_state_dict(weights_of(theirs.state_dict(), ours))
        return ours, Theirs(theirs), label

    def near(label: float, ours: dict[str, Any], **more: Any) -> tuple[nn.Module, nn.Module, float]:
        network = NCSNpp((3, size, size), channels, LEVELS, blocks, dropout=0.0, **ours)
        return randomized(network), Theirs(randomized(of_diffusers(channels, size, blocks, **more))), label

    ncsnpp = {"embedding": "fourier", "fir": (1, 3, 3, 1), "progressive_input": "residual", "scale_by_sigma": True}
    return {
        "same DDPM": lambda: same(300.0, **DDPM),
        "same ADM": lambda: same(300.0, **ADM),
        "same NCSN++": lambda: same(1.5, word="Skip", **SKIP),
        "near DDPM++": lambda: near(300.0, {}, **WITHIN),
        "near NCSN++": lambda: near(1.5, ncsnpp, word="Skip", **SKIP),
    }


def randomized(network: Any) -> Any:
    """A network with random weights added, because the outputs of initial weights are 0."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network


def ready(network: nn.Module, mode: Mode) -> nn.Module:
    """A copy of a network, ours or theirs, prepared for a mode."""
    network = copy.deepcopy(network)
    if mode.last:
        channels_last(network)
    if mode.recomputed and isinstance(network, Theirs):
        network.network.enable_gradient_checkpointing()
    elif mode.recomputed:
        recompute(network)
    called: Any = torch.compile(network) if mode.compiled else network
    return autocast(called) if mode.bf16 else called


def once(network: nn.Module, x: Tensor, label: Tensor, both: bool) -> Callable[[], None]:
    """A forward pass, or with both a forward and a backward pass, as a function to be timed."""
    network.train(both)

    def run() -> None:
        with torch.set_grad_enabled(both):
            out = network(x, label)
            if both:
                out.square().mean().backward()
                network.zero_grad(set_to_none=True)
        if x.is_cuda:
            torch.cuda.synchronize()

    return run


def peak(run: Callable[[], None], device: str) -> float:
    """The peak memory of tensors in MiB, above the memory before."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most / 2**20


def measure(name: str, networks: Sequence[nn.Module], modes: Sequence[Mode], x: Tensor, label: Tensor, repeats: int) -> list[Row]:
    """The rows of the table for one pair of networks."""
    rows = []
    for both in (False, True):
        torch._dynamo.reset()
        chosen = [mode for mode in modes if both or not mode.recomputed]
        runs = [once(ready(network, mode), x, label, both) for mode in chosen for network in networks]
        ms = interleaved(runs, repeats) * 1e3
        for i, mode in enumerate(chosen):
            ours, theirs = ms[:, 2 * i], ms[:, 2 * i + 1]
            memory = [peak(run, str(x.device)) for run in runs[2 * i : 2 * i + 2]]
            row: Row = {"network": name, "pass": "both" if both else "forward", "mode": mode.name, "memory_mib": memory}
            row |= {"ours_ms": spread(ours), "diffusers_ms": spread(theirs), "ratio": spread(ours / theirs)}
            row |= {"to_float32": spread(ours / ms[:, 0])}
            times = (text(row["ours_ms"], 0), text(row["ratio"], 2), verdict(row["ratio"]["median"] <= 1))
            cells = (*times, text(row["to_float32"], 2), f"{memory[0]:.0f}", f"{memory[0] / memory[1]:.2f}")
            print_row(WIDTHS, name, row["pass"], mode.name, *cells)
            rows.append(row)
    return rows


WIDTHS = (12, 8, 34, 20, 19, 9, 19, 8, 14)


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=128, help="of the first level; fewer than 128 leave out 'same NCSN++'")
    parser.add_argument(
        "--blocks", type=int, default=4, help="in each level of DDPM++ and NCSN++ (8: deep), of the others at most 2"
    )
    parser.add_argument("--size", type=int, default=32, help="of the images")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes and a compiler")
    parser.add_argument("--only", nargs="+", help="pairs, by name")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/networks.json"))
    args = parser.parse_args()
    found = environment("diffusers") | {"device": args.device, "command": shlex.join(sys.argv)}
    if args.device.startswith("cuda"):
        found |= {"device": torch.cuda.get_device_name()}
    print(f"{found['device']}, seed {args.seed}: {found['command']}\nbatch {args.batch} of 3x{args.size}x{args.size}")
    table, parameters, rows = pairs(args.channels, args.size, args.blocks), {}, []
    names = args.only or [name for name in table if args.channels >= 128 or name != "same NCSN++"]
    print_row(
        WIDTHS, "network", "pass", "settings", "ours, ms", "ours/diffusers", "bar <= 1", "ours/float32", "MiB", "MiB/diffusers"
    )
    for name in names:
        torch.manual_seed(args.seed)
        ours, theirs, value = table[name]()
        x = torch.randn(args.batch, 3, args.size, args.size).to(args.device)
        label = torch.full((args.batch,), value, device=args.device)
        networks = [network.to(args.device).eval() for network in (ours, theirs)]
        parameters[name] = [sum(p.numel() for p in network.parameters()) for network in networks]
        print(f"{name}: {parameters[name][0]:,} parameters, {parameters[name][1]:,} in diffusers")
        if name.startswith("same"):
            with torch.no_grad():
                a, b = networks[0](x, label), networks[1](x, label)
            error = float((a - b).abs().max() / b.abs().max())
            print(f"    outputs differ by {error:.1e} of the largest entry")
            assert error < 1e-4, f"{name}: outputs differ by {error:.1e} of the largest entry, and what is timed is not the same"
        modes = [mode for mode in MODES if args.compile or not mode.compiled]
        rows += measure(name, networks, modes, x, label, args.repeats)
    save(args.out, {"environment": found, "seed": args.seed, "parameters": parameters, "rows": rows})


if __name__ == "__main__":
    main()
