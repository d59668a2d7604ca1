"""The binomial chain against matrices of its steps, and its bound against enumeration of all states."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import comb, entr

from models import MLP
from sde_lib import BinomialDiffusion

STEPS = pytest.mark.parametrize("steps", [1, 2, 7, 300])


@functools.cache
def chain(steps):
    """matrices[t][i, j] = q(x_t = j | x_{t-1} = i), t = 1..steps, by the definition: flip to a fair coin with beta_t."""
    betas = [1 / (steps - t + 1) for t in range(1, steps + 1)]
    return [None] + [(1 - b) * np.eye(2) + b * np.full((2, 2), 0.5) for b in betas]


@functools.cache
def since_start(steps):
    """products[t][i, j] = q(x_t = j | x_0 = i), t = 0..steps."""
    products = [np.eye(2)]
    for matrix in chain(steps)[1:]:
        products.append(products[-1] @ matrix)
    return products


def bayes(steps, t):
    """[x0, x_t]: q(x_{t-1} = 1 | x_t, x0)."""
    step, before, after = chain(steps)[t], since_start(steps)[t - 1], since_start(steps)[t]
    return before[:, 1:2] * step[1] / after


def bits(rows):
    return torch.as_tensor(np.asarray(rows), dtype=torch.float64)


def entropy(p):
    """Of a Bernoulli law, in nats; numpy."""
    return entr(p) + entr(1 - p)


@STEPS
def test_marginals_are_the_products_of_the_steps(steps):
    law = BinomialDiffusion(steps)
    np.testing.assert_allclose(law.betas.numpy(), [2 * m[0, 1] for m in chain(steps)[1:]], rtol=1e-12)
    for t, product in enumerate(since_start(steps)):
        actual = law.marginal(bits([[0.0], [1.0]]), torch.tensor([t, t]))[:, 0]
        np.testing.assert_allclose(actual.numpy(), product[:, 1], rtol=1e-10, atol=1e-13)
    assert (law.marginal(bits([[0.0, 1.0]]), torch.tensor([steps])) == 0.5).all()  # nothing is left at T: no prior term


@STEPS
def test_posteriors_are_bayes_rule(steps):
    law = BinomialDiffusion(steps)
    for t in {1, 2, steps // 2, steps} & set(range(1, steps + 1)):
        x0, x = bits([[0], [0], [1], [1]]), bits([[0], [1], [0], [1]])
        actual = law.posterior(x, x0, torch.full((4,), t))
        np.testing.assert_allclose(actual.reshape(2, 2).numpy(), bayes(steps, t), rtol=1e-9, atol=1e-12)
        half = law.posterior(x[:2], torch.full((2, 1), 0.25).double(), torch.full((2,), t))  # linear in the belief about x0
        expected = 0.75 * bayes(steps, t)[0] + 0.25 * bayes(steps, t)[1]
        np.testing.assert_allclose(half[:, 0].numpy(), expected, rtol=1e-9, atol=1e-12)


class ExactNetwork:
    """Logits of q(x0_i = 1 | x_t) for data uniform on the given rows, by Bayes' rule over all of them."""

    def __init__(self, data, steps, weights=None):
        self.data, self.steps = bits(data), steps
        self.log_weights = torch.log(torch.ones(len(data)).double() if weights is None else bits(weights))

    def __call__(self, x, label):
        flipped = torch.sigmoid(4 * label.double())[:, None]  # the label is log(flipped / kept) / 4
        same = (x.double()[:, None] == self.data).sum(2)
        log_joint = same * torch.log1p(-flipped) + (x.shape[1] - same) * flipped.log() + self.log_weights
        log_joint = log_joint[..., None]
        on, off = ((torch.where(self.data == v, log_joint, -math.inf)).logsumexp(1) for v in (1, 0))
        return (on - off).clamp(-500, 500)


def states(d):
    return bits(list(itertools.product((0, 1), repeat=d)))


def probability(x, x0, flipped):
    """q(x_t = x | x0) for rows x (n, d) and data (m, d): (n, m)."""
    same = (x[:, None] == x0).double().sum(2)
    return (1 - flipped) ** same * flipped ** (x.shape[1] - same)


def exact_bound(data, weights, steps):
    """E of the bound with the exact network, in nats: the library's terms, averaged over all states and all data."""
    law, network, x, total = BinomialDiffusion(steps), ExactNetwork(data, steps, weights), states(len(data[0])), 0.0
    for t in range(1, steps + 1):
        mass = probability(x, bits(data), t / (2 * steps)) * bits(weights)
        for k, row in enumerate(bits(data)):
            terms = law.term(network, row.expand_as(x), x, torch.full((len(x),), t))
            total += (terms * mass[:, k]).sum().item()
    return total


@pytest.mark.parametrize("steps", [1, 2, 5, 40])
@pytest.mark.parametrize("p", [0.5, 0.3, 0.01])
def test_one_bit_s_bound_with_the_exact_reverse_is_its_entropy(p, steps):
    """One bit has no neighbours to depend on: the reverse is exact, and so is the bound, for any number of steps."""
    assert exact_bound([[0], [1]], [1 - p, p], steps) == pytest.approx(stats.bernoulli(p).entropy().item(), rel=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_bound_is_the_entropy_plus_the_total_correlations(steps):
    """Six bits, a pulse every third: H(x0) + sum over t of the total correlation of x_{t-1} given x_t, from the joint chain.

    A reverse whose bits are independent given x_t cannot do better; with one step all is lost: 6 H(1/3) = H + correlation.
    """
    data = [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 1]]
    x = states(6)
    joint_step = lambda t: probability(x, x, chain(steps)[t][0, 1]).numpy().T  # q(x_t | x_{t-1})
    law_of = lambda t: probability(x, bits(data), since_start(steps)[t][0, 1]).numpy().mean(1)
    expected = math.log(3)
    for t in range(1, steps + 1):
        joint = law_of(t - 1)[:, None] * joint_step(t)  # [x_{t-1}, x_t]
        given = joint / joint.sum(0)
        separate = x.numpy().T @ given  # P(x_{t-1}, i = 1 | x_t), [i, x_t]
        product = np.prod(np.where(x.numpy()[:, :, None] == 1, separate, 1 - separate), axis=1)
        expected += np.sum(
            np.where(joint > 0, joint * np.log(np.where(joint > 0, given, 1) / np.where(product > 0, product, 1)), 0)
        )
    actual = exact_bound(data, [1 / 3] * 3, steps)
    assert actual == pytest.approx(expected, rel=1e-9)
    assert actual > math.log(3)
    if steps == 1:
        assert actual == pytest.approx(6 * stats.bernoulli(1 / 3).entropy(), rel=1e-9)


HEARTBEAT = np.array([[int(i % 5 == k) for i in range(20)] for k in range(5)])


def heartbeat_bound(steps):
    """The least bound, in bits, of a reverse with independent bits: enumeration over how many of the 4 bits of each phase are on.

    All states with the same five counts are alike, so 5^5 of them stand for 2^20.
    """
    counts = np.array(list(itertools.product(range(5), repeat=5)))
    ways = comb(4, counts).prod(1)
    total = 0.0
    for t in range(1, steps + 1):
        f = since_start(steps)[t][0, 1]
        on = f ** (4 - counts) * (1 - f) ** counts  # the four bits of a phase, where the pulse is there
        off = (1 - f) ** (4 - counts) * f**counts
        law = np.stack([np.where(np.arange(5) == k, on, off).prod(1) for k in range(5)], 1)  # q(state | phase k)
        phase = law / law.sum(1, keepdims=True)
        back = bayes(steps, t)
        for value, number in ((0, 4 - counts), (1, counts)):  # bits that are off, or on, in each phase
            of_off, of_on = back[:, value]
            p = of_off + phase * (of_on - of_off)
            gain = entropy(p) - phase * entropy(of_on) - (1 - phase) * entropy(of_off)  # the mean KL to the mean
            total += (ways * law.sum(1) / 5 * (number * gain).sum(1)).sum()
    return total / math.log(2)


@pytest.mark.slow
def test_exact_reverse_of_the_heartbeat_has_the_enumerated_bound():
    """Above log2 5, and nearer to it with more steps; the library's terms agree with the enumeration, over its 5^5 classes."""
    bounds = [heartbeat_bound(steps) for steps in (1, 10, 100, 1000)]
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] > math.log2(5)
    assert bounds[0] == pytest.approx(20 * stats.bernoulli(0.2).entropy() / math.log(2), rel=1e-9)  # one step: no bit is told
    assert bounds[-1] - math.log2(5) < 0.12 * (bounds[1] - math.log2(5))  # the excess falls as 1/T
    steps = 10
    law, network = BinomialDiffusion(steps), ExactNetwork(HEARTBEAT, steps)
    counts = np.array(list(itertools.product(range(5), repeat=5)))
    x = bits([[int(i // 5 < row[i % 5]) for i in range(20)] for row in counts])
    ways = bits(comb(4, counts).prod(1))
    total = 0.0
    for t in range(1, steps + 1):
        x0 = bits(HEARTBEAT[:1])  # the other phases are the same turned around
        mass = ways * probability(x, x0, t / (2 * steps))[:, 0]
        total += (mass * law.term(network, x0.expand_as(x), x, torch.full((len(x),), t))).sum().item()
    assert total / math.log(2) == pytest.approx(bounds[1], rel=1e-9)


def test_loss_and_bound_are_the_terms_at_drawn_states():
    steps = 6
    law, network = BinomialDiffusion(steps), ExactNetwork(HEARTBEAT, steps)
    x0 = bits(HEARTBEAT)
    u = torch.rand(5, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([1, 2, 3, 5, 6])
    x = (u < law.marginal(x0, t)).double()
    torch.testing.assert_close(law.loss(network, x0, t=t, u=u), steps * law.term(network, x0, x, t))
    terms = law.bound(network, x0, seed=1)
    assert terms.shape == (5, steps) and (terms >= 0).all()
    torch.testing.assert_close(law.bound(network, x0[3:], seed=1, index=3), terms[3:])
    assert not torch.equal(law.bound(network, x0, seed=2), terms)
    many = x0.repeat(2000, 1)
    expected = heartbeat_bound(steps) * math.log(2)
    for values in (law.bound(network, many).sum(1), law.loss(network, many)):
        assert abs(values.mean().item() - expected) < 5 * values.std().item() / len(many) ** 0.5
    assert law.bound(network, many).sum(1).std() < law.loss(network, many).std()


def test_samples_have_the_law_of_the_factorised_chain():
    """Six bits: the law of x_0 from the fair coins at T through products of independent bits, against 20,000 samples."""
    data = [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 1]]
    steps = 4
    law, network, x = BinomialDiffusion(steps), ExactNetwork(data, steps), states(6)
    p = np.full(64, 1 / 64)
    for t in range(steps, 0, -1):
        mass = probability(x, bits(data), t / (2 * steps)).numpy()
        belief = mass / mass.sum(1, keepdims=True) @ np.array(data)  # q(x0_i = 1 | x_t), [x_t, i]
        back, on = bayes(steps, t), x.numpy().astype(int)
        separate = (1 - belief) * back[0][on] + belief * back[1][on]
        moves = np.where(on[:, None] == 1, separate, 1 - separate).prod(2).T  # [x_t, x_{t-1}]
        p = p @ moves
    samples = law.sample(network, (20_000, 6), seed=0)
    assert set(samples.unique().tolist()) == {0.0, 1.0} and samples.dtype == torch.float32
    found = np.bincount((samples.numpy() @ 2 ** np.arange(5, -1, -1)).astype(int), minlength=64)
    often = p * 20_000 > 5
    expected = np.append(p[often], p[~often].sum()) * 20_000
    assert stats.chisquare(np.append(found[often], found[~often].sum()), expected).pvalue > 1e-6
    torch.testing.assert_close(law.sample(network, (10, 6), seed=0, index=40), samples[40:50])


def test_heartbeats_from_the_exact_network_are_heartbeats():
    samples = BinomialDiffusion(100).sample(ExactNetwork(HEARTBEAT, 100), (500, 20), seed=1)
    valid = (samples[:, None] == torch.from_numpy(HEARTBEAT).float()).all(2)
    assert valid.any(1).float().mean() > 0.9
    assert stats.chisquare(valid.sum(0).numpy()).pvalue > 1e-6


def test_any_logits_and_any_shape():
    """At t = 1 a wrong and sure network costs its logit, a right one nothing; gradients stay finite."""
    law = BinomialDiffusion(10)
    for sure, cost in ((1000.0, 0.0), (-1000.0, 1000.0)):
        logits = torch.full((1, 1), sure, requires_grad=True)
        loss = law.term(lambda x, label: logits, torch.ones(1, 1), torch.ones(1, 1), torch.tensor([1]))
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert loss.item() == pytest.approx(cost, abs=1e-9) and gradient.isfinite().all()
    torch.manual_seed(0)
    for shape in ((4, 4), (3, 5, 3), (8, 1, 8, 8)):
        x0, u = (torch.rand(shape) < 0.5).float(), torch.rand(shape)
        network = lambda x, label: x * label.reshape(-1, *[1] * (x.ndim - 1)) - 0.5
        t = torch.arange(shape[0]) % 10 + 1
        whole = law.loss(network, x0, t=t, u=u)
        torch.testing.assert_close(whole[2:3], law.loss(network, x0[2:3], t=t[2:3], u=u[2:3]))
        torch.testing.assert_close(law.loss(network, x0.bool(), t=t, u=u), whole)
        assert law.sample(network, shape).shape == shape


def test_invalid_arguments_are_refused():
    law, network = BinomialDiffusion(10), lambda x, label: x
    with pytest.raises(ValueError, match="at least one step"):
        BinomialDiffusion(0)
    with pytest.raises(ValueError, match="other than 0 and 1"):
        law.loss(network, torch.full((2, 3), 0.5))
    with pytest.raises(ValueError, match="from 1 to 10"):
        law.loss(network, torch.zeros(2, 3), t=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="from 1 to 10"):
        law.posterior(torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([11]))
    with pytest.raises(ValueError, match="answered with shape"):
        law.loss(lambda x, label: x[:, :2], torch.zeros(2, 3))


@pytest.mark.slow
def test_a_network_learns_the_heartbeat():
    """A small MLP comes within half a bit of the least bound of its chain, and not below it or log2 5 by more than the error."""
    torch.manual_seed(0)
    steps = 20
    law, network = BinomialDiffusion(steps), MLP((20,), width=64, depth=2)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    data = torch.from_numpy(HEARTBEAT).float()
    for _ in range(600):
        loss = law.loss(network, data.repeat(50, 1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = law.bound(network, data.repeat(400, 1)).sum(1) / math.log(2)
    mean, error, least = found.mean().item(), found.std().item() / len(found) ** 0.5, heartbeat_bound(steps)
    assert math.log2(5) < least
    assert least - 4 * error < mean < least + 0.5
