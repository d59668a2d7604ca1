"""A run goes on with the data that it was begun with, and with no others."""

import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import run
from models import MLP
from models.checkpoint import read_header
from score_sde import fit
from score_sde.errors import UsageError
from score_sde.training.fingerprint import fingerprint_of_data
from sde_lib import VPSDE, Epsilon, Images, ScoreModel, Standardize
from tests.test_cli import TINY

RNG = np.random.default_rng(0)
MORE = ["--resume", "--config.train.steps=40"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])


def test_a_fingerprint_says_what_the_data_are():
    rows = RNG.integers(0, 9, (30, 2, 3)).astype(np.uint8)
    assert fingerprint_of_data(torch.from_numpy(rows), Images(10, 0.0, 10.0)) == (
        f"30 rows of (2, 3), uint8, 0 and 1 standing for 0.5 and 1.5, checksum {zlib.crc32(rows.tobytes()):08x}"
    )


def test_a_fingerprint_sees_what_has_changed(monkeypatch):
    rows = torch.from_numpy(RNG.normal(size=(3000, 7)))
    transform = Standardize.of(rows)
    known = fingerprint_of_data(rows, transform)
    assert known == fingerprint_of_data(
        rows.clone(), Standardize(transform.mean + 1e-12, transform.std - 1e-12)
    )  # another machine's sums
    other = rows.clone()
    other[1234, 3] += 1e-9
    classes = torch.arange(3000)
    changed = {
        "a row": fingerprint_of_data(other, transform),
        "order": fingerprint_of_data(rows.flip(0), transform),
        "number": fingerprint_of_data(rows[:-1], transform),
        "shape": fingerprint_of_data(rows[:, None], transform),
        "type": fingerprint_of_data(rows.float(), transform),
        "mean": fingerprint_of_data(rows, Standardize(transform.mean + 0.01, transform.std)),
        "classes": fingerprint_of_data(rows, transform, classes),
        "other classes": fingerprint_of_data(rows, transform, classes.flip(0)),
    }
    assert len({known, *changed.values()}) == len(changed) + 1
    monkeypatch.setattr("score_sde.training.fingerprint.BYTES", 100 * 7 * 8)
    known, other = fingerprint_of_data(rows, transform), rows.clone()
    other[-1] += 1
    assert fingerprint_of_data(other, transform) != known  # of what is large the last row is looked at too


def change(what):
    rows = np.load("a.npy")
    np.save("a.npy", rows + 1 if what == "mean" else np.concatenate([rows, rows[:20]]) if what == "rows" else rows[::-1])


@pytest.mark.parametrize("what", ["mean", "rows", "order"])
def test_a_run_does_not_go_on_with_other_data(capsys, what):
    np.save("a.npy", RNG.normal(size=(100, 4)))
    assert run.main([*TINY, "--data", "a.npy", "--config.train.batch_size=8", "--workdir", "run"]) == 0
    change(what)
    capsys.readouterr()
    assert run.main([*MORE, "--workdir", "run"]) == 2
    error = capsys.readouterr().err
    assert "was begun with data of 90 rows of (4,), float64, " in error and "train anew in another folder" in error
    assert read_header("run")["step"] == 30 and error.count("\n") == 1


def test_a_run_does_not_go_on_with_pictures_in_another_order(tmp_path, capsys):
    (tmp_path / "p").mkdir()
    for i in range(30):
        Image.fromarray(RNG.integers(0, 256, (4, 4), dtype=np.uint8)).save(f"p/{i:02d}.png")
    assert run.main([*TINY, "--data", "p", "--config.train.batch_size=8", "--workdir", "run"]) == 0
    (tmp_path / "p/00.png").rename(tmp_path / "p/99.png")
    assert run.main([*MORE, "--workdir", "run"]) == 2
    assert "was begun with data of 27 rows of (1, 4, 4), uint8" in capsys.readouterr().err


def test_a_run_goes_on_from_another_folder(tmp_path, monkeypatch):
    np.save("a.npy", RNG.normal(size=(100, 4)))
    assert run.main([*TINY, "--data", "a.npy", "--config.train.batch_size=8", "--workdir", "run"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert run.main([*MORE, "--workdir", "../run"]) == 0
    assert read_header(tmp_path / "run")["step"] == 40


def test_a_run_without_a_fingerprint_goes_on(tmp_path):
    np.save("a.npy", RNG.normal(size=(100, 4)))
    assert run.main([*TINY, "--data", "a.npy", "--config.train.batch_size=8", "--workdir", "run"]) == 0
    path = tmp_path / "run/state.safetensors"
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"step": "30"})
    change("mean")
    assert run.main([*MORE, "--workdir", "run"]) == 0
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["data"].startswith("90 rows of (4,), float64")


def test_fit_does_not_go_on_with_other_data():
    points = torch.from_numpy(RNG.normal(size=(50, 2))).float()

    def train(data, **more):
        model = ScoreModel(MLP((2,), width=8, depth=1), VPSDE(), Epsilon(), Standardize(0.0, 1.0))
        fit(model, data, steps=5, batch_size=8, folder="run", **more)

    train(points)
    with pytest.raises(UsageError, match=r"begun with data of 50 rows of \(2,\), float32.*and they are now 49 rows"):
        train(points[:49], resume=True)
