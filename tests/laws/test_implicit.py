"""Score matching without noise in its target: identities of Hyvarinen and Vincent, exactly, on Gaussian data.

For a linear score the losses are quadratic in the data and in the noise, so their expectations are exact averages over the
two-point rule: each entry of x0 at mean +- std, each of z at +- 1.
"""

import itertools
import math

import pytest
import torch

from models import MLP
from sde_lib import (
    VESDE,
    VPSDE,
    DenoisingScoreMatching,
    Epsilon,
    ImplicitScoreMatching,
    ImportanceTime,
    MixtureOracle,
    Score,
    ScoreModel,
    SlicedScoreMatching,
    SubVPSDE,
)

ONE = lambda sde, t: torch.ones_like(t)
MU, S2, MODEL_MEAN, MODEL_VARIANCE = 0.3, 0.25, -0.1, 0.4


def signs(d):
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=d)), dtype=torch.float64)


def two_point_rule(d=2):
    """x0 (4^d, d) of N(MU, S2) and z (4^d, d): averages of functions quadratic in each entry are exact."""
    both = signs(2 * d)
    return MU + S2**0.5 * both[:, :d], both[:, d:]


class Linear(torch.nn.Module):
    """The score of N(m, v)."""

    def __init__(self):
        super().__init__()
        self.m = torch.nn.Parameter(torch.tensor(MODEL_MEAN, dtype=torch.float64))
        self.v = torch.nn.Parameter(torch.tensor(MODEL_VARIANCE, dtype=torch.float64))

    def forward(self, x, label):
        return -(x - self.m) / self.v


def model_of(network, sde):
    return ScoreModel(network, sde, Score())


def time_of(sde, sigma):
    return sde.t_of_log_snr(-2 * torch.tensor(sigma, dtype=torch.float64).log())


OBJECTIVES = [
    ImplicitScoreMatching(weighting=ONE),
    SlicedScoreMatching(slices=3, weighting=ONE),  # the score is linear with a diagonal Jacobian: one probe of signs is exact
    SlicedScoreMatching(kind="gaussian", weighting=ONE),
    SlicedScoreMatching(variance_reduced=False, weighting=ONE),
]


def expectation(objective, model, x0, t, z):
    """The mean over the rule's rows and over probes whose second moments are the identity: all signs."""
    if not isinstance(objective, SlicedScoreMatching):
        return objective(model, x0, t=t, z=z).mean()
    d = x0.shape[1]
    probes = signs(d)[:, None].expand(-1, *x0.shape)
    return objective(model, x0, t=t, z=z, probes=probes).mean()


@pytest.mark.parametrize("objective", OBJECTIVES, ids=["trace", "sliced", "gaussian", "plain"])
@pytest.mark.parametrize("sde", [VPSDE(), VESDE(), SubVPSDE()], ids=["vp", "ve", "subvp"])
def test_implicit_loss_is_the_explicit_one_up_to_a_constant(objective, sde):
    """E|s|^2 + 2 tr grad s = E|s - grad log p_t|^2 - E|grad log p_t|^2, on x_t of N(alpha mu, alpha^2 s2 + sigma^2)."""
    x0, z = two_point_rule(3)
    t = torch.full((len(x0),), 0.4, dtype=torch.float64)
    alpha, sigma, _ = (v.item() for v in sde.at(0.4))
    mean, variance = alpha * MU, alpha**2 * S2 + sigma**2
    # s - grad log p_t = a x + b is linear in x ~ N(mean, variance)
    a, b = 1 / variance - 1 / MODEL_VARIANCE, MODEL_MEAN / MODEL_VARIANCE - mean / variance
    explicit = (a * mean + b) ** 2 + a**2 * variance
    actual = expectation(objective, model_of(Linear(), sde), x0, t, z)
    assert actual.item() == pytest.approx(explicit - 1 / variance, rel=1e-12)
    denoising = DenoisingScoreMatching(weighting=ONE)(model_of(Linear(), sde), x0, t=t, z=z).mean()
    assert denoising.item() - actual.item() == pytest.approx(1 / sigma**2, rel=1e-9)


@pytest.mark.parametrize("weighting", ["sigma2", "likelihood"])
def test_time_weights_are_those_of_denoising_score_matching(weighting):
    """The two losses differ by lambda(t) / sigma^2 over the density of t, at each time: by 1 with sigma2 and uniform times."""
    sde, (x0, z) = VPSDE(), two_point_rule()
    for times in (DenoisingScoreMatching().times, ImportanceTime()):
        for time in (0.05, 0.6):
            t = torch.full((len(x0),), time, dtype=torch.float64)
            losses = [
                objective(model_of(Linear(), sde), x0, t=t, z=z).mean()
                for objective in (
                    DenoisingScoreMatching(weighting, times),
                    ImplicitScoreMatching(weighting, times),
                    SlicedScoreMatching(weighting=weighting, times=times),
                )
            ]
            scale = {"sigma2": sde.at(time).sigma ** 2, "likelihood": sde.rates(time).g2}[weighting] * times.weight(sde, t)[0]
            expected = (scale / sde.at(time).sigma ** 2).item()
            for implicit in losses[1:]:
                assert (losses[0] - implicit).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES[:2] + OBJECTIVES[3:], ids=["trace", "sliced", "plain"])
def test_gradients_reach_the_parameters(objective):
    """Against the derivatives of J(m, v) = -2/v + ((mu - m)^2 + s2) / v^2, Hyvarinen's objective of N(m, v) on N(mu, s2)."""
    sde, (x0, _) = VESDE(), two_point_rule()
    network = Linear()
    t = torch.full((len(x0),), 0.3, dtype=torch.float64)
    loss = expectation(objective, model_of(network, sde), x0, t, torch.zeros_like(x0))
    m, v = torch.autograd.grad(loss, (network.m, network.v))
    gap = MU - MODEL_MEAN
    assert loss.item() == pytest.approx(-2 / MODEL_VARIANCE + (gap**2 + S2) / MODEL_VARIANCE**2, rel=1e-12)
    assert m.item() == pytest.approx(-2 * gap / MODEL_VARIANCE**2, rel=1e-12)
    assert v.item() == pytest.approx(2 / MODEL_VARIANCE**2 - 2 * (gap**2 + S2) / MODEL_VARIANCE**3, rel=1e-12)


def test_the_best_linear_score_has_the_small_noise_limit():
    """Minimised over m and v it is -(x - mu) / (s2 + sigma^2), which goes to the data's own score, -(x - mu) / s2."""
    sde, (x0, z) = VESDE(), two_point_rule()
    for sigma in (0.5, 0.02):
        network, t = Linear(), time_of(sde, sigma).expand(len(x0))
        with torch.no_grad():
            network.m.fill_(MU)
            network.v.fill_(S2 + sigma**2)
        loss = ImplicitScoreMatching()(model_of(network, sde), x0, t=t, z=z).mean()
        for gradient in torch.autograd.grad(loss, (network.m, network.v)):
            assert abs(gradient.item()) < 1e-12


def test_all_signs_average_to_the_trace_for_any_network():
    """Over all 2^d sign vectors v^T J v averages to tr J and (v . s)^2 to |s|^2: a network with a full Jacobian, 16 probes."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)).double()
    model = model_of(lambda x, label: network(x), VPSDE())
    x0, z = torch.randn(2, 5, 4, dtype=torch.float64)
    t = torch.linspace(0.1, 1, 5, dtype=torch.float64)
    x = VPSDE().kernel(x0, t).sample(z)
    jacobian = torch.stack([torch.autograd.functional.jacobian(network, row) for row in x])
    trace, square = jacobian.diagonal(dim1=1, dim2=2).sum(1), (network(x) ** 2).sum(1)
    expected = VPSDE().at(t).sigma ** 2 * (2 * trace + square) / 4
    probes = signs(4)[:, None].expand(16, 5, 4)
    for objective in (SlicedScoreMatching(), SlicedScoreMatching(variance_reduced=False)):
        torch.testing.assert_close(objective(model, x0, t=t, z=z, probes=probes), expected)
    torch.testing.assert_close(ImplicitScoreMatching()(model, x0, t=t, z=z), expected)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
@pytest.mark.parametrize("variance_reduced", [True, False])
def test_random_probes_are_unbiased(kind, variance_reduced):
    """4000 slices: the exact loss within five standard errors; signs are signs, normal probes have E v^4 = 3."""
    torch.manual_seed(1)
    weight = torch.randn(4, 4, dtype=torch.float64)
    model = model_of(lambda x, label: x @ weight, VPSDE())
    x0, z, t = torch.randn(1, 4).double(), torch.randn(1, 4).double(), torch.tensor([0.5])
    exact = ImplicitScoreMatching()(model, x0, t=t, z=z).item()
    rows = 4000
    objective = SlicedScoreMatching(kind=kind, variance_reduced=variance_reduced)
    losses = objective(model, x0.expand(rows, 4), t=t.expand(rows), z=z.expand(rows, 4))
    assert losses.shape == (rows,)
    assert abs(losses.mean().item() - exact) < 5 * losses.std().item() / rows**0.5
    if variance_reduced:  # Var(2 v^T J v): 2 |offdiag of J + J^T|^2 for signs, 2 |J + J^T|^2 for normal probes
        symmetric = weight + weight.T
        if kind == "rademacher":
            symmetric = symmetric - torch.diag(symmetric.diag())
        scale = VPSDE().at(0.5).sigma.item() ** 2 / 4
        assert losses.std().item() / scale == pytest.approx((2 * (symmetric**2).sum().item()) ** 0.5, rel=0.1)


def test_slices_are_averaged_and_variance_reduction_lowers_the_variance():
    """K slices divide the variance by K; |s|^2 in the place of (v . s)^2 lowers it."""
    torch.manual_seed(2)
    weight = torch.randn(4, 4, dtype=torch.float64)
    model = model_of(lambda x, label: x @ weight, VPSDE())
    rows = 4000
    x0 = torch.ones(rows, 4, dtype=torch.float64)
    fixed = {"t": torch.full((rows,), 0.5), "z": torch.ones_like(x0)}
    one, four, plain = (
        SlicedScoreMatching(slices=k, variance_reduced=reduced)(model, x0, **fixed).var().item()
        for k, reduced in ((1, True), (4, True), (1, False))
    )
    assert four == pytest.approx(one / 4, rel=0.15)
    assert plain > 1.5 * one


@pytest.mark.parametrize("objective", [ImplicitScoreMatching(), SlicedScoreMatching()], ids=["trace", "sliced"])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4), (4, 4), (5, 1, 2, 3)])
def test_shapes_rows_and_conditions(objective, shape):
    """Row i depends on row i alone, whatever the shape; conditions reach the network."""
    model = ScoreModel(lambda x, label, y: torch.sin(x) * y.reshape(-1, *[1] * (x.ndim - 1)), VPSDE(), Epsilon())
    g = torch.Generator().manual_seed(4)
    x0, z = (torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(2))
    t, y = torch.linspace(0.2, 0.9, shape[0], dtype=torch.float64), torch.arange(1.0, shape[0] + 1, dtype=torch.float64)
    whole = objective(model, x0, t=t, z=z, y=y)
    assert whole.shape == (shape[0],)
    alone = objective(model, x0[1:2], t=t[1:2], z=z[1:2], y=y[1:2])
    torch.testing.assert_close(whole[1:2], alone)  # the Jacobian is diagonal: any signs give the same
    alpha, sigma, _ = VPSDE().at(t[1])
    x = alpha * x0[1] + sigma * z[1]
    s, trace = -y[1] * torch.sin(x) / sigma, -y[1] * torch.cos(x).sum() / sigma
    torch.testing.assert_close(whole[1], sigma**2 * (2 * trace + (s**2).sum()) / x.numel())


def test_no_grad_gives_the_value_without_a_graph():
    model = model_of(Linear(), VPSDE())
    x0, z = two_point_rule()
    t = torch.full((len(x0),), 0.5)
    for objective in (ImplicitScoreMatching(), SlicedScoreMatching()):
        with torch.no_grad():
            value = objective(model, x0, t=t, z=z)
        assert not value.requires_grad
        torch.testing.assert_close(value, objective(model, x0, t=t, z=z).detach())


@pytest.mark.slow
@pytest.mark.parametrize("objective", [ImplicitScoreMatching(), SlicedScoreMatching(slices=1)], ids=["trace", "sliced"])
def test_training_recovers_the_score_of_a_mixture(objective):
    """300 steps of a small MLP at moderate noise: a tenth of the error of the score 0 remains, or less.

    And where the data are not, in a box around them, the error is larger: what annealing is for (Song and Ermon, 2019, 3.2.1).
    """
    torch.manual_seed(3)
    sde, oracle = VPSDE(), MixtureOracle([0.2, 0.8], torch.tensor([[-1.0, 0.5], [0.8, -0.4]]), [0.3, 0.4])
    network = MLP((2,), width=64, depth=2)
    model = ScoreModel(network, sde, Epsilon())
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    data = oracle.sample(20_000).float()
    for step in range(300):
        x0 = data[64 * step % 19_800 :][:200]
        t = 0.2 + 0.6 * torch.rand(200, dtype=torch.float64)
        loss = objective(model, x0, t=t).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    t = torch.linspace(0.2, 0.8, 2000, dtype=torch.float64)
    x = sde.kernel(oracle.sample(2000, seed=1), t).sample(torch.randn(2000, 2, dtype=torch.float64))
    scale = sde.at(t).sigma ** 2
    here, elsewhere = (
        ((model(at.float(), t).detach() - oracle.score(sde)(at, t)) ** 2).sum(1) * scale
        for at in (x, 8 * torch.rand(2000, 2, dtype=torch.float64) - 4)
    )
    assert here.mean() < 0.1 * ((oracle.score(sde)(x, t) ** 2).sum(1) * scale).mean()
    assert elsewhere.mean() > 2 * here.mean()


def test_invalid_arguments_are_refused():
    model = model_of(Linear(), VPSDE())
    with pytest.raises(ValueError, match="use SlicedScoreMatching"):
        ImplicitScoreMatching()(model, torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="use one of 'rademacher', 'gaussian'"):
        SlicedScoreMatching(kind="sphere")
    with pytest.raises(ValueError, match="at least one slice"):
        SlicedScoreMatching(slices=0)
    for objective in (ImplicitScoreMatching, SlicedScoreMatching):
        with pytest.raises(ValueError, match="weighting 'snr' is not known"):
            objective(weighting="snr")
        with pytest.raises(TypeError, match="encode"):
            objective()(model, torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"probes of shape \(2, 2\)"):
        SlicedScoreMatching()(model, torch.zeros(2, 2), probes=torch.ones(2, 2))
    assert math.isfinite(ImplicitScoreMatching(max_dims=192)(model, torch.zeros(1, 3, 8, 8)).item())
