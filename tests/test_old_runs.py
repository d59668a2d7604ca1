"""A run that was trained before the application moved (tests/fixtures/run_4b134d5) loads, samples, scores and resumes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import run
from models import load
from score_sde.config.config import OLDER, restore

OLD = Path(__file__).parent / "fixtures" / "run_4b134d5"


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A copy of the old run's folder as it was when its training ended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])
    shutil.copytree(OLD, tmp_path / "old")
    return tmp_path / "old"


def test_an_old_run_gives_the_samples_that_it_gave(old):
    assert run.main(["--mode", "sample", "--workdir", "old", "--out", "again"]) == 0
    found, before = np.load("again.npy"), np.load(OLD / "samples.npy")
    assert found.dtype == before.dtype and (found == before).mean() > 0.99  # round-off can move a value over an edge


def test_an_old_run_gives_the_number_that_it_gave(old):
    assert run.main(["--mode", "likelihood", "--workdir", "old", "--out", "again"]) == 0
    found, before = (json.loads(path.read_text()) for path in (Path("again.json"), OLD / "likelihood.json"))
    assert found["bits_per_dim"] == pytest.approx(before["bits_per_dim"], abs=1e-4)


def test_an_old_run_goes_on_to_the_weights_that_it_went_on_to(old):
    assert run.main(["--mode", "train", "--workdir", "old", "--resume", "--config.train.steps=60"]) == 0
    found, before = load(old).network.state_dict(), load(OLD / "resumed.safetensors").network.state_dict()
    assert found.keys() == before.keys()
    assert all(torch.allclose(found[name], before[name], rtol=0, atol=1e-5) for name in found)


def test_a_config_without_the_newer_keys_has_what_such_runs_did(old):
    """The old run was trained with these very values, which its config still names."""
    config = json.loads((old / "config.json").read_text())
    config["train"] = {key: value for key, value in config["train"].items() if key not in OLDER}
    (old / "older.json").write_text(json.dumps(config))
    assert len(config["train"]) == 9
    assert restore(old / "older.json").to_dict() == restore(old / "config.json").to_dict()
