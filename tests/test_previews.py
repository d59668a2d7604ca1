"""What is logged and drawn while a model trains."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import run
from likelihood import bits_per_dim
from models import load
from score_sde.data import Digits
from score_sde.evaluation.figures import loss_curve, scatter
from tests.test_cli import TINY

LOOKING = [*TINY, "--config.train.look_every=10", "--config.train.tensorboard=True", "--config.train.save_every=10"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])


def rows(folder="run"):
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def on_the_board(folder="run"):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(f"{folder}/tensorboard")
    found.Reload()
    points = [((name, event.step), event.value) for name in found.Tags()["scalars"] for event in found.Scalars(name)]
    assert len(dict(points)) == len(points)
    return dict(points)


@pytest.mark.slow
def test_previews_are_saved_and_change_nothing():
    """The last one is of the weights that the run ends with: its number is theirs, computed here."""
    pytest.importorskip("tensorboard")
    assert run.main([*LOOKING, "--workdir", "run"]) == 0
    looks = {row["step"]: row for row in rows() if "look_error" in row}
    assert list(looks) == [10, 20, 30]
    assert sorted(p.name for p in Path("run/looks").iterdir()) == sorted(
        f"{step}.{kind}" for step in looks for kind in ("npy", "png")
    )
    model = load("run")
    data = Digits()
    truth = bits_per_dim(model.sde, model, data.test[:64], images=model.data, tolerance=0.05)
    assert looks[30]["look_bits_per_dim"] == pytest.approx(truth.mean, rel=1e-9)
    assert looks[30]["look_error"] == pytest.approx(truth.standard_error, rel=1e-9)
    assert Path("run/loss.png").stat().st_size > 10_000
    assert run.main([*TINY, "--config.train.save_every=10", "--workdir", "plain"]) == 0
    assert not Path("plain/looks").exists() and not Path("plain/tensorboard").exists()
    for one, other in zip(model.network.parameters(), load("plain").network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_tensorboard_shows_the_metrics_once_after_a_run_went_on():
    """Stopped after what it goes on from, it logs steps again."""
    assert run.main([*LOOKING, "--workdir", "run"]) == 0
    whole = rows()
    Path("run/state.safetensors").unlink(), Path("run/checkpoint.safetensors").unlink()  # the ones before serve
    assert run.main(["--resume", "--workdir", "run"]) == 0
    kept = ("loss", "held_out", "look_bits_per_dim", "look_error")
    numbers = {(name, row["step"]): row[name] for row in rows() for name in kept if name in row}
    assert numbers == {(name, row["step"]): row[name] for row in whole for name in kept if name in row}
    assert {place: value for place, value in on_the_board().items() if place[0] in kept} == pytest.approx(numbers, rel=1e-6)


def test_a_missing_tensorboard_is_reported_before_training(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert run.main([*LOOKING, "--workdir", "run"]) == 2
    assert "pip install tensorboard" in capsys.readouterr().err
    assert not Path("run/config.json").exists()


def coloured(path, channel):
    """Where a picture is not grey, and most of it the colour of a channel."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return (pixels.argmax(-1) == channel) & (pixels.max(-1) - pixels.min(-1) > 40)


def test_a_single_preview_is_a_point_of_the_curve(tmp_path):
    rows = [
        {"step": 10, "loss": 3.0},
        {"step": 20, "loss": 2.0},
        {"step": 30, "loss": 1.7, "held_out": 1.9, "held_out_error": None},
    ]
    loss_curve(rows, tmp_path / "loss.png")
    red = coloured(tmp_path / "loss.png", 0)
    assert red[150:, 600:].sum() > 10  # below the legend
    loss_curve(rows[:1], tmp_path / "one.png")
    assert coloured(tmp_path / "one.png", 2)[100:].sum() > 10
    loss_curve([{"step": n, "loss": 2.0 + n % 2} for n in range(500)], tmp_path / "many.png")


@pytest.mark.parametrize(("count", "least"), [(64, 40), (1000, 5), (20_000, 1)])
def test_points_of_a_plane_are_drawn(count, least, tmp_path):
    """So many pixels each at least, where points are far enough apart to be told from each other."""
    side = round(count**0.5)
    line = torch.linspace(-1, 1, side)
    scatter(torch.cartesian_prod(line, line), tmp_path / "samples.png")
    assert coloured(tmp_path / "samples.png", 2).sum() > least * side**2
