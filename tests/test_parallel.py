"""One batch in parts, by one process or by several: the weights are those of the whole batch, to rounding."""

import dataclasses
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import run
from models import MLP
from models.checkpoint import read_header
from score_sde.data import Digits
from score_sde.training.ranks import Ranks
from score_sde.training.trainer import Trainer
from sde_lib import VPSDE, DenoisingScoreMatching, Epsilon, Images, ImportanceTime, LossAwareTime, ScoreModel
from sde_lib.tabulated import ddpm
from tests.test_training import SETTINGS

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
OPTIONS = [
    *("--sde", "vp", "--mode", "train", "--config.network=mlp(width=32, depth=1)"),
    *("--config.train.steps=40", "--config.train.log_every=10", "--config.train.save_every=20"),
    *("--config.sample.num=10", "--config.sample.batch_size=4"),
    "--config.sample.sampler=pc(predictor=dpm_solver(order=2), times=log_snr(steps=5, t_min=0.01))",
    "--config.likelihood.tolerance=0.05",
]


def trainer(folder, loss_aware=False, **settings):
    torch.manual_seed(0)
    sde = ddpm("cosine", 16) if loss_aware else VPSDE()
    model = ScoreModel(MLP((1, 8, 8), width=16, depth=1), sde, Epsilon(), Images(17))
    times = LossAwareTime(levels=16, history=2) if loss_aware else ImportanceTime()
    objective = DenoisingScoreMatching("likelihood", times)
    return Trainer(model, Digits().train, objective, dataclasses.replace(SETTINGS, **settings), 0, folder)


def trained(t):
    for _ in t.run():
        pass
    return torch.cat([p.detach().flatten() for p in t.average.module.parameters()])


@pytest.mark.quick("5-*", "32-*")
@pytest.mark.parametrize("loss_aware", [False, True])
@pytest.mark.parametrize("size", [1, 5, 16, 32, 100])
def test_micro_batches_change_nothing(tmp_path, size, loss_aware):
    whole = trained(trainer(tmp_path / "a", loss_aware))
    parts = trained(trainer(tmp_path / "b", loss_aware, micro_batch=size))
    assert torch.allclose(parts, whole, rtol=1e-3, atol=1e-5)


def test_the_cosine_falls_from_one_to_nothing():
    settings = dataclasses.replace(SETTINGS, steps=1000, warmup=10, schedule="cosine")
    rates = [settings.rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1, abs=1e-3) and rates[500] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(math.pi**2 / 4e6, rel=1e-3)
    assert all(a >= b for a, b in pairwise(rates[10:]))
    with pytest.raises(ValueError, match="'constant' or 'cosine' were needed"):
        dataclasses.replace(SETTINGS, schedule="linear")


def test_rows_of_two_processes_are_those_of_one():
    """What each of two processes draws, put together, is what one draws."""
    alone = trainer(Path("none"))
    both = [Trainer(alone.model, Digits().train, alone.objective, SETTINGS, 0, Path("none")) for _ in range(2)]
    for rank, part in enumerate(both):
        part.ranks = part.rows.ranks = Ranks(rank, 2)
    whole, halves = alone._batch(), [part._batch() for part in both]
    for i in range(3):
        assert torch.equal(torch.stack([half[i] for half in halves], 1).flatten(0, 1), whole[i])


def torchrun(*arguments):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    return [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port", port, "--", *arguments]


def weights(folder):
    return {name: value for name, value in load_file(Path(folder) / "checkpoint.safetensors").items() if name.startswith("ema/")}


@pytest.mark.slow
def test_two_processes_train_sample_and_score_as_one_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = torchrun(str(ROOT / "run.py"), *OPTIONS, "--config.name=two", "--config.train.micro_batch=20")
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("this model") == 1 and [p.name for p in Path("runs").iterdir()] == ["vp-two"]
    assert run.main([*OPTIONS, "--config.name=one"]) == 0
    one, two = weights("runs/vp-one"), weights("runs/vp-two")
    assert all(torch.allclose(two[name], one[name], rtol=1e-3, atol=1e-5) for name in one)
    numbers = [json.loads(Path(f"runs/vp-{name}/likelihood.json").read_text())["bits_per_dim"] for name in ("one", "two")]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-3)
    samples = [np.load(f"runs/vp-{name}/samples.npy") for name in ("one", "two")]
    assert samples[0].shape == samples[1].shape and (samples[0] == samples[1]).mean() > 0.99
    rows = [Path(f"runs/vp-{name}/metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    losses = [[row["loss"] for row in map(json.loads, lines) if "loss" in row] for lines in rows]
    assert len(losses[1]) == 4 and losses[0] == pytest.approx(losses[1], rel=1e-3)
    odd = subprocess.run(
        torchrun(str(ROOT / "run.py"), *OPTIONS, "--config.train.batch_size=33"), env=ENVIRONMENT, capture_output=True, text=True
    )
    assert odd.returncode != 0 and "2 processes need a multiple of 2" in odd.stderr


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = ["--config.train.steps=3000", "--config.train.save_every=100000"]
    running = subprocess.Popen(
        torchrun(str(ROOT / "run.py"), *OPTIONS, *more), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    metrics = Path("runs/vp-digits/metrics.jsonl")
    for _ in range(600):
        if metrics.exists() and metrics.read_text().count("\n") > 2:
            break
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    out = running.communicate(timeout=60)[0].decode()
    assert out.count("stopped at step") == 1, out
    assert run.main(["--mode", "train", "--resume", "--config.train.steps=3001", "--dry-run"]) == 0
    state = Path("runs/vp-digits/state.safetensors")
    assert state.exists() and not list(state.parent.glob(".*tmp"))


@pytest.mark.slow
def test_two_processes_that_were_killed_end_with_the_same_bits(tmp_path, monkeypatch):
    """Dropout, of which each process has its own, and laws of times that remember losses included."""
    monkeypatch.chdir(tmp_path)
    options = [*OPTIONS, "--config.network=mlp(width=32, depth=1, dropout=0.2)", "--config.train.save_every=10"]
    options += ["--config.sde=ddpm(schedule=cosine, steps=16)", "--config.sample.sampler=pc(predictor=ddim, times=table)"]
    options += ["--config.objective=dsm(times=loss_aware(levels=16, history=2))", "--config.train.steps=200"]
    one, two = killed_after_ten_steps(options)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def killed_after_ten_steps(options):
    """The last states of two runs of two processes, of which the second was killed after its first saves and begun again."""
    whole = subprocess.run(torchrun(str(ROOT / "run.py"), *options, "--workdir", "whole"), env=ENVIRONMENT, capture_output=True)
    assert whole.returncode == 0, whole.stderr
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    running = subprocess.Popen(torchrun(str(ROOT / "run.py"), *options, "--workdir", "killed"), env=ENVIRONMENT, **pipes)
    while not Path("killed/checkpoint-10.safetensors").exists() and running.poll() is None:
        time.sleep(0.002)
    for process in (running.pid, *children(running.pid)):
        os.kill(process, signal.SIGKILL)
    running.wait()
    assert 10 <= read_header("killed")["step"] < read_header("whole")["step"]
    command = torchrun(str(ROOT / "run.py"), "--resume", "--workdir", "killed")
    resumed = subprocess.run(command, env=ENVIRONMENT, capture_output=True)
    assert resumed.returncode == 0, resumed.stderr
    return [load_file(f"{folder}/state.safetensors") for folder in ("whole", "killed")]


def children(pid):
    """The processes that a process has started."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
