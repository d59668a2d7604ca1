"""Networks: any size, zero at the start; and the files that they are kept in, whole, safe and self-describing."""

import copy
import inspect
import os
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from models import MLP, UNet, load, network, save
from models.checkpoint import read_header
from models.registry import NETWORKS, SHORT_NAMES
from sde_lib import EDM, VESDE, VPSDE, CosineBeta, Epsilon, Images, LinearSDE, ScoreModel, Standardize, SubVPSDE, Tabulated, V


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 30, 46), (2, 1, 17), (1, 5, 3), (4, 1, 1)])
@pytest.mark.parametrize("multipliers", [(1,), (1, 2, 2)])
def test_unet_takes_images_of_any_size(shape, multipliers):
    network = UNet(shape, channels=8, multipliers=multipliers, blocks=1, attention=(0,), heads=2, dropout=0.1)
    x = torch.randn(2, *shape)
    assert network(x, torch.tensor([0.1, 0.9])).shape == x.shape
    bigger = torch.randn(2, shape[0], 9, 11)
    assert network(bigger, torch.zeros(2)).shape == bigger.shape


@pytest.mark.parametrize("shape", [(2,), (7, 3), (1, 8, 8), (2, 3, 4, 5)])
def test_mlp_takes_data_of_any_shape(shape):
    x = torch.randn(3, *shape)
    assert MLP(shape, width=16, dropout=0.1)(x, torch.zeros(3)).shape == x.shape


@pytest.mark.parametrize("network", [UNet((1, 8, 8), channels=8), MLP((1, 8, 8), width=16)], ids=["unet", "mlp"])
def test_networks_begin_at_zero_and_every_weight_can_learn(network):
    x = torch.randn(4, 1, 8, 8)
    assert torch.equal(network(x, torch.rand(4)), torch.zeros_like(x))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network(x, torch.rand(4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_networks_see_the_noise_level_and_each_row_alone():
    network = UNet((1, 8, 8), channels=8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x, label = torch.randn(4, 1, 8, 8), torch.tensor([-1.0, -0.3, 0.3, 1.0])
    out = network(x, label)
    assert (network(x[:1].expand(4, -1, -1, -1), label).diff(dim=0).abs().amax((1, 2, 3)) > 1e-4).all()
    torch.testing.assert_close(network(x[2:3], label[2:3])[0], out[2], rtol=1e-4, atol=1e-5)


def test_networks_refuse_what_they_cannot_be():
    with pytest.raises(ValueError, match="use MLP"):
        UNet((8,))
    with pytest.raises(ValueError, match="levels go from 0 to 1"):
        UNet((1, 8, 8), attention=(2,))
    for nothing in ({"blocks": 0}, {"channels": 0}, {"multipliers": (), "attention": ()}):
        with pytest.raises(ValueError, match="at least one of each"):
            UNet((1, 8, 8), **nothing)
    with pytest.raises(ValueError, match="3 must divide 16"):
        UNet((1, 8, 8), channels=8, heads=3)
    with pytest.raises(ValueError, match="shape of one datum"):
        MLP(())


def small(sde=None, parameterization=None, data=None):
    return ScoreModel(UNet((1, 8, 8), channels=8, blocks=1), sde or VPSDE(), parameterization or Epsilon(), data).eval()


def randomize(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(
    ("sde", "parameterization", "data"),
    [
        (VPSDE(beta=CosineBeta(s=0.01)), EDM(sigma_data=0.3), Images(17)),
        (SubVPSDE(0.2, 15.0, t_min=2e-3), V(label="time"), Standardize(3.0, 0.1)),
        (VESDE(sigma_max=9.0), Epsilon(), None),
        (Tabulated.from_betas(torch.linspace(1e-4, 0.02, 50)), Epsilon(label="index"), Images()),
    ],
)
def test_a_file_is_all_that_is_needed(tmp_path, sde, parameterization, data):
    model = randomize(small(sde, parameterization, data))
    save(model, tmp_path / "model.safetensors", step=7)
    again = load(tmp_path / "model.safetensors")
    assert (again.sde, again.parameterization, again.data) == (sde, parameterization, data)
    x, t = torch.randn(2, 1, 8, 8), 0.3
    assert torch.equal(again(x, t), model(x, t))
    header = read_header(tmp_path / "model.safetensors")
    assert header["step"] == 7
    assert header["network"]["name"] == "UNet"


def test_both_sets_of_weights_are_kept_by_name(tmp_path):
    model, average = small(), randomize(small())
    save(model, tmp_path / "checkpoint.safetensors", ema=average.network.state_dict())
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(load(tmp_path)(x, 0.5), average(x, 0.5))
    assert torch.equal(load(tmp_path, weights="raw")(x, 0.5), model(x, 0.5))
    with pytest.raises(ValueError, match="has ema, raw"):
        load(tmp_path, weights="best")


@pytest.mark.slow
def test_a_model_loads_in_a_process_of_its_own(tmp_path):
    model = randomize(small(data=Images(17)))
    save(model, tmp_path / "checkpoint.safetensors")
    x = torch.randn(2, 1, 8, 8)
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import sys, torch; from models import load; model = load(sys.argv[1]); "
        "torch.save(model(torch.load(sys.argv[1] + '/x.pt'), 0.5).detach(), sys.argv[1] + '/y.pt')"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    torch.testing.assert_close(torch.load(tmp_path / "y.pt"), model(x, 0.5).detach(), rtol=0, atol=1e-6)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x, label):
        return self.layer(x)


class OwnSDE(LinearSDE):
    def alpha(self, t):
        return torch.exp(-t)

    def sigma(self, t):
        return torch.sqrt(-torch.expm1(-2 * t))


def test_classes_of_ones_own_are_asked_for(tmp_path):
    path = tmp_path / "own.safetensors"
    save(ScoreModel(Own(), OwnSDE(), Epsilon()), path)
    with pytest.raises(ValueError, match=r"network=Own\(...\)"):
        load(path)
    with pytest.raises(ValueError, match=r"sde=OwnSDE\(...\)"):
        load(path, network=Own())
    assert load(path, network=Own(), sde=OwnSDE()).sde == OwnSDE()
    with pytest.raises(ValueError, match="do not fit the network"):
        load(path, network=MLP((2,)), sde=OwnSDE())
    wide = Own()
    wide.layer = nn.Linear(8, 9)
    with pytest.raises(ValueError, match="do not fit the network: size mismatch for layer.bias.*; pass the network"):
        load(path, network=wide, sde=OwnSDE())


def test_a_class_of_ones_own_with_the_name_of_one_of_ours_is_asked_for_too(tmp_path):
    path = tmp_path / "own.safetensors"
    namesake = type("VPSDE", (OwnSDE,), {})()
    save(ScoreModel(MLP((8,)), namesake, Epsilon()), path)
    with pytest.raises(ValueError, match=r"sde=VPSDE\(...\)"):
        load(path)
    assert load(path, sde=namesake).sde is namesake
    network = type("MLP", (MLP,), {"forward": lambda self, x, label: x})((8,))
    save(ScoreModel(network, VPSDE(), Epsilon()), path)
    with pytest.raises(ValueError, match=r"network=MLP\(...\)"):
        load(path)


def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="plain function"):
        save(ScoreModel(lambda x, label: x, VPSDE(), Epsilon()), tmp_path / "a.safetensors")
    with pytest.raises(TypeError, match="frozen dataclass"):
        save(small(VPSDE(beta=torch.exp)), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_files_are_told_apart(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load(path)
    save(small(), path)
    whole = path.read_bytes()
    for cut in (0, 5, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="damaged"):
            load(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="another kind"):
        load(path)
    own = {"format": "sde-score-model", "version": "1", "model": "{}"}
    for header in (own, own | {"version": "x"}, own | {"model": "{"}, {"format": "sde-score-model"}):
        save_file({"a": torch.zeros(2)}, path, header)
        with pytest.raises(ValueError, match="damaged: it does not say"):
            load(path)
    path.write_bytes(whole)
    with safe_open(path, framework="pt") as file:
        tensors, header = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    del header["checksums"]  # as files were written before there were any
    save_file(tensors, path, header)
    assert load(path).sde == small().sde
    for word in ("dropout", "beta_min", "fields"):
        path.write_bytes(whole.replace(word.encode(), word[::-1].encode()))
        with pytest.raises(ValueError, match="what it says of itself has another checksum"):
            load(path)
        save_file(tensors, path, header | {"model": header["model"].replace(word, word[::-1])})
        with pytest.raises(ValueError, match="describes what cannot be built here"):
            load(path)
    save_file(tensors, path, header | {"version": "9"})
    with pytest.raises(ValueError, match="version 9"):
        load(path)


class Malicious:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


@pytest.mark.parametrize(
    "write", [lambda path: torch.save(Malicious(), path), lambda path: path.write_bytes(pickle.dumps(Malicious()))]
)
def test_a_pickle_is_refused_and_runs_nothing(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    write(path)
    with pytest.raises(ValueError, match="pickle"):
        load(path)
    assert not (tmp_path / "ran").exists()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    import models.files as files

    path = tmp_path / "model.safetensors"
    save(small(), path)
    before = path.read_bytes()

    def broken(tensors, temporary, metadata):
        temporary.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(files, "save_file", broken)
    with pytest.raises(OSError, match="no space"):
        save(randomize(small()), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_every_public_network_is_registered_under_two_names():
    import models
    from score_sde.config.component import resolve

    public = {name for name in models.__all__ if isinstance(getattr(models, name), type)}
    assert public == {name for name, cls in NETWORKS.items() if cls.__module__.startswith("models.")}
    short = {resolve("network", name) for name, place in SHORT_NAMES.items() if place.startswith("models.")}
    assert short == {getattr(models, name) for name in public} - {models.ADMClassifier}  # no score network


@pytest.fixture
def registry():
    """The registry, as it was again afterwards."""
    kept = dict(NETWORKS), dict(SHORT_NAMES)
    yield
    for table, before in zip((NETWORKS, SHORT_NAMES), kept, strict=True):
        table.clear()
        table.update(before)


def registered(short_name="line"):
    @network(short_name)
    class Line(nn.Module):
        """A line."""

        def __init__(self, shape, slopes=(1.0, 2.0), *, act=None):
            super().__init__()
            self.weight = nn.Parameter(torch.as_tensor(slopes).sum())

        def forward(self, x, label):
            return x * self.weight

    return Line


def test_a_registered_class_is_itself_and_keeps_its_arguments(registry):
    cls = registered()
    assert (cls.__name__, cls.__doc__) == ("Line", "A line.")
    assert str(inspect.signature(cls)) == "(shape, slopes=(1.0, 2.0), *, act=None)"
    assert cls((2, 3)).arguments == {"shape": [2, 3], "slopes": [1.0, 2.0], "act": None}
    assert cls([5], torch.tensor([3.0]), act="elu").arguments == {"shape": [5], "slopes": [3.0], "act": "elu"}
    with pytest.raises(TypeError, match="'shape'"):
        cls()


def test_arguments_are_those_of_the_class_that_was_called(registry):
    @network()
    class Flat(registered()):
        def __init__(self, size):
            super().__init__((size, size))

    assert Flat(4).arguments == {"size": 4}


def test_arguments_are_those_that_were_given_whatever_the_constructor_does_with_them(registry):
    @network()
    class Emptying(nn.Module):
        def __init__(self, shape):
            super().__init__()
            shape.clear()

    assert Emptying([3, 4]).arguments == {"shape": [3, 4]}


def test_registered_networks_are_copied_and_pickled():
    whole = MLP((2, 3), width=8, condition=5)
    x, label = torch.randn(2, 2, 3), torch.zeros(2)
    for again in (copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert type(again) is MLP and again.arguments == whole.arguments
        assert torch.equal(again(x, label), whole(x, label))


def test_a_registered_class_of_ones_own_is_saved_and_loaded(registry, tmp_path):
    cls = registered()
    save(ScoreModel(cls((8,), (2.0, 3.0)), VPSDE(), Epsilon()), tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors").network
    assert type(again) is cls and again.arguments["slopes"] == [2.0, 3.0] and again.weight.item() == 5.0
    with pytest.raises(TypeError, match=r"built with act=SiLU\(\), which a checkpoint cannot keep"):
        save(ScoreModel(cls((8,), act=nn.SiLU()), VPSDE(), Epsilon()), tmp_path / "b.safetensors")
    del NETWORKS["Line"]  # as in a process that has not imported its module
    with pytest.raises(
        ValueError, match=r"which no imported module registers: import the module .* load\(path, network=Line\(...\)\)"
    ):
        load(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors", network=cls((8,))).network.weight.item() == 5.0


@pytest.mark.parametrize("name", ["own_line", "own_line:Line", "own_line.Line"])
def test_nothing_that_a_file_names_is_imported(registry, tmp_path, monkeypatch, name):
    (tmp_path / "own_line.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    cls = registered()
    cls.__name__ = name
    NETWORKS[name] = cls
    save(ScoreModel(cls((8,)), VPSDE(), Epsilon()), tmp_path / "a.safetensors")
    assert read_header(tmp_path / "a.safetensors")["network"]["name"] == name
    del NETWORKS[name]
    with pytest.raises(ValueError, match="which no imported module registers"):
        load(tmp_path / "a.safetensors")
    assert "own_line" not in sys.modules


def test_a_name_belongs_to_one_class(registry):
    registered()
    again = registered()  # as when a cell of a notebook is run twice
    assert NETWORKS["Line"] is again
    with pytest.raises(
        ValueError, match=r"cannot be registered as 'MLP', which is the name of models.mlp:MLP: choose another name"
    ):
        network("line")(type("MLP", (nn.Module,), {"__init__": lambda self, shape: None}))
    with pytest.raises(ValueError, match="cannot be registered as 'mlp', which is the name of models.mlp:MLP"):
        network("mlp")(type("Other", (nn.Module,), {"__init__": lambda self, shape: None}))
    assert NETWORKS["MLP"] is MLP and "Other" not in NETWORKS


@pytest.mark.parametrize("construct", [lambda self, *shape: None, lambda self, **options: None, lambda self, a, /: None])
def test_arguments_without_a_name_are_refused(registry, construct):
    with pytest.raises(TypeError, match="give each argument a name of its own"):
        network()(type("Unnamed", (nn.Module,), {"__init__": construct}))
    assert "Unnamed" not in NETWORKS
