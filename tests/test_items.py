"""Data sets of one's own: classes in the current folder, and map-style Datasets of torch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import run
from score_sde.config.data_sets import data_set
from score_sde.data.items import Items
from score_sde.errors import UsageError
from sde_lib import Images

RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 256, (40, 12, 10, 3), dtype=np.uint8)
ROWS = torch.from_numpy(CODES).movedim(3, 1)
ON_WHITE = torch.where(ROWS[:, :1] > 99, ROWS, 255)
MODULE = """
import numpy as np
from torch.utils.data import Dataset

class Mine(Dataset):
    def __init__(self, rows=40):
        self.rows = rows
    def __len__(self):
        return self.rows
    def __getitem__(self, i):
        return np.full((1, 4, 4), i % 3, np.uint8), "a label"

class Neither:
    pass

class WithoutLevels:
    train = test = np.zeros((9, 2))
    class transform:
        def dequantize(raw, u):
            return raw
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["--dry-run", "--mode=inspect", "--mode=suggest"])
def test_a_class_in_the_current_folder_is_found(tmp_path, mode):
    """By a run.py in another."""
    (tmp_path / "own_data.py").write_text(MODULE)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, run.__file__, "--sde", "vp", "--data", "own_data:Mine", "--config.network=mlp", mode]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "levels=3" in done.stdout or "levels 0 to 2" in done.stdout


@pytest.mark.parametrize(
    ("items", "rows", "levels"),
    [
        (list(CODES), ROWS, 256),
        ([(array, i) for i, array in enumerate(CODES)], ROWS, 256),
        ([(Image.fromarray(array), 3) for array in CODES], ROWS, 256),
        ([Image.fromarray(array).convert("RGBA") for array in CODES], ROWS, 256),
        ([Image.fromarray(array[..., 0]) for array in CODES], ROWS[:, :1], 256),
        ([Image.fromarray(array[..., 0] > 99) for array in CODES], (ROWS[:, :1] > 99).byte(), 2),
        ([Image.fromarray(array[..., 0].astype(np.uint16) * 256) for array in CODES], ROWS[:, :1].int() * 256, 65536),
        ([Image.fromarray(array[..., 0].astype(np.int32) * 256) for array in CODES], ROWS[:, :1].int() * 256, 65536),
        ([Image.fromarray(np.dstack([array, (array[..., 0] > 99) * np.uint8(255)])) for array in CODES], ON_WHITE, 256),
        (list(ROWS), ROWS, 256),
        ([array.astype(np.uint16) for array in CODES[..., 0]], ROWS[:, :1].int(), 256),
    ],
)
@pytest.mark.parametrize("small", [1 << 30, 100])
def test_items_become_rows(monkeypatch, items, rows, levels, small):
    monkeypatch.setattr("score_sde.data.reading.SMALL", small)
    data = Items(items, "mine")
    assert torch.equal(data.train, rows[:36]) and torch.equal(data.test, rows[36:]) and data.train.dtype == rows.dtype
    assert data.transform == Images(levels)
    assert len(list(Path("runs/data").glob("[!.]*"))) == (small == 100)


def test_items_of_real_numbers_are_made_standard():
    real = torch.from_numpy(RNG.normal(5, 3, (40, 2, 6)))
    data = Items([(row, 0) for row in real], "mine")
    assert torch.equal(data.train, real[:36]) and data.transform.mean == pytest.approx(real.mean().item())


def test_large_items_are_decoded_once(monkeypatch):
    monkeypatch.setattr("score_sde.data.reading.SMALL", 100)
    asked = []

    class Counted:
        def __len__(self):
            return len(CODES)

        def __getitem__(self, i):
            asked.append(i)
            return CODES[i]

    Items(Counted(), "mine")
    asked.clear()
    again = Items(Counted(), "mine")
    assert len(asked) < 20 and torch.equal(again.train, ROWS[:36])


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (list(CODES[:9]), "it has 9 items, and at least ten were needed"),
        ([*CODES, CODES[0, :5]], r"item 40 has shape \(5, 10, 3\) and type uint8, and item 0 \(12, 10, 3\) and uint8"),
        ([{"image": array} for array in CODES], "an item is a dict, and a tensor, an array or a picture was needed"),
        ([(3, array) for array in CODES], "an item is a int"),
    ],
)
def test_items_that_cannot_be_rows_are_refused(items, words):
    with pytest.raises(ValueError, match=words):
        Items(items, "mine")


def test_random_items_are_refused():
    class Random:
        def __len__(self):
            return 40

        def __getitem__(self, i):
            return torch.randn(3)

    with pytest.raises(ValueError, match="its first item changes each time it is read"):
        Items(Random(), "mine")


def test_objects_that_are_no_data_set_are_refused(tmp_path, monkeypatch):
    (tmp_path / "own_too.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="train, test, and Images or Standardize as its transform was needed, or a torch Dataset"):
        data_set("own_too:Neither")
    with pytest.raises(UsageError, match="train, test, and Images or Standardize as its transform was needed"):
        data_set("own_too:WithoutLevels")
    with pytest.raises(UsageError, match=r"config.data is 'own_too:Mine\(rows=4\)', which was refused: it has 4 items"):
        data_set("own_too:Mine(rows=4)")
