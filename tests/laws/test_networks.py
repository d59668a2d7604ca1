"""Every network and option: sizes, axes, conditions, gradients, independence of rows, and networks that are each other."""

import inspect
import itertools

import pytest
import torch

import models
from models import ADM, DDPM, MLP, NCSN, ADMClassifier, DhariwalUNet, NCSNpp, NCSNv2, SongUNet, UNet, load, save
from sde_lib import VPSDE, Epsilon, ScoreModel

SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "dropout": 0.0}
WIDE = SMALL | {"channels": 64}  # a normalisation of single channels, as 32 groups of 32 are, takes out whatever is added to them
SHAPE = (3, 8, 12)
WITH_FIR = {"fir": (1, 3, 3, 1)}
EVERY = {
    "mlp": lambda: MLP(SHAPE, width=16),
    "unet": lambda: UNet(SHAPE, **SMALL),
    "ddpm": lambda: DDPM(SHAPE, **WIDE),
    "ddpm pool": lambda: DDPM(SHAPE, **WIDE, resample="pool", activation="elu"),
    "ddpm unconditional": lambda: DDPM(SHAPE, **WIDE, conditional=False),
    "ddpm of levels": lambda: DDPM(SHAPE, **WIDE, sigmas=(0.01, 50.0, 10), unit_range=True),
    "ncsnpp pool": lambda: NCSNpp(SHAPE, **SMALL, block="ddpm", resample="pool", fir=(1, 3, 3, 1)),
    "ncsnv2": lambda: NCSNv2(SHAPE, channels=4, sigmas=(0.01, 50.0, 10)),
    "ncsnv2 deep": lambda: NCSNv2(SHAPE, 4, (1, 2, 2, 4, 4), (1, 1, 1, 2, 4), sigmas=(0.01, 50.0, 10)),
    "ncsn": lambda: NCSN(SHAPE, channels=4),
    "adm": lambda: ADM(SHAPE, **SMALL, head_channels=8),
    "adm of classes": lambda: ADM(SHAPE, **SMALL, head_channels=8, condition=5, outputs=2),
    "improved": lambda: ADM(SHAPE, **WIDE, head_channels=None, heads=2, modulation="add", resample="conv"),
    "adm classifier": lambda: ADMClassifier(SHAPE, 10, **SMALL, head_channels=8),
    "song": lambda: SongUNet(SHAPE, **SMALL, condition=5, augment=9),
    "song fourier": lambda: SongUNet(
        SHAPE, **SMALL, embedding="fourier", taps=(1, 3, 3, 1), progressive_input="residual", progressive_output="output_skip"
    ),
    "dhariwal": lambda: DhariwalUNet(SHAPE, **SMALL, head_channels=8, condition=5, augment=9),
} | {
    f"ncsnpp {block} {resample} {incoming} {outgoing} {combine} {fir}": (
        lambda b=block, r=resample, i=incoming, o=outgoing, c=combine, f=fir: NCSNpp(
            SHAPE, **SMALL, block=b, resample=r, progressive_input=i, progressive_output=o, combine=c, fir=f, skip_rescale=not f
        )
    )
    for (block, resample), incoming, outgoing, combine, fir in itertools.product(
        [("biggan", "conv"), ("ddpm", "conv")],
        ["none", "input_skip", "residual"],
        ["none", "output_skip", "residual"],
        ["sum", "cat"],
        [(), (1, 3, 3, 1)],
    )
    if combine == "sum" or (incoming, outgoing) == ("input_skip", "none")
}
LABELS = torch.tensor([1.0, 3.0, 9.0])
COUNTING = {"ddpm of levels", "ncsnv2", "ncsnv2 deep", "ncsn"}  # networks whose labels are indices


def labels_for(name):
    return LABELS.long() if name in COUNTING else LABELS


def randomized(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_every_public_network_is_here():
    public = {name for name in models.__all__ if inspect.isclass(getattr(models, name))}
    assert {type(make()).__name__ for make in EVERY.values()} == public


# Images joining and leaving at once, in all ways, take their time.
FAST_AND_SLOW = [
    pytest.param(name, marks=pytest.mark.slow) if name.startswith("ncsnpp ") and name.count(" none") == 0 else name
    for name in EVERY
]


@pytest.mark.parametrize("name", FAST_AND_SLOW)
def test_every_weight_learns_every_row_is_alone_and_every_option_is_kept(name, tmp_path):
    """One backward pass reaches every weight; row 1 of 3 is row 1 alone; and the arguments in a file build the same again."""
    network, labels = randomized(EVERY[name]()), labels_for(name)
    x = torch.randn(3, *SHAPE)
    out = network(x, labels)
    out.square().sum().backward()
    told = {"condition", "augment"} & set(network.arguments)
    silent = {key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert all(told and (".early." in key or ".late." in key) and key.endswith("weight") for key in silent), silent
    torch.testing.assert_close(network(x[1:2], labels[1:2])[0], out[1], rtol=1e-4, atol=1e-4 * float(out.detach().abs().max()))
    path = tmp_path / "checkpoint.safetensors"
    save(ScoreModel(network, VPSDE(), Epsilon()), path)
    assert torch.equal(load(path).network(x, labels), out)


@pytest.mark.parametrize("name", ["unet", "ddpm", "adm", "song", "dhariwal", "ncsnpp biggan conv none none sum ()"])
def test_networks_begin_at_zero(name):
    assert not EVERY[name]()(torch.randn(3, *SHAPE), LABELS).any()


def test_the_output_depends_on_the_label_unless_the_network_is_unconditional():
    x = torch.randn(1, *SHAPE).expand(3, -1, -1, -1)
    for name, make in list(EVERY.items())[:17]:
        out = randomized(make())(x, labels_for(name))
        alike = bool((out[0] - out[1]).abs().max() < 1e-5 * out.abs().max())
        assert alike == (name == "ddpm unconditional"), name


@pytest.mark.parametrize("space", [(13,), (8, 9), (4, 7, 5)])
@pytest.mark.parametrize("make", [UNet, DDPM, NCSNpp, ADM, SongUNet, DhariwalUNet])
def test_signals_images_and_volumes_of_any_size(make, space):
    arguments = SMALL | ({"head_channels": 8} if make in (ADM, DhariwalUNet) else {})
    x = torch.randn(2, 3, *space)
    padded = randomized(make(x.shape[1:], **arguments, pad=True))
    assert padded(x, LABELS[:2]).shape == x.shape
    strict = make(x.shape[1:], **arguments, pad=False).eval()
    strict.load_state_dict(padded.state_dict())
    with pytest.raises(ValueError, match=r"cannot be halved 1 times: give sizes that 2 divides"):
        strict(x, LABELS[:2])
    whole = torch.zeros(2, 3, *(n + n % 2 for n in space))
    corner = (..., *(slice(n) for n in space))
    whole[corner] = x
    torch.testing.assert_close(padded(x, LABELS[:2]), strict(whole, LABELS[:2])[corner])


def test_a_signal_is_an_image_of_one_row():
    """Without borders: what is constant along an axis is, far from its ends, what a network without this axis makes of it."""
    line = randomized(UNet((2, 16), channels=8, multipliers=(1,), blocks=1, attention=()))
    plane = UNet((2, 16, 31), channels=8, multipliers=(1,), blocks=1, attention=()).eval()
    state = plane.state_dict()
    for key, value in line.state_dict().items():
        if value.ndim == 3:  # the middle column of the kernel does everything
            state[key] = torch.zeros_like(state[key])
            state[key][..., state[key].shape[-1] // 2] = value
        else:
            state[key] = value
    plane.load_state_dict(state)
    x = torch.randn(2, 2, 16)
    out = plane(x[..., None].expand(-1, -1, -1, 31), LABELS[:2])
    torch.testing.assert_close(out, line(x, LABELS[:2])[..., None].expand_as(out), rtol=1e-4, atol=1e-4)


CONDITIONED = {
    UNet: SMALL,
    DDPM: WIDE,
    NCSNpp: SMALL,
    ADM: SMALL | {"head_channels": 8},
    SongUNet: SMALL,
    DhariwalUNet: SMALL | {"head_channels": 8},
    MLP: {"width": 16},
}


@pytest.mark.parametrize("make", CONDITIONED)
def test_conditions_by_class_and_by_vector(make):
    arguments = CONDITIONED[make]
    network = randomized(make(SHAPE, **arguments, condition=4))
    x, y = torch.randn(3, *SHAPE), torch.tensor([3, -1, 0])
    out = network(x, LABELS, y=y)
    vectors = torch.eye(4)[[3, 0, 0]] * torch.tensor([1.0, 0.0, 1.0])[:, None]
    torch.testing.assert_close(network(x, LABELS, y=vectors), out)
    torch.testing.assert_close(network(x, LABELS)[1], out[1])
    assert ((network(x, LABELS) - out).abs().amax((1, 2, 3)) > 1e-4).tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"shape \(3, 5\) was given, and the network knows vectors of 4 numbers"):
        network(x, LABELS, y=torch.zeros(3, 5))
    with pytest.raises(ValueError, match="built without"):
        make(SHAPE, **arguments)(x, LABELS, y=y)


@pytest.mark.parametrize("make", [DDPM, NCSNpp])
def test_an_unconditional_network_refuses_a_condition(make):
    network = make(SHAPE, **CONDITIONED[make], conditional=False)
    with pytest.raises(ValueError, match="the network got 'y', and was built without"):
        network(torch.zeros(3, *SHAPE), LABELS, y=torch.tensor([3, -1, 0]))


def test_super_resolution_sees_the_stretched_image():
    network = randomized(ADM(SHAPE, **SMALL, head_channels=8, super_resolution=True))
    x, low = torch.randn(3, *SHAPE), torch.randn(3, 3, 4, 6)
    stretched = torch.nn.functional.interpolate(low, (8, 12), mode="bilinear")
    out = network(x, LABELS, low_res=low)
    torch.testing.assert_close(network(x, LABELS, low_res=stretched), out)
    twice = ADM((6, 8, 12), **SMALL, head_channels=8, outputs=1)
    state = network.state_dict() | {key: twice.state_dict()[key] for key in ("body.last.2.weight", "body.last.2.bias")}
    twice.load_state_dict(state)
    encoded, _ = twice.eval().body.encoder(torch.cat([x, stretched], dim=1), twice.embedding(LABELS))
    torch.testing.assert_close(encoded, network.body.encoder(torch.cat([x, stretched], dim=1), network.embedding(LABELS))[0])
    with pytest.raises(ValueError, match="super_resolution=True"):
        network(x, LABELS)
    with pytest.raises(ValueError, match="super_resolution=True"):
        randomized(ADM(SHAPE, **SMALL, head_channels=8))(x, LABELS, low_res=low)


def same_weights(one, other):
    """Two networks whose weights come in the same order hold the same ones."""
    state = zip(other.state_dict(), one.state_dict().values(), strict=True)
    other.load_state_dict({key: value for key, value in state})
    return other.eval()


def test_edm_s_networks_equal_adm_and_ncsnpp():
    x = torch.randn(3, *SHAPE)
    adm = randomized(ADM((3, 8, 12), channels=128, multipliers=(1,), blocks=1, attention=(0,), condition=5))
    dhariwal = same_weights(adm, DhariwalUNet((3, 8, 12), channels=128, multipliers=(1,), blocks=1, attention=(0,), condition=5))
    y = torch.tensor([0, 4, -1])
    torch.testing.assert_close(dhariwal(x, LABELS, y=y), adm(x, LABELS, y=y))
    plus = randomized(
        NCSNpp(SHAPE, **SMALL, embedding="fourier", progressive_input="residual", progressive_output="output_skip", **WITH_FIR)
    )
    song = same_weights(
        plus,
        SongUNet(
            SHAPE, **SMALL, embedding="fourier", taps=(1, 3, 3, 1), progressive_input="residual", progressive_output="output_skip"
        ),
    )
    torch.testing.assert_close(song(x, LABELS.log()), plus(x, LABELS))


REFUSED = [
    (lambda: EVERY["ncsn"]()(torch.zeros(3, *SHAPE), LABELS), "counts noise levels"),
    (lambda: EVERY["ddpm of levels"]()(torch.zeros(3, *SHAPE), torch.zeros(3)), "label='index'"),
    (lambda: UNet((8,)), "use MLP"),
    (lambda: NCSN((8, 8)), "use UNet or MLP"),
    (lambda: NCSNpp((3, 2, 2, 2, 2)), "use MLP"),
    (lambda: DDPM(SHAPE, attention=(4,)), "levels go from 0 to 3"),
    (lambda: DDPM(SHAPE, blocks=0), "at least one of each"),
    (lambda: DDPM(SHAPE, activation="gelu"), "use one of 'swish'"),
    (lambda: NCSNpp(SHAPE, embedding="sine"), "use one of 'positional', 'fourier'"),
    (lambda: SongUNet(SHAPE, embedding="sine"), "use one of 'positional', 'fourier'"),
    (lambda: NCSNpp(SHAPE, conditional=False, condition=3), "reads no condition"),
    (lambda: DDPM(SHAPE, resample="mean"), "use one of 'block', 'conv', 'pool'"),
    (lambda: NCSNpp(SHAPE, block="ddpm", resample="mean"), "use one of 'block', 'conv', 'pool'"),
    (lambda: ADM(SHAPE, modulation="film"), "use one of 'add', 'scale_shift'"),
    (lambda: NCSNpp(SHAPE, progressive_input="skip"), "use one of 'none', 'input_skip', 'residual'"),
    (lambda: NCSNpp(SHAPE, progressive_output="skip"), "use one of 'none', 'output_skip', 'residual'"),
    (lambda: NCSNpp(SHAPE, progressive_input="input_skip", combine="add"), "use one of 'sum', 'cat'"),
    (lambda: NCSNpp(SHAPE, scale_by_sigma=True), "give sigmas"),
    (lambda: NCSNv2(SHAPE, sigmas=(0.1, 0.2, 0.3, 0.4)), "sort them"),
    (lambda: ADM(SHAPE, channels=32, multipliers=(1, 1)), "levels go from"),
    (lambda: ADM(SHAPE, channels=96, multipliers=(1, 1), attention=(0,)), "64 must divide"),
    (lambda: NCSNv2(SHAPE, dilations=(1, 2)), "a dilation for each multiplier"),
    (lambda: ADMClassifier((3, 8, 9), 5, **SMALL, head_channels=8), "2 must divide them"),
    (
        lambda: ADMClassifier(SHAPE, 5, **SMALL, head_channels=8)(torch.zeros(1, 3, 8, 8), torch.zeros(1)),
        "24 positions were needed",
    ),
]


@pytest.mark.parametrize(("make", "words"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_invalid_arguments_are_refused(make, words):
    with torch.device("meta"), pytest.raises(ValueError, match=words):
        make()
