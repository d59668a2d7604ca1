"""Weights in shards: the numbers of one process, in half the memory, and the same files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import run
from models import MLP
from score_sde import fit
from score_sde.errors import UsageError
from sde_lib import VPSDE, DenoisingScoreMatching, Epsilon, Images, ScoreModel
from tests.test_parallel import ENVIRONMENT, OPTIONS, ROOT, killed_after_ten_steps, torchrun

SHARDED = [*OPTIONS, "--config.network=unet(channels=8, multipliers=(1, 2), blocks=1, attention=(1,))", "--config.train.steps=20"]
SHARDED += ["--config.train.save_every=10", "--config.train.look_every=10", "--config.train.ema_widths=(0.1,)"]


def test_one_process_has_no_shards(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--dry-run"], ["--workdir", "run"]):
        assert run.main([*OPTIONS, "--config.train.shard=True", *more]) == 2
        assert "start more with torchrun" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run.main([*OPTIONS, "--config.train.shard=True", "--dry-run"]) == 0
    assert run.main([*OPTIONS, "--config.train.batch_size=7", "--dry-run"]) == 2
    assert "2 processes need a multiple of 2" in capsys.readouterr().err
    model = ScoreModel(MLP((1, 8, 8), width=8, depth=1), VPSDE(), Epsilon(), Images(17))
    with pytest.raises(UsageError, match="start more with torchrun"):
        fit(model, torch.zeros(10, 1, 8, 8, dtype=torch.uint8), objective=DenoisingScoreMatching(), shard=True, folder="run")
    assert not list(tmp_path.iterdir())
    assert run.main([*OPTIONS, "--config.train.shard=True", "--config.train.channels_last=True"]) == 2
    assert "do not go together" in capsys.readouterr().err


@pytest.mark.slow
def test_networks_in_shards_answer_as_they_do_whole_and_each_process_holds_half():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "tests.sharded"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("holds 0.5") >= 30


@pytest.mark.slow
def test_a_training_in_shards_is_that_of_one_process(tmp_path, monkeypatch):
    """Weights, averages, samples, held-out losses and looks; and one process goes on where two with shards stopped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])
    command = torchrun(
        str(ROOT / "run.py"), *SHARDED, "--workdir", "two", "--config.train.shard=True", "--config.train.micro_batch=20"
    )
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert run.main([*SHARDED, "--workdir", "one"]) == 0
    for file in ("checkpoint", "checkpoint-10", "state", "averages/20"):
        one, two = (load_file(f"{folder}/{file}.safetensors") for folder in ("one", "two"))
        assert one.keys() == two.keys()
        assert all(torch.allclose(two[name].double(), one[name].double(), rtol=1e-3, atol=1e-5) for name in one), file
    samples = [np.load(f"{folder}/looks/20.npy") for folder in ("one", "two")]
    assert (samples[0] == samples[1]).mean() > 0.99
    rows = [[json.loads(line) for line in Path(f"{folder}/metrics.jsonl").read_text().splitlines()] for folder in ("one", "two")]
    for name in ("loss", "held_out", "look_bits_per_dim"):
        numbers = [{row["step"]: row[name] for row in part if row.get(name) is not None} for part in rows]
        assert numbers[0] and numbers[0] == pytest.approx(numbers[1], rel=1e-3)
    more = ["--resume", "--config.train.steps=30"]
    assert run.main([*more, "--workdir", "one"]) == 0
    assert run.main([*more, "--workdir", "two", "--config.train.shard=False"]) == 0
    one, two = (load_file(f"{folder}/checkpoint.safetensors") for folder in ("one", "two"))
    assert all(torch.allclose(two[name], one[name], rtol=1e-3, atol=1e-5) for name in one)


@pytest.mark.slow
def test_shards_of_a_run_that_was_killed_end_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = killed_after_ten_steps([*SHARDED, "--config.train.steps=60", "--config.train.shard=True"])
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
