"""Networks that would make numbers wrong without a word: without a gradient, changing what they are given, in training mode."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from likelihood import Exact, Hutchinson, Probing, bits_per_dim, log_likelihood, sde_bits_per_dim, sde_bound, variational_bound
from models import MLP
from samplers import DDIM, FlowSampler, Heun, LogSNR, Sampler, Threshold, progressive
from sde_lib import (
    EDM,
    VESDE,
    VPSDE,
    Data,
    DenoisingScoreMatching,
    Epsilon,
    GaussianOracle,
    Images,
    ImplicitScoreMatching,
    PreviousMean,
    RectifiedFlow,
    ReverseSDE,
    ScaledScore,
    Score,
    ScoreModel,
    SlicedScoreMatching,
    Tabulated,
    V,
    Velocity,
    WithVariance,
)

STD = 0.5  # of the data, N(0, STD^2): every target is a multiple of x


class OfGaussian(nn.Module):
    """The exact network for Gaussian data: E[a x0 + b eps | x] = (a alpha STD^2 + b sigma) x / (alpha^2 STD^2 + sigma^2).

    It finds the level in its noise label, log(sigma / alpha) / 4. how is what is done to the input or to the answer.
    """

    def __init__(self, sde, parameterization, how=lambda network, x, label: network.exact(x, label)):
        super().__init__()
        self.sde, self.of, self.how = sde, parameterization, how
        self.one = nn.Parameter(torch.ones((), dtype=torch.float64))  # so that every answer requires a gradient

    def exact(self, x, label):
        t = self.sde.t_of_log_snr(-8 * label.detach())
        level = self.sde.at(t)
        a, b = (torch.as_tensor(c, dtype=torch.float64) for c in self.of.target(self.sde, t, level))
        alpha, sigma, _ = level
        scale = torch.as_tensor(self.of.scale(level), dtype=torch.float64)
        factor = (a * alpha * STD**2 + b * sigma) / (alpha**2 * STD**2 + sigma**2) / scale
        answer = self.one * factor[:, None] * x
        return torch.cat([answer, 0 * answer], 1) if self.of.outputs == 2 else answer

    def forward(self, x, label):
        return self.how(self, x, label)


@torch.no_grad()
def under_no_grad(network, x, label):
    return network.exact(x, label)


@torch.inference_mode()
def under_inference_mode(network, x, label):
    return network.exact(x, label)


def detached_answer(network, x, label):
    return network.exact(x, label).detach()


def detached_input(network, x, label):
    """The answer requires a gradient, that of the weights, and its graph does not lead to x."""
    return network.exact(x.detach(), label)


def input_through_numpy(network, x, label):
    return network.exact(torch.from_numpy(x.detach().numpy().copy()), label)


CUT = [under_no_grad, under_inference_mode, detached_answer, detached_input, input_through_numpy]
PARAMETERIZATIONS = [Epsilon(), Data(), Score(), ScaledScore(), V(), Velocity(), EDM(), WithVariance(of=Epsilon())]
DIVERGENCES = [Exact(), Hutchinson(probes=2), Probing(probes=2)]
X = torch.tensor([[0.3, -0.2], [1.0, 0.4]], dtype=torch.float64)


def named(value):
    return getattr(value, "__name__", None) or type(value).__name__


@pytest.mark.parametrize("of", PARAMETERIZATIONS, ids=named)
@pytest.mark.parametrize("sde", [VPSDE(), RectifiedFlow()], ids=named)
def test_the_exact_network_has_the_log_density_of_its_data(sde, of):
    """What the networks below are when nothing is cut: so that a refusal is about the cut."""
    got = log_likelihood(sde, ScoreModel(OfGaussian(sde, of), sde, of), X, tolerance=1e-7).log_prob
    torch.testing.assert_close(got, GaussianOracle(torch.zeros(2), STD).log_prob(X, sde, sde.t_min), rtol=0, atol=1e-3)


@pytest.mark.parametrize("cut", CUT, ids=named)
@pytest.mark.parametrize("of", PARAMETERIZATIONS, ids=named)
@pytest.mark.parametrize("divergence", DIVERGENCES, ids=named)
def test_a_network_without_a_gradient_has_no_likelihood(divergence, of, cut):
    sde = VPSDE()
    with pytest.raises(ValueError, match="the network's answer carries no gradient with respect to x"):
        log_likelihood(sde, ScoreModel(OfGaussian(sde, of, cut), sde, of), X, divergence=divergence)


@pytest.mark.parametrize("cut", CUT, ids=named)
def test_a_network_without_a_gradient_has_no_sliced_bound_and_no_implicit_loss(cut):
    sde = VPSDE()
    model = ScoreModel(OfGaussian(sde, V(), cut), sde, V())
    assert sde_bound(sde, model, X, draws=2).log_prob.isfinite().all()  # the denoising form needs none
    for wrong in (
        lambda: sde_bound(sde, model, X, form="sliced"),
        lambda: ImplicitScoreMatching()(model, X),
        lambda: SlicedScoreMatching()(model, X),
        lambda: log_likelihood(sde, model, X.clone().requires_grad_(), gradients=True),
        lambda: log_likelihood(sde, lambda x, t: -model(x.detach(), t), X),  # a bare score whose input is cut off
    ):
        with pytest.raises(ValueError, match="carries no gradient with respect to x"):
            wrong()


def test_a_network_of_a_table_without_a_gradient_has_no_likelihood():
    sde = Tabulated.from_betas(torch.linspace(1e-3, 0.3, 20))
    for network in (lambda x, label: x.detach(), nn.Sequential(nn.Linear(2, 2)).double()):
        call = network if not isinstance(network, nn.Module) else lambda x, label, network=network: network(x.detach())
        with pytest.raises(ValueError, match="carries no gradient with respect to x"):
            ReverseSDE(sde, ScoreModel(call, sde, PreviousMean())).score(X.clone().requires_grad_(), sde.times[5])


def test_a_network_without_a_gradient_is_sampled_as_any_other():
    sde = VPSDE()
    sampler = Sampler(DDIM(), times=LogSNR(5))
    samples = [
        sampler.sample(sde, ScoreModel(OfGaussian(sde, Epsilon(), *how), sde, Epsilon()), (3, 2), dtype=torch.float64).x
        for how in [(), *((cut,) for cut in CUT)]
    ]
    for x in samples[1:]:
        assert torch.equal(x, samples[0])


def test_gradients_of_functorch_and_of_checkpoints_pass():
    sde = VPSDE()
    linear = nn.Linear(2, 2).double()
    plain = ScoreModel(lambda x, label: torch.sin(linear(x)), sde, Epsilon())
    checkpointed = torch.utils.checkpoint.checkpoint
    again = ScoreModel(lambda x, label: checkpointed(lambda x: torch.sin(linear(x)), x, use_reentrant=False), sde, Epsilon())
    x = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(plain(x, 0.5).sum(), x)
    torch.testing.assert_close(torch.func.grad(lambda x: plain(x, 0.5).sum())(X), expected)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(lambda x: plain(x[None], 0.5).sum()))(X), expected)
    torch.testing.assert_close(torch.autograd.grad(again(x, 0.5).sum(), x)[0], expected)
    first, *others = x.unbind(0)
    assert plain(torch.stack([first, *others]), 0.5).requires_grad


def clamped(x, label, **_):
    return x.clamp_(-0.1, 0.1)


def activated(x, label, **_):
    return nn.SiLU(inplace=True)(x)


def sliced(x, label, **_):
    x[:, 0] = 0
    return x + 0


def flattened(x, label, **_):
    return x.flatten().mul_(0.5).reshape(x.shape)  # through a view


@pytest.mark.parametrize("network", [clamped, activated, sliced, flattened], ids=named)
def test_a_network_that_changes_its_input_is_refused_by_name(network):
    sde = VPSDE()
    for of in (Epsilon(), Data(), Score(), V(), Velocity()):
        model = ScoreModel(network, sde, of)
        for use in (model, model.bind(), lambda x, t, model=model: model(x, t)):
            for sample in (Sampler(DDIM(), times=LogSNR(3)).sample, FlowSampler().sample):
                with pytest.raises(ValueError, match="the network has changed its input in place"):
                    sample(sde, use, (2, 2))
    with pytest.raises(ValueError, match="the score function has changed its input in place"):
        Sampler(DDIM(), times=LogSNR(3)).sample(sde, lambda x, t: network(x, t), (2, 2))


def test_a_network_that_changes_its_input_gets_a_copy_where_changes_are_not_counted():
    """1 = x is what the Prediction must still hold, and v = x / 2 with x as it was."""
    x = torch.full((1, 2), 1.0)
    with torch.inference_mode():
        state = x.clone()
        prediction = ScoreModel(lambda x, label: x.mul_(0.5), VPSDE(), Data()).predict(state, 0.5)
        assert torch.equal(state, x) and torch.equal(prediction.x0, 0.5 * x)
        score = ReverseSDE(VPSDE(), lambda x, t: x.mul_(-1)).score(state, 0.5)
        assert torch.equal(state, x) and torch.equal(score, -x)


def test_a_network_may_change_what_is_its_own():
    """The scaled input of EDM, and the noise label: both are made for the call."""
    sde = VESDE()
    x = torch.ones(1, 2, dtype=torch.float64)
    for t in (torch.tensor(0.5, dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)):
        careful = ScoreModel(lambda x, label: 2 * x * label[:, None], sde, EDM(label="sigma"))
        careless = ScoreModel(lambda x, label: x.mul_(2).mul_(label.mul_(1)[:, None]), sde, EDM(label="sigma"))
        assert torch.equal(careful.predict(x, t).x0, careless.predict(x, t).x0) and bool((x == 1).all())


def test_a_noise_label_that_the_network_changes_is_told_again_as_it_was():
    """Heun asks twice at each time, and a sampler computes the labels of its grid once: a single row gets them as they are."""

    def careful(x, label):
        return 0.1 * x * (0.5 * label)[:, None]

    def careless(x, label):
        return 0.1 * x * label.mul_(0.5)[:, None]

    sampler = Sampler(Heun(), times=LogSNR(4))
    models = [ScoreModel(network, VESDE(), Epsilon(label="sigma")) for network in (careful, careless)]
    first, second = (sampler.sample(VESDE(), model, (1, 2), dtype=torch.float64).x for model in models)
    assert torch.equal(first, second)


def test_a_network_that_changes_a_condition_is_refused_by_name():
    def network(x, label, y, scale):
        return x * F.relu_(y)[:, None] * scale

    model = ScoreModel(network, VPSDE(), Epsilon())
    with pytest.raises(ValueError, match="the network has changed the condition 'y' in place"):
        model.bind(y=torch.tensor([1.0, -1.0]), scale=2.0)(torch.ones(2, 2), 0.5)


def test_the_state_of_a_report_of_91():
    """x0 = x clamped to 10 at x = 100 and a small time: the probability flow keeps most of x, a changed x loses it."""
    sde, x = VPSDE(), torch.full((1, 1), 100.0, dtype=torch.float64)
    t, s = torch.tensor([0.1, 0.05], dtype=torch.float64)
    kept = ScoreModel(lambda x, label: x.clamp(max=10.0), sde, Data())
    now, then = sde.at(t), sde.at(s)
    expected = then.alpha * 10.0 + then.sigma * (100.0 - now.alpha * 10.0) / now.sigma
    got = DDIM().step(ReverseSDE(sde, kept), x, t, s, None, torch.zeros_like).x
    assert math.isclose(got.item(), expected.item(), rel_tol=1e-12)
    with pytest.raises(ValueError, match="in place"):
        DDIM().step(ReverseSDE(sde, ScoreModel(lambda x, label: x.clamp_(max=10.0), sde, Data())), x, t, s, None, torch.zeros_like)


class Mixed(nn.Module):
    """A network around one layer."""

    def __init__(self, layer):
        super().__init__()
        self.first, self.layer = nn.Linear(2, 4), layer

    def forward(self, x, label, y=None):
        h = self.first(x)
        h = self.layer(h[:, :, None])[:, :, 0] if isinstance(self.layer, nn.InstanceNorm1d | nn.Dropout1d) else self.layer(h)
        return h[:, :2]


class Attention(nn.MultiheadAttention):
    def forward(self, h):
        return super().forward(h[None], h[None], h[None])[0][0]


RANDOM = {
    "Dropout": lambda: nn.Dropout(0.5),
    "Dropout1d": lambda: nn.Dropout1d(0.5),
    "AlphaDropout": lambda: nn.AlphaDropout(0.5),
    "BatchNorm1d": lambda: nn.BatchNorm1d(4),
    "InstanceNorm1d": lambda: nn.InstanceNorm1d(4, track_running_stats=True),
    "RReLU": lambda: nn.RReLU(),
    "Attention": lambda: Attention(4, 1, dropout=0.5),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(4, 1, 8, dropout=0.5),
}
STEADY = {
    "Dropout(0)": lambda: nn.Dropout(0.0),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "Attention(0)": lambda: Attention(4, 1),
    "RReLU(1, 1)": lambda: nn.RReLU(1.0, 1.0),
}


def uses(sde):
    """Every door: the samplers, the likelihoods and the bounds."""
    table = Tabulated.from_betas(torch.linspace(1e-3, 0.3, 5))
    x = torch.full((2, 2), 0.3)
    grid = Sampler(DDIM(), times=LogSNR(3))
    codes = {"images": Images(levels=4)}
    return {
        "Sampler": lambda model: grid.sample(sde, model, (2, 2)).x,
        "Sampler.stream": lambda model: [frame.x for frame in grid.stream(sde, model, (2, 2))][-1],
        "Sampler.encode": lambda model: grid.encode(sde, model, x).x,
        "FlowSampler": lambda model: FlowSampler(rtol=0.3, atol=0.3).sample(sde, model, (2, 2)).x,
        "FlowSampler.encode": lambda model: FlowSampler(rtol=0.3, atol=0.3).encode(sde, model, x).x,
        "progressive": lambda model: [frame.x for frame in progressive(grid, sde, model, (2, 2))][-1],
        "log_likelihood": lambda model: log_likelihood(sde, model, x, tolerance=0.3).log_prob,
        "bits_per_dim": lambda model: bits_per_dim(sde, model, (x * 4).long(), tolerance=0.3, **codes).per_image,
        "sde_bound": lambda model: sde_bound(sde, model, x, draws=2).log_prob,
        "sde_bits_per_dim": lambda model: sde_bits_per_dim(sde, model, (x * 4).long(), draws=2, **codes).per_image,
        "variational_bound": lambda model: (
            variational_bound(table, ScoreModel(model.network, table, model.parameterization), (x * 4).long(), **codes).per_image
        ),
    }


@pytest.mark.parametrize("layer", RANDOM)
@pytest.mark.parametrize("door", uses(VPSDE()))
def test_a_network_in_training_mode_is_refused_by_name_and_in_evaluation_mode_gives_the_same_twice(door, layer):
    model = ScoreModel(Mixed(RANDOM[layer]()), VPSDE(), Epsilon())
    use = uses(model.sde)[door]
    with pytest.raises(ValueError, match=r"in training mode, .* call model\.eval\(\) first"):
        use(model)
    model.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert torch.equal(use(model), use(model))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())  # no statistics were counted


@pytest.mark.parametrize("layer", STEADY)
def test_a_network_that_is_the_same_in_both_modes_may_stay_in_training_mode(layer):
    model = ScoreModel(Mixed(STEADY[layer]()), VPSDE(), Epsilon())
    for use in list(uses(model.sde).values())[:5]:
        assert torch.equal(use(model.train()), use(model.eval()))


def test_a_network_in_training_mode_is_found_wherever_it_is():
    sde = VPSDE()
    network = Mixed(nn.Dropout(0.5))
    model = ScoreModel(network, sde, Epsilon())
    bare = ScoreModel(lambda x, label: network(x, label), sde, Epsilon())
    bare.classifier = network
    before = Threshold(model)  # made while the network trains, and used when it does not
    of_modules = nn.Sequential(nn.Dropout(0.5))
    of_modules.forward = lambda x, t: -x
    sampler = Sampler(DDIM(), times=LogSNR(3))
    for score_fn in (
        model.bind(),
        lambda x, t: model(x, t),
        Threshold(model.bind()),
        bare,
        before,
        of_modules,
        ScoreModel(DistributedLike(network), sde, Epsilon()),
    ):
        with pytest.raises(ValueError, match=r"call model\.eval\(\) first"):
            sampler.sample(sde, score_fn, (2, 2))
    conditional = ScoreModel(MLP((2,), condition=3, condition_dropout=0.1), sde, Epsilon())
    with pytest.raises(ValueError, match=r"layers Condition draw"):
        sampler.sample(sde, conditional.bind(y=torch.tensor([0, 1])), (2, 2))
    assert sampler.sample(sde, before.score_fn.eval() and before, (2, 2)).x.isfinite().all()
    model.network.layer.train()  # dropout that is meant: Monte Carlo over networks
    first, second = (sampler.sample(sde, model, (64, 2)).x for _ in range(2))
    assert not torch.equal(first, second)
    model.train()
    assert DenoisingScoreMatching()(model, torch.ones(2, 2)).isfinite().all()  # training is what the mode is for


class DistributedLike(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args):
        return self.module(*args)
