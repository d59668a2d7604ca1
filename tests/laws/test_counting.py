"""Network calls are counted where the network is called."""

import pytest
import torch

from likelihood import log_likelihood, sde_bound
from samplers import DDIM, FlowSampler, Sampler, Threshold, Uniform
from sde_lib import VPSDE, Epsilon, Moved, Prediction, RectifiedFlow, ReverseSDE, ScoreModel
from sde_lib.score import ScoreFunction

SDE = VPSDE()


class Network:
    """A network that counts by itself."""

    def __init__(self, scale=0.1):
        self.scale, self.calls, self.rows = scale, 0, 0

    def __call__(self, x, label):
        self.calls, self.rows = self.calls + 1, self.rows + len(x)
        return self.scale * x


class ClassifierFree(ScoreFunction):
    """eps = eps_free + 2 (eps_given - eps_free): Ho and Salimans, 2022, arXiv 2207.12598, equation 6."""

    def __init__(self, given, free):
        self.given, self.free, self.sde = given, free, given.sde

    def predict(self, x, t):
        given, free = self.given.predict(x, t), self.free.predict(x, t)
        return Prediction(x, free.eps + 2 * (given.eps - free.eps), given.level, 0.0, 1.0)

    def take(self, rows):
        return ClassifierFree(self.given.take(rows), self.free.take(rows))


@pytest.fixture
def networks():
    return Network(0.1), Network(0.2)


@pytest.fixture
def guided(networks):
    return ClassifierFree(*(ScoreModel(network, SDE, Epsilon()).bind() for network in networks))


TEN = Sampler(DDIM(), times=Uniform(10))


def test_guidance_by_two_networks_takes_two_calls_a_step(guided, networks):
    assert TEN.sample(SDE, guided, (4, 2)).nfe == 20 == sum(network.calls for network in networks)
    last = Sampler(DDIM(), times=Uniform(10), last="denoise").sample(SDE, guided, (4, 2))
    assert last.nfe == 22


def test_a_bare_function_is_one_call_a_step():
    assert TEN.sample(SDE, lambda x, t: -x, (4, 2)).nfe == 10
    assert TEN.sample(SDE, Threshold(lambda x, t: -x, sde=SDE), (4, 2)).nfe == 10


def test_wrappers_around_a_network_are_not_counted(networks):
    model = ScoreModel(networks[0], SDE, Epsilon())
    assert TEN.sample(SDE, Threshold(model), (4, 2)).nfe == 10
    moved = Moved(model, RectifiedFlow(t_min=0.002, T=0.99))
    assert TEN.sample(moved.sde, moved, (4, 2)).nfe == 10
    inner = ReverseSDE(SDE, model)
    outer = ReverseSDE(SDE, lambda x, t: inner.score(x, t) + inner.score(x, t))
    outer.flow(torch.ones(3, 2), 0.5)
    assert (inner.calls, inner.rows) == (outer.calls, outer.rows) == (2, 6)


def test_solvers_and_bounds_count_the_calls_of_their_networks(guided, networks):
    def since(calls=(0, 0)):
        return sum(network.calls for network in networks) - calls[0], sum(network.rows for network in networks) - calls[1]

    x = torch.linspace(-1, 2, 8).double().reshape(4, 2)  # rows that end at different times
    found = log_likelihood(SDE, guided, x, tolerance=1e-4)
    assert (found.nfe, found.rows) == since()
    before = since()
    assert FlowSampler().sample(SDE, guided, (4, 2)).nfe == since(before)[0] and since(before)[1] < 4 * since(before)[0]
    before = since()
    assert FlowSampler(last="denoise").encode(SDE, guided, x).nfe == since(before)[0]
    before = since()
    assert sde_bound(SDE, guided, x, draws=4).nfe == since(before)[0] == 8


def test_a_call_between_two_frames_is_the_callers_own(guided, networks):
    frames = TEN.stream(SDE, guided, (4, 2))
    mine = ReverseSDE(SDE, guided)
    for i, frame in enumerate(frames):
        assert frame.nfe == 2 * i
        mine.predict(frame.x, torch.tensor(frame.t))
        networks_alone = guided.given.model
        networks_alone(frame.x, torch.tensor(frame.t))  # which nobody counts
    assert mine.calls == 22


def test_a_compiled_model_is_one_graph(networks):
    class Half(torch.nn.Module):
        def forward(self, x, label):
            return 0.5 * x

    model = ScoreModel(Half(), SDE, Epsilon())
    compiled = torch.compile(lambda x, t: model.predict(x, t).score, fullgraph=True, backend="eager")
    x, t = torch.ones(3, 2), torch.tensor(0.5, dtype=torch.float64)
    torch.testing.assert_close(compiled(x, t), model(x, t))
    reverse = ReverseSDE(SDE, compiled)
    reverse.score(x, t)
    assert reverse.calls == 1
