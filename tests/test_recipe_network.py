"""CONTRIBUTING's recipe for a network, followed outside of the project: a class with a decorator, in a package of one's own."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import run
from models import load
from models.registry import NETWORKS, SHORT_NAMES

PATCH = """
import torch
from torch import nn

from models import network
from models.layers import NoiseEmbedding, zero_init


@network("patch")
class PatchTransformer(nn.Module):
    def __init__(self, shape, patch=2, width=64, depth=2, heads=4, outputs=1):
        super().__init__()
        channels, height, length = shape
        if height % patch or length % patch:
            raise ValueError(f"patches of {patch} do not divide {height}x{length}: choose another patch")
        self.embedding = NoiseEmbedding(width)
        self.first = nn.Conv2d(channels, width, patch, patch)
        self.places = nn.Parameter(torch.zeros(1, (height // patch) * (length // patch), width))
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(block, depth, enable_nested_tensor=False)
        self.last = zero_init(nn.ConvTranspose2d(width, outputs * channels, patch, patch))

    def forward(self, x, noise_label):
        h = self.first(x)
        tokens = h.flatten(2).mT + self.places + self.embedding(noise_label)[:, None]
        return self.last(self.body(tokens).mT.reshape(h.shape))
"""


@pytest.fixture
def forget(tmp_path, monkeypatch):
    """The package in the current folder, and a function after which it is as it is in a new process: not imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])  # which take seconds
    (tmp_path / "own_networks").mkdir()
    (tmp_path / "own_networks" / "__init__.py").write_text("from .patch import PatchTransformer\n")
    (tmp_path / "own_networks" / "patch.py").write_text(PATCH)
    kept = dict(NETWORKS), dict(SHORT_NAMES)

    def forget():
        for table, before in zip((NETWORKS, SHORT_NAMES), kept, strict=True):
            table.clear()
            table.update(before)
        for name in ("own_networks", "own_networks.patch"):
            sys.modules.pop(name, None)

    yield forget
    forget()


def test_a_network_of_ones_own_is_trained_saved_loaded_and_sampled(forget, monkeypatch):
    options = ["--config.network=own_networks:PatchTransformer(width=16, depth=1)", "--config.train.held_out=0"]
    assert run.main(["--sde", "vp", "--mode", "train", "--config.train.steps=4", "--workdir", "trained", *options]) == 0
    forget()
    with pytest.raises(ValueError, match="PatchTransformer, which no imported module registers: import the module of that class"):
        load("trained")
    assert "own_networks" not in sys.modules

    sample = ["--mode", "sample", "--workdir", "trained", "--num", "3", "--seed", "1", "--steps", "5", "--trust"]
    assert run.main([*sample, "--out", "by_the_config"]) == 0
    assert "own_networks" in sys.modules
    assert run.main([*sample, "--out", "by_the_registry"]) == 0
    assert np.array_equal(np.load("by_the_config.npy"), np.load("by_the_registry.npy"))

    forget()
    monkeypatch.syspath_prepend(".")
    importlib.import_module("own_networks")
    model = load("trained")
    assert model.network.arguments == {"shape": [1, 8, 8], "patch": 2, "width": 16, "depth": 1, "heads": 4, "outputs": 1}
    assert model(torch.ones(2, 1, 8, 8), 0.5).abs().sum() > 0  # trained: the last layer was 0


def test_what_its_constructor_refuses_is_reported_in_one_sentence(forget, capsys):
    assert run.main(["--config.network=own_networks.patch:PatchTransformer(patch=3)", "--dry-run"]) == 2
    assert "patches of 3 do not divide 8x8: choose another patch" in capsys.readouterr().err


def test_a_short_name_is_known_once_the_package_is_imported(forget, monkeypatch, capsys):
    assert run.main(["--config.network=patch", "--dry-run"]) == 2
    assert "network 'patch' is not known: use one of " in (told := capsys.readouterr().err) and "mlp" in told
    monkeypatch.syspath_prepend(".")
    importlib.import_module("own_networks")
    assert run.main(["--config.network=patch(width=16)", "--dry-run"]) == 0
    assert "PatchTransformer(shape=" in capsys.readouterr().out


def test_a_registered_network_of_a_run_with_classes_is_built_for_them(forget):
    """The config of the run says nothing of classes; the checkpoint does."""
    text = PATCH.replace("outputs=1):", "outputs=1, condition=0):").replace(
        "def forward(self, x, noise_label)", "def forward(self, x, noise_label, y=None)"
    )
    text = text.replace("self.last = zero_init", "self.of_class = nn.Embedding(condition, width)\n        self.last = zero_init")
    (Path("own_networks") / "patch.py").write_text(text)
    options = ["--config.network=own_networks:PatchTransformer(width=16, depth=1)", "--config.train.held_out=0"]
    train = ["--sde", "vp", "--mode", "train", "--data", "digits(classes=True)", "--config.train.steps=1", "--config.sample.num=2"]
    assert run.main([*train, "--workdir", "trained", "--config.likelihood.tolerance=1.0", *options]) == 0
    forget()
    assert run.main(["--mode", "sample", "--workdir", "trained", "--num", "2", "--steps", "2", "--trust"]) == 0
