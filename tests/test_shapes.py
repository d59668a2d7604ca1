"""Data of any shape, integers and real numbers, each from a file on disk: trained on, sampled, scored and looked at."""

import json
from pathlib import Path

import numpy as np
import pytest

import run
from models import load

SMALL = "unet(channels=8, multipliers=(1, 2), blocks=1, attention=())"
CASES = [
    ((2,), "mlp(width=16, depth=1)", "npy", "first"),
    ((7, 3), "mlp(width=16, depth=1)", "npz", "first"),
    ((1, 28, 28), SMALL, "npy", "first"),
    ((3, 30, 46), SMALL, "pt", "first"),
    ((1, 12, 16, 16), SMALL, "h5", "first"),
    ((1, 1000), SMALL, "npy", "none"),  # signals of 1,000 points
    ((3, 8, 8), SMALL, "zarr", "last"),
]


def keep(path, array):
    kind = path.rsplit(".", 1)[1]
    if kind == "npy":
        np.save(path, array)
    elif kind == "npz":
        np.savez(path, data=array)
    elif kind == "pt":
        import torch

        torch.save(torch.from_numpy(array), path)
    elif kind == "h5":
        import h5py

        with h5py.File(path, "w") as file:
            file["data"] = array
    else:
        import zarr

        zarr.save(path, array)


@pytest.mark.slow
@pytest.mark.parametrize("real", [False, True], ids=["integers", "reals"])
@pytest.mark.parametrize(
    ("shape", "network", "kind", "channels"), CASES, ids=lambda value: str(value) if isinstance(value, tuple) else ""
)
def test_any_shape_trains_samples_and_scores(shape, network, kind, channels, real, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])
    rng = np.random.default_rng(0)
    rows = rng.normal(3.0, 2.0, (40, *shape)) if real else rng.integers(0, 256, (40, *shape))
    rows = rows.astype(np.float32 if real else np.uint8)
    on_disk = {"first": rows, "none": rows[:, 0], "last": np.moveaxis(rows, 1, -1)}[channels]
    keep(f"mine.{kind}", on_disk)
    data = f"--data=arrays(train='mine.{kind}', channels={channels})"
    settings = ["steps=4", "batch_size=8", "log_every=2", "save_every=2"]
    options = [f"--config.train.{setting}" for setting in settings]
    options += ["--config.sample.num=3", "--config.likelihood.tolerance=0.1"]
    assert run.main(["--mode", "inspect", data]) == 0
    assert ("number     log p in nats" in capsys.readouterr().out) == real
    assert run.main(["--mode", "train", data, f"--config.network={network}", "--steps", "5", *options]) == 0
    folder = Path("runs/vp-arrays")
    out = capsys.readouterr().out
    unit = "nats" if real else "bits_per_dim"
    record = json.loads((folder / "likelihood.json").read_text())
    assert np.isfinite(record[unit]) and ("nats" in out) == real and ("bits/dim" in out) == (not real)
    samples = np.load(folder / "samples.npy")
    assert samples.shape == (3, *shape) and samples.dtype == (np.float32 if real else np.uint8)
    np.save("test.npy", rows[-4:])
    assert run.main(["--mode", "sample", "--num", "2", "--out", "more"]) == 0
    # a batch of another size has the same noise, and its sums in the network round otherwise
    np.testing.assert_allclose(np.load("more.npy"), samples[:2], rtol=1e-4, atol=1e-4 if real else 1)
    batches = ["--num", "5", "--config.sample.batch_size=3", "--out", "five"]
    assert run.main(["--mode", "sample", *batches]) == 0
    assert np.array_equal(np.load("five.npy")[:3], samples)
    assert run.main(["--mode", "likelihood", "--data", "test.npy", "--out", "values"]) == 0
    again = np.load("values.npz")[unit]
    assert len(again) == 4 and again.mean() == pytest.approx(record[unit], rel=1e-6)
    assert load(folder).data is not None
