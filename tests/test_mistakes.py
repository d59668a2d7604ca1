"""Ordinary mistakes with the library, from Python: each is told in one sentence, by whatever door it comes in."""

import numpy as np
import pytest
import torch

from likelihood import bits_per_dim, log_likelihood
from models import MLP, UNet, autocast
from samplers import DDIM, FlowSampler, LogSNR, Sampler, TorchSDE
from sde_lib import VPSDE, DenoisingScoreMatching, Epsilon, Images, ScoreModel

SDE, X = VPSDE(), torch.zeros(4, 2)
SAMPLER = Sampler(DDIM(), times=LogSNR(5))
SAMPLERS = [SAMPLER, FlowSampler(), TorchSDE(steps=5)]


def small(shape=(2,)):
    return ScoreModel(MLP(shape, width=8, depth=1), SDE, Epsilon())


def unet():
    return ScoreModel(UNet((1, 8, 8), channels=8, multipliers=(1, 2), blocks=1, attention=()), SDE, Epsilon())


def nothing(x, t):
    return None


MISTAKES = {
    "another shape": (lambda: small()(torch.zeros(4, 5), 0.5), ValueError, r"of shape \(4, 5\) met a network made for \(4, 2\)"),
    "a missing axis": (lambda: unet()(torch.zeros(4, 64), 0.5), ValueError, r"\(4, 64\) met a network made for \(4, 1, 8, 8\)"),
    "more channels": (lambda: unet()(torch.zeros(4, 3, 8, 8), 0.5), ValueError, r"met a network made for \(4, 1, 8, 8\)"),
    "another shape in a loss": (
        lambda: DenoisingScoreMatching()(small(), torch.zeros(4, 5)),
        ValueError,
        r"of shape \(4, 5\) met a network made for \(4, 2\)",
    ),
    "float64": (lambda: small()(X.double(), 0.5), ValueError, "dtype torch.float64 met a network made for torch.float32"),
    "a density in float64": (lambda: log_likelihood(SDE, small(), X.double()), ValueError, "float64 met a network made for"),
    "samples in float64": (
        lambda: SAMPLER.sample(SDE, small(), (4, 2), dtype=torch.float64),
        ValueError,
        "float64 met a network made for torch.float32",
    ),
    "a wrapped network": (
        lambda: ScoreModel(autocast(MLP((2,), width=8)), SDE, Epsilon())(torch.zeros(4, 5), 0.5),
        ValueError,
        r"met a network made for \(4, 2\)",
    ),
    "another device": (lambda: small().to("meta")(X, 0.5), ValueError, "device cpu met a network made for meta"),
    "a swapped density": (lambda: log_likelihood(small(), SDE, X), TypeError, "give the process first"),
    "swapped bits": (
        lambda: bits_per_dim(small(), SDE, torch.zeros(4, 2).long(), images=Images()),
        TypeError,
        "process was given as ScoreModel and the score function as VPSDE",
    ),
    "a swapped encoding": (lambda: FlowSampler().encode(small(), SDE, X), TypeError, "give the process first"),
    "a score that is none": (lambda: log_likelihood(SDE, nothing, X), TypeError, "answer is of type NoneType"),
    "a network that answers nothing": (
        lambda: ScoreModel(nothing, SDE, Epsilon())(X, 0.5),
        TypeError,
        "answer is of type NoneType",
    ),
    "an array": (lambda: log_likelihood(SDE, small(), np.zeros((4, 2))), TypeError, "x is of type ndarray"),
    "an array for a model": (lambda: small()(np.zeros((4, 2), np.float32), 0.5), TypeError, "the state is of type ndarray"),
    "an array for a loss": (lambda: DenoisingScoreMatching()(small(), np.zeros((4, 2))), TypeError, "x0 is of type ndarray"),
    "an array of codes": (lambda: Images().encode(np.zeros((4, 2), np.uint8)), TypeError, "images is of type ndarray"),
    "an array of images": (
        lambda: bits_per_dim(SDE, small(), [np.zeros((4, 2), np.uint8)], images=Images()),
        TypeError,
        "is of type ndarray",
    ),
    "a number for MLP's shape": (lambda: MLP(5), TypeError, "a shape of 5 was given, and that of one datum"),
    "a number for UNet's shape": (lambda: UNet(5), TypeError, r"a shape of 5 was given, and \(channels, \*space\) was needed"),
    "autocast to integers": (lambda: autocast(MLP((2,)), torch.int8), ValueError, "autocast to torch.int8 .* give torch.bfloat16"),
    **{
        f"{type(sampler).__name__} {name}": (lambda sampler=sampler, given=given: sampler.sample(*given), kind, words)
        for sampler in SAMPLERS
        for name, given, kind, words in (
            ("swapped", (small(), SDE, (4, 2)), TypeError, "give the process first"),
            ("of a number", (SDE, small(), 3), TypeError, r"a shape of 3 was given, and \(samples, \*shape\) was needed"),
            ("of a score that is none", (SDE, nothing, (4, 2)), TypeError, "the score function's answer is of type NoneType"),
            ("of another shape", (SDE, small(), (4, 5)), ValueError, r"\(4, 5\) met a network made for \(4, 2\)"),
        )
    },
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(mistake):
    make, kind, words = mistake
    with pytest.raises(kind, match=words) as told:
        make()
    assert "\n" not in str(told.value)


def test_what_a_network_can_take_is_never_refused():
    """Images of another size, and states of another type where the network casts them; a failure of its own stays its own."""
    assert unet()(torch.zeros(2, 1, 16, 12), 0.5).shape == (2, 1, 16, 12)
    assert ScoreModel(autocast(MLP((2,), width=8)), SDE, Epsilon())(X.bfloat16(), 0.5).shape == X.shape
    own = ScoreModel(lambda x, label: x @ torch.zeros(3, 3), SDE, Epsilon())
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        own(X, 0.5)

    class Greedy(MLP):
        def forward(self, x, noise_label):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        ScoreModel(Greedy((2,)), SDE, Epsilon())(torch.zeros(4, 5), 0.5)


def test_a_model_is_one_graph():
    """The door costs the compiler nothing: fullgraph raises where it would have to stop."""
    model, t = small(), torch.full((4,), 0.5, dtype=torch.float64)
    torch.compiler.reset()
    assert torch.equal(torch.compile(model, backend="eager", fullgraph=True)(X, t), model(X, t))
