"""Checkpoints whose headers claim more than their tensors hold: refused before memory is taken, in little time."""

import json
import random
import resource
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from models import MLP, load, network, save
from models.building import build_to_fit
from models.checkpoint import read_header
from models.files import write_tensors
from models.registry import NETWORKS, SHORT_NAMES
from score_sde.training.dequantizer import save_dequantizer, variational
from sde_lib import VPSDE, Epsilon, Images, ScoreModel
from tests.laws.test_networks import EVERY

HUGE = [
    ("MLP", {"width": 20_000}),
    ("MLP", {"depth": 30_000}),
    ("MLP", {"depth": 1_000_000}),
    ("MLP", {"depth": 10**12}),
    ("MLP", {"width": 10**18}),
    ("MLP", {"shape": [10**6, 10**6]}),
    ("UNet", {"shape": [1, 8, 8], "channels": 50_000}),
    ("UNet", {"shape": [1, 8, 8], "blocks": 1_000_000}),
    ("NCSNpp", {"shape": [3, 32, 32], "channels": 20_000}),
    ("NCSNv2", {"shape": [3, 32, 32], "channels": 4, "levels": 10**9}),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def small():
    return ScoreModel(MLP((2, 2), width=8), VPSDE(), Epsilon(), Images(4))


def with_network(name, arguments):
    """A small checkpoint that says of itself that it holds another network."""
    save(small(), "good.safetensors", shape=(2, 2))
    header = read_header("good.safetensors")
    given = header["network"]["arguments"] if name == "MLP" else {}
    return header | {"network": {"name": name, "arguments": given | arguments}}


def rewritten(header, source="good.safetensors"):
    with safe_open(source, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    write_tensors("bad.safetensors", tensors, {"format": "sde-score-model", "version": "1", "model": json.dumps(header)})


def peak():
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize(("name", "arguments"), HUGE, ids=str)
def test_a_small_file_takes_little_memory_and_time(name, arguments):
    rewritten(with_network(name, arguments))
    before, start = peak(), time.perf_counter()
    with pytest.raises(ValueError, match=r"bad.safetensors (do not fit|describes what)|in bad.safetensors do not fit"):
        load("bad.safetensors")
    assert peak() - before < 200 << 20 and time.perf_counter() - start < 5


@pytest.mark.parametrize("arguments", [{"width": 20_000}, {"depth": 10**9}, {"shape": [10**6, 10**6]}, {"width": "x"}])
def test_a_dequantizer_s_file_takes_little_memory_and_time(arguments):
    net = MLP((2, 2), width=8, outputs=2)
    net.arguments = net.arguments | arguments
    save_dequantizer(net, Path("d.safetensors"))
    before, start = peak(), time.perf_counter()
    with pytest.raises(ValueError, match="d.safetensors is damaged, or holds no dequantizer"):
        variational("d.safetensors")
    assert peak() - before < 200 << 20 and time.perf_counter() - start < 5


def test_a_good_dequantizer_is_read_as_it_was_written():
    net = MLP((2, 2), width=8, outputs=2)
    save_dequantizer(net, Path("d.safetensors"))
    found = variational("d.safetensors").network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("shape", [[0, 2], [-1], ["a"], [1e30], [10**30], [[2]], 7, "ab", [True]])
def test_a_shape_that_no_sample_has_is_damage(shape):
    rewritten(with_network("MLP", {}) | {"shape": shape})
    with pytest.raises(ValueError, match="bad.safetensors is damaged"):
        load("bad.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EVERY if not name.startswith("ncsnpp ") or name == "ncsnpp pool"])
def test_every_network_of_this_project_is_built_without_memory_first(name, monkeypatch):
    """And is then the same to the bit: also what it computes for itself and does not save."""
    monkeypatch.delattr("models.building._at_once")
    first = EVERY[name]()
    torch.manual_seed(7)
    plain = type(first)(**first.arguments)
    after = torch.rand(1)
    torch.manual_seed(7)
    sketched = []

    def build():
        sketched.append(torch.empty(0).device.type)
        return type(first)(**first.arguments)

    built = build_to_fit(build, plain.state_dict())
    assert sketched == ["meta", "cpu"] and torch.equal(torch.rand(1), after)
    for ours, theirs in ((built.state_dict(), plain.state_dict()), (dict(built.named_buffers()), dict(plain.named_buffers()))):
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_network_of_ones_own_that_needs_numbers_is_built():
    """Its constructor looks at a tensor, which the meta device has not."""

    @network("needs_numbers")
    class NeedsNumbers(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.layer = nn.Linear(2, int(torch.ones(2).sum().item()))

        def forward(self, x, noise_label, y=None):
            return self.layer(x)

    try:
        save(ScoreModel(NeedsNumbers((2,)), VPSDE(), Epsilon(), Images(4)), "own.safetensors")
        assert isinstance(load("own.safetensors").network, NeedsNumbers)
    finally:
        del NETWORKS["NeedsNumbers"], SHORT_NAMES["needs_numbers"]


def test_a_process_in_the_place_of_a_parameterization_is_not_built(monkeypatch):
    header = with_network("MLP", {})
    rewritten(header | {"parameterization": header["sde"]})
    monkeypatch.setattr(VPSDE, "__post_init__", lambda self: Path("called").touch())
    with pytest.raises(ValueError, match="describes what cannot be built here"):
        load("bad.safetensors", sde=VPSDE.__new__(VPSDE))
    assert not Path("called").exists()


@pytest.mark.slow
def test_a_thousand_random_headers_run_nothing(tmp_path, monkeypatch):
    (tmp_path / "bait.py").write_text("def call(*given, **more):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    rng, good = random.Random(0), with_network("MLP", {})
    refused = 0

    def spoil(value):
        if isinstance(value, dict) and value and rng.random() < 0.85:
            key = rng.choice(list(value))
            return {**value, key: spoil(value[key])}
        if isinstance(value, list) and value and rng.random() < 0.5:
            place = rng.randrange(len(value))
            return [*value[:place], spoil(value[place]), *value[place + 1 :]]
        names = ["bait:call", "os:system", "RowNoise", "ScoreModel", "MixtureOracle", "MLP", "UNet", "VPSDE", "bait.Thing"]
        whole = {"name": rng.choice(names), "fields": {"command": "touch x"}, "arguments": {"shape": [2], "width": 20000}}
        numbers = [10**6, 10**12, -1, 0, 1.5, None, True, "", [], {}, [[[]]], float("1e300"), 10**400]
        return rng.choice([*numbers, whole, rng.choice(names)])

    for _ in range(1000):
        header = spoil(spoil(good))
        start = time.perf_counter()
        rewritten(header)
        try:
            load("bad.safetensors")
        except ValueError:
            refused += 1
        assert time.perf_counter() - start < 5, header
        assert not Path("called").exists() and "bait" not in sys.modules, header
    assert refused > 800  # the others are of another number, such as a time at which solving stops
