"""Flags that several commands share. A flag of one command alone is defined in that command's file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from configs.names import NAMES

__all__ = ["add_config", "add_device", "add_dry_run", "add_out", "add_process", "add_sampler", "add_seed", "add_workdir"]


def _names(kind: str) -> str:
    return ", ".join(NAMES[kind])


def add_process(parser: argparse.ArgumentParser) -> None:
    """Add --sde."""
    parser.add_argument("--sde", help=f"the process: {_names('sde')}, or my_package:MySDE; with arguments: 'vp(beta_max=10.0)'")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose a config and change it; `config_of` reads them."""
    parser.set_defaults(seed=None)
    add_process(parser)
    parser.add_argument(
        "--config",
        help="a config of configs/, a published experiment, such as ve_cifar10_ncsnpp_continuous (docs/presets.md), or a .py file "
        "with get_config() (default: the config of the process)",
    )
    parser.add_argument(
        "--data",
        help="a folder of pictures, a .npy, .npz, .pt, .h5, .zarr or idx file, CIFAR-10's archive, a data set such as "
        f"{_names('data')}, or my_package:MyData",
    )
    parser.add_argument("--objective", help=f"{_names('objective')}, or with arguments: 'dsm(weighting=min_snr, times=importance)'")
    parser.add_argument("--weighting", help=f"the weighting of dsm: {_names('objective.weighting')}")
    parser.add_argument("--parameterization", help=f"what the network predicts: {_names('parameterization')}")
    parser.add_argument("--schedule", help=f"of vp and subvp: {_names('sde.beta')}; of ddpm: {_names('sde.schedule')}")
    add_sampler(parser)


def add_sampler(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose a sampler; `choose_sampler` reads them."""
    parser.add_argument("--sampler", help=f"{_names('sampler')}, or with arguments: 'pc(predictor=heun, times=karras(steps=18))'")
    parser.add_argument("--predictor", help=f"the predictor of pc: {_names('sampler.predictor')}, or my_package:Mine")
    parser.add_argument("--corrector", help=f"the corrector of pc: {_names('sampler.corrector')}; alone, or after a --predictor")
    parser.add_argument("--times", help=f"the grid of pc: {_names('sampler.times')}")
    parser.add_argument("--steps", type=int, help="how many steps the sampler takes")


def add_workdir(parser: argparse.ArgumentParser) -> None:
    """Add --workdir; `config_of_run` reads it."""
    parser.set_defaults(seed=None)
    parser.add_argument("--workdir", type=Path, help="the run's folder (default: a new one in runs/, or the newest of the process)")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="build the classes of others' packages that the run's folder names, which run their code",
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add --seed."""
    parser.add_argument("--seed", type=int, help="seed of samples and likelihoods (default: the config's)")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument("--device", help="cpu, cuda or cuda:1; it must have float64 (default: cuda where there is one)")


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add --dry-run."""
    parser.add_argument("--dry-run", action="store_true", help="print what would be used, and stop")


def add_out(parser: argparse.ArgumentParser, *, default: str, formats: Sequence[str] = ()) -> None:
    """Add --out, and --format for a command that writes several formats."""
    parser.add_argument(
        "--out", type=Path, help=f"where results go: this path, with the ending of each format (default: {default})"
    )
    if formats:
        parser.add_argument("--format", nargs="+", choices=formats, default=(), help="formats of samples (default: npy and grid)")
