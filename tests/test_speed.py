"""What makes networks fast leaves them what they are: one graph, the same numbers, the same files, the same training."""

import copy
import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from models import UNet, autocast, channels_last, load, recompute, save
from score_sde.data import Digits
from score_sde.training.settings import Settings
from score_sde.training.trainer import Trainer
from sde_lib import VPSDE, DenoisingScoreMatching, Epsilon, Images, ScoreModel
from tests.laws.test_networks import EVERY, SHAPE, labels_for, randomized

FULL = "ncsnpp biggan conv residual output_skip sum (1, 3, 3, 1)"
KINDS = ("mlp", "unet", "ddpm", "ncsnv2", "ncsn", "adm of classes", "adm classifier", "song fourier", "dhariwal", FULL)


def called(name):
    """A network of this kind, and what it is called with, conditions too."""
    torch.manual_seed(0)
    network = randomized(EVERY[name]())
    y = {"y": torch.tensor([1, -1, 0])} if getattr(network, "arguments", {}).get("condition") else {}
    return network, partial(lambda network, x, **more: network(x, labels_for(name), **more), **y), torch.randn(3, *SHAPE)


def test_every_kind_of_network_is_here():
    assert {type(EVERY[name]()) for name in KINDS} == {type(make()) for make in EVERY.values()}


@pytest.mark.quick("unet")
@pytest.mark.parametrize("name", KINDS)
def test_a_network_is_one_graph(name):
    """fullgraph raises where the compiler would have to stop; traced alone, no compiler is needed."""
    network, call, x = called(name)
    torch._dynamo.reset()
    graph = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(call(graph, x), call(network, x), rtol=0, atol=0)


def gradients(network, call, x):
    """Output and gradients in training, each from its own state of the generator."""
    torch.manual_seed(1)
    out = call(network.train(), x)
    torch.manual_seed(2)
    (out - 0.3).square().sum().backward()
    return out.detach(), {key: p.grad for key, p in network.named_parameters() if p.grad is not None}


@pytest.mark.quick("mlp", "unet", FULL)
@pytest.mark.parametrize("name", KINDS)
def test_what_is_computed_again_is_the_same_with_dropout_too(name):
    network, call, x = called(name)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    again = copy.deepcopy(recompute(copy.deepcopy(network)))  # copies of copies, as averages are, run their own weights
    assert list(again.state_dict()) == list(network.state_dict())
    (out, expected), (out_again, found) = gradients(network, call, x), gradients(again, call, x)
    assert torch.equal(out_again, out)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def saved_bytes(network, x):
    """What a forward pass keeps for the gradient."""
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
        network.train()(x, torch.zeros(len(x)))
    return sum(kept.values())


def test_what_is_computed_again_is_not_kept():
    network = UNet((3, 16, 16), channels=32, blocks=2)
    x = torch.randn(4, 3, 16, 16)
    weights = sum(p.nbytes for p in network.parameters())
    before = saved_bytes(network, x) - weights
    assert saved_bytes(recompute(network), x) - weights < 0.5 * before


def test_blocks_are_not_computed_again_where_nothing_is_trained():
    """Derivatives by the state, which likelihoods take in every mode of torch.func, are as without."""
    network = recompute(randomized(UNet(SHAPE, channels=8, attention=())))
    x, v = torch.randn(3, *SHAPE), torch.randn(2, 3, *SHAPE)
    _, vjp = torch.func.vjp(lambda x: network(x, torch.ones(3)), x)
    assert torch.func.vmap(vjp)(v)[0].shape == v.shape
    with pytest.raises(ValueError, match=r"Linear has no blocks to compute again: keep its layers in an nn.ModuleList"):
        recompute(nn.Linear(2, 2))


@pytest.mark.quick("mlp", "unet", FULL)
@pytest.mark.parametrize("name", KINDS)
def test_channels_last_is_another_order_of_the_same_numbers(name, tmp_path):
    network, call, x = called(name)
    expected = call(network, x)
    out = call(channels_last(network), x)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5 * float(expected.detach().abs().max()))
    convolutions = [p for p in network.parameters() if p.ndim == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in convolutions)
    save(ScoreModel(network, VPSDE(), Epsilon()), tmp_path / "checkpoint.safetensors")
    torch.testing.assert_close(load(tmp_path).network.state_dict(), network.state_dict(), rtol=0, atol=0)


@pytest.mark.quick("mlp", "unet", FULL)
@pytest.mark.parametrize("name", KINDS)
def test_bfloat16_is_in_the_network_alone(name):
    """Its output differs by round-off, of 2^-8 in each layer; weights, and what a score model makes of it, are float32."""
    network, call, x = called(name)
    expected, out = call(network, x), call(autocast(network), x)
    error = (out - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert 2**-14 < error < 2**-4
    assert all(p.dtype == torch.float32 for p in network.parameters())
    if name in ("mlp", "unet"):
        model = ScoreModel(autocast(network), VPSDE(), Epsilon())
        seen = []
        network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        prediction = model.predict(x, 0.5)
        assert seen == [torch.bfloat16]
        assert {value.dtype for value in (prediction.score, prediction.x0, prediction.eps)} == {torch.float32}
        assert DenoisingScoreMatching()(model, x, t=torch.full((3,), 0.5), z=x).dtype == torch.float32


def test_division_by_sigma_is_in_float32():
    """Of an answer in bfloat16, sigma, known to 24 bits, does not lose 16 of them."""
    network = randomized(EVERY["ddpm of levels"]())
    body = []
    network.body.register_forward_hook(lambda module, inputs, output: body.append(output))
    out = autocast(network)(torch.randn(3, *SHAPE), labels_for("ddpm of levels"))
    assert body[0].dtype == torch.bfloat16
    sigma = 50.0 * (0.01 / 50.0) ** (labels_for("ddpm of levels").double() / 9)
    torch.testing.assert_close(out.double(), body[0].double() / sigma[:, None, None, None], rtol=1e-6, atol=0)


SETTINGS = Settings.of(
    keep=1,
    held_out=0,
    steps=6,
    batch_size=8,
    learning_rate=1e-3,
    warmup=2,
    clip=1.0,
    ema=0.9,
    log_every=2,
    save_every=100,
    dequantize=True,
)
FLAGS = {
    "none": {},
    "bf16": {"autocast": "bf16"},
    "fp16": {"autocast": "fp16"},
    "channels last": {"channels_last": True},
    "checkpointing": {"checkpointing": True},
    "compile": {"compile": True},
    "all": {"autocast": "bf16", "channels_last": True, "checkpointing": True, "compile": True},
}


@pytest.fixture
def traced(monkeypatch):
    """The compiler without its last step, which needs a compiler of C++; "eager" would not replay dropout for the gradient."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


def trainer(folder, flags):
    torch.manual_seed(0)
    network = UNet((1, 8, 8), channels=8, multipliers=(1,), blocks=1, attention=(), dropout=0.2)
    model = ScoreModel(network, VPSDE(), Epsilon(), Images(17))
    return Trainer(model, Digits().train[:30], DenoisingScoreMatching(), dataclasses.replace(SETTINGS, **flags), 0, folder)


def weights_of(t):
    return {
        name: value.clone()
        for module in (t.model, t.average.module)
        for name, value in module.state_dict(prefix=str(id(module))).items()
    }


def ran(folder, flags, stop=6):
    t = trainer(folder, flags)
    losses = []
    for progress in t.run():
        losses.append(progress.loss)
        if progress.step == stop:
            break
    return t, losses


def same_weights(one, other):
    pairs = zip(weights_of(one).values(), weights_of(other).values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.quick("none", "bf16", "channels last", "checkpointing")
@pytest.mark.parametrize("flags", FLAGS)
def test_a_resumed_run_is_the_uninterrupted_one_under_every_flag(flags, tmp_path, traced):
    whole, losses = ran(tmp_path / "whole", FLAGS[flags])
    first, _ = ran(tmp_path / "part", FLAGS[flags], stop=4)
    first.save()
    second = trainer(tmp_path / "part", FLAGS[flags])
    second.resume()
    assert [p.loss for p in second.run()] == losses[4:]
    assert same_weights(second, whole)


@pytest.mark.slow
def test_flags_change_training_by_round_off_alone(tmp_path, traced):
    """Losses are means of 16 terms near 1; Adam's first steps, signs of gradients, would show another gradient at once."""
    plain = [loss for loss in ran(tmp_path / "none", {})[1] if loss is not None]
    for name, tolerance in (
        ("bf16", 1e-2),
        ("fp16", 2e-3),
        ("channels last", 1e-4),
        ("checkpointing", 0.0),
        ("compile", 1e-4),
        ("all", 1e-2),
    ):
        losses = [loss for loss in ran(tmp_path / name, FLAGS[name])[1] if loss is not None]
        assert losses == pytest.approx(plain, rel=tolerance, abs=0), name


def test_every_flag_does_what_it_says(tmp_path, monkeypatch):
    compiled, dtypes = [], []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or network)
    for name, flags in FLAGS.items():
        compiled.clear(), dtypes.clear()
        t = trainer(tmp_path, flags)
        network = t.model.network
        network.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
        next(t.run())
        assert dtypes == [{"bf16": torch.bfloat16, "fp16": torch.float16}.get(flags.get("autocast"), torch.float32)], name
        assert compiled == ([network] if "compile" in flags else []), name
        weight = network.body.encoder.levels[0].blocks[0].block.conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == ("channels_last" in flags), name
        with torch.no_grad():  # the average too is called without flags' leave
            assert t.average.module.eval()(torch.zeros(1, 1, 8, 8), torch.zeros(1)).dtype == torch.float32
        x = torch.zeros(2, 1, 8, 8)
        plain = saved_bytes(trainer(tmp_path, {}).model.network, x)
        assert (saved_bytes(network, x) < 0.9 * plain) == ("checkpointing" in flags), name


@pytest.mark.slow
def test_files_are_those_of_a_run_without_flags(tmp_path, traced):
    """Names of weights and of the network; and after training the model is in float32."""
    t, _ = ran(tmp_path, FLAGS["all"])
    t.save()
    model = load(tmp_path)
    x = torch.randn(2, 1, 8, 8)
    assert type(model.network) is UNet
    t.model.network.load_state_dict(t.average.module.state_dict())
    torch.testing.assert_close(model(x, 0.5), t.model.eval()(x, 0.5), rtol=1e-4, atol=1e-5)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match=r"train.autocast is 'fp8', and 'none', 'bf16' or 'fp16' was needed"):
        dataclasses.replace(SETTINGS, autocast="fp8")
