"""Kills a training run again and again, at random moments, and holds what it leaves to a run that nobody disturbed.

python -m tests.kills --kills 200     # counts, and the moments at which the kills came
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

import torch
from safetensors import safe_open
from tqdm import tqdm

from models.files import read_metadata, read_tensors
from score_sde.config.config import find_config, override
from score_sde.config.experiment import assemble
from score_sde.runs import session

SETTINGS = {
    "network": "mlp(width=16, depth=1, dropout=0.1)",
    "train.steps": "150",
    "train.batch_size": "16",
    "train.log_every": "7",
    "train.save_every": "5",
    "train.keep": "3",
    "train.held_out": "32",
}


def experiment_of(seed: int, **settings: str):
    """A small experiment on digits and its config, to be trained in children alone, so that its weights stay as they begin."""
    config = find_config(None, "vp")
    for key, value in (SETTINGS | {key.replace("__", "."): value for key, value in settings.items()} | {"seed": str(seed)}).items():
        override(config, key, value)
    return assemble(config), config


def begin(experiment, config, folder: Path) -> int:
    """Train, or go on training, in a child; its process id. What it says goes into a file beside the folder."""
    pid = os.fork()
    if pid:
        return pid
    try:
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        session.train(experiment, config, folder, "cpu", resume=(folder / "config.json").exists())
        os._exit(0)
    except BaseException as error:
        os.write(2, f"\nchild failed: {error!r}\n".encode())
    os._exit(1)


def finish(experiment, config, folder: Path) -> None:
    """Train to the end, undisturbed."""
    _, status = os.waitpid(begin(experiment, config, folder), 0)
    if status:
        raise RuntimeError(f"training in {folder} failed:\n{folder.with_suffix('.log').read_text()[-2000:]}")


def contents(folder: Path) -> dict[str, object]:
    """What is in a run's folder, by name: tensors and metadata as checksums, rows without their times, the bytes of the rest."""
    found: dict[str, object] = {}
    for path in folder.iterdir():
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                tensors = {k: zlib.crc32(t.numpy().tobytes()) for k, t in read_tensors(path, file, file.keys()).items()}
                found[path.name] = tensors | read_metadata(path, file)
        elif path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[path.name] = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]
        else:
            found[path.name] = path.read_bytes()
    return found


def step_of(folder: Path) -> int:
    """The step of the state in a folder, -1 before there is one. Raises ValueError if it is damaged."""
    path = folder / "state.safetensors"
    if not path.exists():
        return -1
    with safe_open(path, framework="pt") as file:
        read_tensors(path, file, file.keys())
        return int(read_metadata(path, file)["step"])


def kill_and_compare(kills: int, scratch: Path, seed: int = 0, longest: float = 0.8) -> Counter:
    """Train run after run, each killed after random times until it ends; how many kills came when.

    Raises AssertionError when a run leaves another thing than its undisturbed twin, loses a state, or leaves a damaged one.
    """
    tqdm.monitor_interval = 0  # no thread that may hold the lock while the process forks
    tqdm.set_lock(threading.RLock())  # its own is shared with children, and one killed while it holds it would stop all that follow
    moments, chance, run = Counter(), random.Random(seed), 0
    warm = experiment_of(seed, train__steps="2")
    with contextlib.redirect_stderr(io.StringIO()):
        session.train(*warm, scratch / "warm", "cpu", resume=False)  # what is imported at its first use, once for all children
    while moments["kills"] < kills:
        experiment, config = experiment_of(seed + run)
        twin, folder = scratch / f"twin-{run}", scratch / f"killed-{run}"
        finish(experiment, config, twin)
        reached = -1
        while True:
            child = begin(experiment, config, folder)
            if moments["kills"] >= kills:
                break
            time.sleep(longest * chance.random() ** 3)  # many soon, few late
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            if os.WIFEXITED(status):  # it was at its end before; once more, which changes nothing
                assert status == 0, folder.with_suffix(".log").read_text()[-2000:]
                child = begin(experiment, config, folder)
                break
            moments["kills"] += 1
            moments["in the middle of writing"] += any(folder.glob(".*.tmp"))
            step = step_of(folder)
            moments["before anything was saved"] += step < 0
            moments["when all was saved"] += step == experiment.settings.steps
            assert step >= reached, f"the state went back from step {reached} to {step}"
            reached = step
        assert os.waitpid(child, 0)[1] == 0, folder.with_suffix(".log").read_text()[-2000:]
        one, other = contents(folder), contents(twin)
        assert one.keys() == other.keys(), one.keys() ^ other.keys()
        for name in one:
            assert one[name] == other[name], name
        moments["runs"] += 1
        run += 1
        shutil.rmtree(folder)
        shutil.rmtree(twin)
    return moments


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        found = kill_and_compare(arguments.kills, Path(scratch), arguments.seed)
    lines = [f"{count:6d} {what}" for what, count in found.items()]
    sys.stdout.write("\n".join([*lines, f"{time.perf_counter() - start:6.0f} s", ""]))
