"""Data with classes: read, trained on, sampled and scored given a class."""

import dataclasses
import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import run
from likelihood import bits_per_dim
from models import UNet, load
from score_sde.data import Arrays, Digits, FashionMNIST, Folder
from score_sde.training.trainer import Trainer
from sde_lib import VPSDE, DenoisingScoreMatching, Images, ScoreModel, V
from tests.test_training import SETTINGS

TINY = [
    *("--config.network=unet(channels=8, multipliers=(1,), blocks=1, attention=())", "--config.train.steps=4"),
    *("--config.likelihood.tolerance=0.1", "--config.likelihood.batch_size=8"),
    *("--config.sample.sampler=pc(predictor=dpm_solver, times=log_snr(steps=4, t_min=0.01))", "--config.sample.num=6"),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])


def folder_of(root, names=("bright", "dark"), each=10, size=8):
    for name in names:
        Path(root, name, "deep").mkdir(parents=True)
        for i in range(each):
            value = 255 if name == "bright" else 0
            Image.new("L", (size, size), value).save(Path(root, name, "deep" if i % 2 else ".", f"{i}.png"))
    return str(root)


def test_folders_are_classes_in_the_order_of_their_names():
    data = Folder(folder_of("pictures"), classes=True)
    assert data.class_names == ["bright", "dark"]
    for rows, y in ((data.train, data.train_y), (data.test, data.test_y)):
        assert torch.equal(y, (rows[:, 0, 0, 0] == 0).long())
    other = Folder("pictures", test=folder_of("more", names=("dark",)), classes=True)
    assert other.test_y.tolist() == [1] * 10
    folder_of("strange", names=("grey",))
    with pytest.raises(ValueError, match="strange has a class 'grey', and those to train on are bright, dark"):
        Folder("pictures", test="strange", classes=True)
    for i in range(9):
        Path(f"tenth/{i // 5}").mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(f"tenth/{i // 5}/{i}.png")
    Path("tenth/zebra").mkdir()
    Image.new("L", (8, 8)).save("tenth/zebra/last.png")  # the tenth, which is held out
    with pytest.raises(ValueError, match="tenth has a class 'zebra', and those to train on are 0, 1"):
        Folder("tenth", classes=True)
    Image.new("L", (8, 8)).save("pictures/alone.png")
    with pytest.raises(ValueError, match="alone.png is in no subfolder of pictures"):
        Folder("pictures", classes=True)
    assert not hasattr(Folder("pictures"), "train_y")


def test_classes_of_digits_and_of_files():
    target = load_digits().target
    digits = Digits(classes=True)
    assert np.array_equal(torch.cat([digits.train_y, digits.test_y]), target)
    np.save("x.npy", load_digits().images.astype(np.uint8)), np.save("y.npy", target)
    arrays = Arrays(train="x.npy", train_y="y.npy")
    assert np.array_equal(arrays.train_y, target[: len(arrays.train)]) and len(arrays.test_y) == len(arrays.test)
    np.save("short.npy", target[:5])
    with pytest.raises(ValueError, match=r"short.npy holds torch.int64 of shape \(5,\), and classes 0, 1, ... of \(1797,\)"):
        Arrays(train="x.npy", train_y="short.npy")
    with pytest.raises(ValueError, match="test_y and a test file belong together"):
        Arrays(train="x.npy", test="x.npy", train_y="y.npy")


def test_classes_of_fashion_mnist():
    for which, n in (("train", 20), ("t10k", 10)):
        pictures = b"\x00\x00\x08\x03" + b"".join(k.to_bytes(4, "big") for k in (n, 28, 28)) + bytes(n * 784)
        Path(f"{which}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pictures))
        labels = b"\x00\x00\x08\x01" + n.to_bytes(4, "big") + bytes(i % 10 for i in range(n))
        Path(f"{which}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    data = FashionMNIST(".", classes=True)
    assert data.train_y.tolist() == [*range(10), *range(10)] and data.test_y.tolist() == [*range(10)]
    Path("t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels[:-1]))
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte.gz is not an idx file of labels"):
        FashionMNIST(".", classes=True)


def test_rows_keep_their_classes_through_every_order(tmp_path):
    """Row i is i everywhere, and so is its class."""
    data = torch.arange(50, dtype=torch.uint8)[:, None, None, None].expand(50, 1, 8, 8)
    model = ScoreModel(
        UNet((1, 8, 8), channels=8, multipliers=(1,), blocks=1, attention=(), condition=50), VPSDE(), V(), Images(64)
    )
    seen = []

    class Looking:
        times = DenoisingScoreMatching().times

        def __call__(self, model, x0, *, t, z, y):
            seen.append((model.data.decode(x0)[:, 0, 0, 0].tolist(), y.tolist()))
            return DenoisingScoreMatching()(model, x0, t=t, z=z, y=y)

    settings = dataclasses.replace(SETTINGS, steps=6, batch_size=20, micro_batch=7, held_out=10, save_every=3)
    y = torch.arange(50)
    for _ in Trainer(model, data, Looking(), settings, 0, tmp_path, data[:10], y=y, test_y=y[:10]).run():
        pass
    assert len(seen) == 6 * 3 + 2 and all(rows == classes for rows, classes in seen)


@pytest.mark.slow
def test_what_is_learned_of_a_class_is_told_by_its_class():
    """Each class is one picture of 17 levels, black or white: samples have the grey of their class, and a picture is
    likelier under its own class by far."""
    x = torch.tensor([0, 16], dtype=torch.uint8).repeat_interleave(100)[:, None, None, None].expand(200, 1, 8, 8)
    y = torch.arange(2).repeat_interleave(100)
    np.save("x.npy", x.numpy()), np.save("y.npy", y.numpy())
    options = ["--data", "arrays(train='x.npy', test='x.npy', train_y='y.npy', test_y='y.npy')", *TINY]
    options += ["--config.train.steps=300", "--config.train.learning_rate=0.002", "--config.train.ema=0.95"]
    assert run.main([*options, "--workdir", "run"]) == 0
    greys = np.load("run/samples.npy").mean((1, 2, 3))
    assert np.abs(greys - np.array([0, 16] * 3)).max() < 3
    assert run.main(["--mode", "sample", "--workdir", "run", "--classes", "1", "--num", "3", "--out", "ones"]) == 0
    assert np.abs(np.load("ones.npy").mean((1, 2, 3)) - 16).max() < 3
    model = load("run")
    codes = x[[0, -1]]
    bits = [
        bits_per_dim(model.sde, model.bind(y=classes), codes, images=model.data, tolerance=1e-2).mean
        for classes in (torch.tensor([0, 1]), torch.tensor([1, 0]))
    ]
    assert bits[0] < math.log2(17) < bits[1]
    kept = json.loads(Path("run/likelihood.json").read_text())
    assert kept["bits_per_dim"] < math.log2(17)


@pytest.mark.slow
def test_what_classes_cannot_do_is_told(capsys):
    classes = ["--data", "digits(classes=True)"]
    assert run.main([*classes, "--sde", "ncsn", "--config.network=ncsnv2(channels=4)", "--dry-run"]) == 2
    assert "NCSNv2 has no 'condition'" in capsys.readouterr().err
    assert run.main([*classes, "--config.likelihood.estimator=sde", "--dry-run"]) == 2
    assert "does not support classes, and these data have classes: use 'flow'" in capsys.readouterr().err
    assert run.main([*classes, *TINY, "--workdir", "run", "--config.likelihood.tolerance=1.0"]) == 0
    assert "10 classes: 0, 1, 2" in capsys.readouterr().out
    assert run.main(["--mode", "sample", "--workdir", "run", "--classes", "10"]) == 2
    assert "--classes 10: the model knows classes 0 to 9" in capsys.readouterr().err
    np.save("sorted.npy", np.zeros((40, 8, 8), dtype=np.uint8)), np.save("y.npy", np.arange(40) // 4)
    assert run.main(["--data", "arrays(train='sorted.npy', levels=2, train_y='y.npy')", "--dry-run"]) == 2
    assert "the test rows have a class 9, and those to train on have 9 classes" in capsys.readouterr().err
    np.save("mine.npy", np.zeros((2, 8, 8), dtype=np.uint8))
    assert run.main(["--mode", "likelihood", "--workdir", "run", "--data", "mine.npy"]) == 2
    assert "mine.npy has no classes, and the model needs the class of each row" in capsys.readouterr().err
