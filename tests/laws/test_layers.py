"""Shared layers against recorded numbers, and against what they are by definition."""

import pytest
import torch

from models.layers import (
    Condition,
    FIRDown,
    FIRUp,
    Fourier,
    InstanceNormPlus,
    SelfAttention,
    Sinusoid,
    Style,
    conv_down,
    conv_up,
    group_norm,
)
from models.layers.style import scaled_sum
from tests.recorded import load, same_state

TAPS = {"1331": (1, 3, 3, 1), "11": (1, 1), "14641": (1, 4, 6, 4, 1)}


@pytest.mark.parametrize("taps", TAPS)
def test_resampling_is_upfirdn(taps):
    golden, own = load("networks/g_resample"), TAPS[taps]
    x, odd = golden["x"], golden["x_odd"]
    same_state(FIRUp(own).double()(x), golden[f"up/{taps}"])
    same_state(FIRUp(own).double()(odd), golden[f"up_odd/{taps}"])
    same_state(FIRDown(own).double()(x), golden[f"down/{taps}"])
    same_state(FIRDown(own).double()(odd), golden[f"down_odd/{taps}"])
    conv = conv_down(3, 4, own, dims=2).double()
    conv[1].weight.data, conv[1].bias.data = golden["w"], torch.zeros(4).double()
    same_state(conv(x).detach(), golden[f"conv_down/{taps}"])


def test_resampling_without_taps_averages_and_repeats():
    golden = load("networks/g_resample")
    style = Style(width=0)
    same_state(style.double()(golden["x"]), golden["naive_up"])
    same_state(style.halve()(golden["x"]), golden["naive_down"])


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1), (1, 2, 3, 4)])
def test_resampling_is_the_same_along_every_axis(dims, taps):
    """A product of functions of one axis each becomes the product of them resampled."""
    lines = torch.randn(dims, 6, dtype=torch.float64)
    for layer in (FIRDown, FIRUp):
        product, expected = torch.ones((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        for line in lines:
            product = product[..., None] * line
            expected = expected[..., None] * layer(taps, dims=1).double()(line[None, None])[0, 0]
        torch.testing.assert_close(layer(taps, dims).double()(product[None, None])[0, 0], expected)


@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1), (1, 2, 3, 4)])  # an odd number has its centre on an entry: no adjoint
@pytest.mark.parametrize("dims", [1, 2])
def test_going_up_is_the_adjoint_of_going_down(taps, dims):
    """<down(x), y> = <x, up(y)> / 2^dims, with the convolution's weight read from the other side."""
    down, up = conv_down(3, 4, taps, dims).double(), conv_up(4, 3, taps, dims).double()
    up[1].weight.data = down[1].weight.data.transpose(0, 1).flip(*range(2, dims + 2))
    for layer in (down, up):
        torch.nn.init.zeros_(layer[1].bias)
    x, y = (torch.randn(2, c, *[n] * dims, dtype=torch.float64) for c, n in ((3, 8), (4, 4)))
    torch.testing.assert_close((down(x) * y).sum(), (x * up(y)).sum() / 2**dims)
    down, up = FIRDown(taps, dims).double(), FIRUp(taps, dims).double()
    y = torch.randn(2, 3, *[4] * dims, dtype=torch.float64)
    torch.testing.assert_close((down(x) * y).sum(), (x * up(y)).sum() / 2**dims)


@pytest.mark.parametrize("factor", [1.0, 0.5**0.5])
def test_a_sum_of_branches_is_scaled_and_the_branches_are_left_alone(factor):
    a, b = torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor([3.0, 5.0], requires_grad=True)
    out = scaled_sum(a, b, factor)
    assert out.tolist() == pytest.approx([4 * factor, 3 * factor])
    assert (a.tolist(), b.tolist()) == ([1.0, -2.0], [3.0, 5.0])
    out.sum().backward()
    assert a.grad.tolist() == b.grad.tolist() == pytest.approx([factor, factor])


def test_embeddings_are_the_recorded_ones():
    golden, openai = load("networks/g_embeddings"), load("networks/embed_sinusoidal")
    for size in (8, 9, 128):  # recorded in float32, of angles up to 999
        torch.testing.assert_close(Sinusoid(size)(golden["t"]), golden[f"sinusoid/{size}"], rtol=0, atol=1e-4)
    for key, size in (("improved_dim32", 32), ("improved_dim7_odd", 7)):
        ours = Sinusoid(size, inclusive=False, cosine_first=True)(openai["t"])
        torch.testing.assert_close(ours, openai[key], rtol=0, atol=1e-4)
    fourier = Fourier(32).double()
    fourier.frequencies = golden["W"]
    torch.testing.assert_close(fourier(golden["sigma"]), golden["fourier_f64"], rtol=0, atol=1e-4)


def test_instance_norm_plus_is_the_recorded_one():
    golden = load("networks/g_norm")
    norm = InstanceNormPlus(4, classes=3).double()
    norm.embed.weight.data[1] = torch.cat([golden["gamma"], golden["alpha"], golden["beta"]])
    same_state(norm(golden["x"], torch.tensor([1, 1])).detach(), golden["instancenorm_plus"])


def test_attention_is_softmax_of_scaled_products_of_each_head():
    layer, x = SelfAttention(6, Style(width=0, heads=2)).double(), torch.randn(2, 6, 3, 4, dtype=torch.float64)
    layer.out.weight.data, layer.out.bias.data = torch.eye(6).double(), torch.zeros(6).double()
    tokens = group_norm(6).double()(x).flatten(2)
    q, k, v = (torch.einsum("oc,bcn->bon", w, tokens) for w in layer.qkv.weight.detach().chunk(3))
    q, k, v = (part + b[:, None] for part, b in zip((q, k, v), layer.qkv.bias.detach().chunk(3), strict=True))
    heads = []
    for rows in (slice(0, 3), slice(3, 6)):
        weights = torch.softmax(torch.einsum("bcn,bcm->bnm", q[:, rows], k[:, rows]) / 3**0.5, dim=-1)
        heads.append(torch.einsum("bnm,bcm->bcn", weights, v[:, rows]))
    torch.testing.assert_close(layer(x).detach(), x + torch.cat(heads, dim=1).reshape(x.shape))


def test_conditions_are_linear_and_none_is_zero():
    layer = Condition(5, 3, bias=True).eval()
    y = torch.tensor([4, -1, 0])
    vectors = torch.eye(5)[[4, 0, 0]] * torch.tensor([1.0, 0.0, 1.0])[:, None]
    assert torch.equal(layer(y, 3), layer(vectors, 3))
    assert torch.equal(layer(y, 3)[1:2].expand(3, -1), layer(None, 3))
    assert torch.equal(layer(torch.tensor(2), 3), layer(torch.tensor([2, 2, 2]), 3))
    with pytest.raises(ValueError, match="class 5, and the network knows 0 to 4"):
        layer(torch.tensor([5]), 1)


@pytest.mark.parametrize("y", [torch.full((4000,), 2), torch.eye(5)[2].expand(4000, 5)], ids=["classes", "vectors"])
def test_conditions_are_lost_in_training_as_often_as_asked(y):
    layer = Condition(5, 3, dropout=0.3)
    lost = (layer(y, 4000) == 0).all(dim=1)
    assert abs(lost.double().mean() - 0.3) < 5 * (0.21 / 4000) ** 0.5
    assert (layer.eval()(y, 4000) != 0).any(dim=1).all()
