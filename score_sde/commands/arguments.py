"""The flags of the command line, and which of them belong to which mode."""

from __future__ import annotations

import argparse
from pathlib import Path

from score_sde.errors import Usage

__all__ = ["overrides_of", "parser", "refuse_strangers", "refuse_unused"]

FORMATS = ("npy", "npz", "grid", "png", "gif")
MODES = ("train", "sample", "likelihood", "dequantize", "certify", "describe", "suggest", "inspect", "import")
PARTS = ("objective", "weighting", "parameterization", "schedule")
SAMPLER = ("sampler", "predictor", "corrector", "times", "steps")


def parser() -> argparse.ArgumentParser:
    """All flags of all modes."""
    parser = argparse.ArgumentParser(
        description="Train, sample and score models of score-based diffusion.",
        epilog="Any key of the config can be set: --config.train.steps=200. --dry-run shows what a config builds.",
        allow_abbrev=False,
    )
    parser.add_argument("--mode", choices=MODES, default="train", help="what to do (default: train)")
    parser.add_argument(
        "--sde", help="the process: vp, subvp, ve, flow, karras, geometric, ddpm, ncsn, or my_package:MySDE; 'vp(beta_max=10.0)'"
    )
    parser.add_argument("--objective", help="dsm, vlb, hybrid, or with arguments: 'dsm(weighting=min_snr, times=importance)'")
    parser.add_argument("--weighting", help="of dsm: sigma2, likelihood, x0, v, previous, min_snr, edm")
    parser.add_argument("--parameterization", help="epsilon, data, score, v, velocity, edm, previous, 'with_variance(of=epsilon)'")
    parser.add_argument("--schedule", help="of vp and subvp: linear, cosine; of ddpm: linear, quadratic, sigmoid, cosine")
    parser.add_argument("--sampler", help="pc, flow, torchsde, or with arguments: 'pc(predictor=heun, times=karras(steps=18))'")
    parser.add_argument(
        "--predictor", help="of pc: reverse_diffusion, ancestral, ddim, dpm_solver, unipc, heun, my_package:Mine, ..."
    )
    parser.add_argument("--corrector", help="of pc: langevin, annealed, unadjusted, metropolis; alone, or after a --predictor")
    parser.add_argument("--times", help="the grid of pc: uniform, quadratic, log_snr, karras, table, respaced")
    parser.add_argument("--steps", type=int, help="how many steps the sampler takes")
    parser.add_argument(
        "--config",
        help="a config of configs/, a published experiment, such as ve_cifar10_ncsnpp_continuous (docs/presets.md), or a .py file "
        "with get_config() (default: that of the process)",
    )
    parser.add_argument("--workdir", type=Path, help="the run's folder (default: a new one in runs/, or the newest of the process)")
    parser.add_argument("--resume", action="store_true", help="go on with the training in --workdir, or with the newest run")
    parser.add_argument("--num", type=int, help="how many samples")
    parser.add_argument(
        "--classes", type=int, nargs="+", default=(), help="of samples, in turn (default: all that the model knows)"
    )
    parser.add_argument("--seed", type=int, help="seed of samples and likelihoods (default: the config's)")
    parser.add_argument(
        "--out", type=Path, help="where results go: this path, with the ending of each format (default: in the run's folder)"
    )
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=(), help="of samples; default: npy and grid")
    parser.add_argument(
        "--data",
        help="what to train on, or to score instead of the run's own: a folder of pictures, a .npy, .npz, .pt, .h5, .zarr or idx "
        "file, CIFAR-10's archive, a data set such as fashion_mnist or 'toy(name=ring)', or my_package:MyData",
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="another project's checkpoint, or diffusers' folder"
    )
    parser.add_argument(
        "--family", help="where it is from: score_sde, ncsn, improved-diffusion, guided-diffusion, diffusers, edm (default: found)"
    )
    parser.add_argument(
        "--options", help="what its weights do not show (docs/checkpoints.md): a JSON file, or '{\"num_heads\": 4}'"
    )
    parser.add_argument("--split", choices=("train", "test"), help="which part of a data set to score (default: test)")
    parser.add_argument("--target-error", type=float, help="spend on probes, draws and tolerance until the mean is this exact")
    parser.add_argument("--device", help="cpu, cuda or cuda:1; it must know float64 (default: cuda where there is one)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be used, and stop")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def overrides_of(parser: argparse.ArgumentParser, rest: list[str]) -> list[tuple[str, str]]:
    """--config.key=value or --config.key value, as pairs."""
    pairs, rest = [], list(rest)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--config."):
            parser.error(f"{word!r} is not known; see --help")
        key, equals, value = word.removeprefix("--config.").partition("=")
        if not equals:
            if not rest:
                parser.error(f"{word} needs a value: {word}=...")
            value = rest.pop(0)
        pairs.append((key, value))
    return pairs


def refuse_unused(arguments: argparse.Namespace) -> None:
    """A flag that the mode has no use for is a mistake."""
    new = {"sde", "config", "data", *PARTS, *SAMPLER}
    run = {"sde", "workdir", "seed", "device", "dry_run"}
    used: dict[str, set[str]] = {
        "train": new | run | {"resume"},
        "sample": run | {"num", "classes", "out", "format", *SAMPLER},
        "likelihood": run | {"out", "data", "split", "target_error"},
        "dequantize": run | {"steps"},
        "certify": {"sde", "predictor", "corrector", "out"},
        "describe": new | {"out", "seed", "dry_run"},
        "suggest": new,
        "inspect": new | {"out", "dry_run"},
        "import": {"source", "family", "options", "out"},
    }
    for flag in sorted(set().union(*used.values())):
        value = getattr(arguments, flag)
        if value is not None and value is not False and value != () and flag not in used[arguments.mode]:
            modes = " and ".join(mode for mode in MODES if flag in used[mode])
            name = {"source": "from"}.get(flag, flag.replace("_", "-"))
            raise Usage(f"--{name} belongs to --mode {modes}, and --mode {arguments.mode} has no use for it")
    if arguments.mode == "import" and arguments.source is None:
        raise Usage("--mode import needs --from, another project's checkpoint")
    for flag in ("config", "data", *PARTS, *SAMPLER):
        if arguments.resume and getattr(arguments, flag) is not None:
            raise Usage(f"--resume goes on with the config in the run's folder, and has no use for --{flag}")


def refuse_strangers(flags: argparse.ArgumentParser) -> None:
    """Refuse to run beside a `models` that is not ours: it is a name that other folders have too."""
    import models

    found, here = Path(models.__file__ or "").resolve(), Path(__file__).resolve().parents[2]
    if not found.is_relative_to(here):
        flags.error(f"'models' was found at {found}, which is not part of this project: run from another folder")
