"""What a target costs, and that it is kept: on laws whose exact value is known."""

import pytest
import torch

from likelihood import Exact, Probing, UniformDequantizer, bits_per_dim, plan
from sde_lib import VPSDE, Images
from tests.laws.test_densities import correlated

SDE, IMAGES = VPSDE(), Images(64)


def setting(n):
    oracle = correlated(6)
    return oracle.score(SDE), IMAGES.decode(oracle.sample(n, seed=2) / 3).long()


@pytest.mark.quick("0.1")
@pytest.mark.parametrize("target", [0.1, 0.02, 0.008])
def test_the_noise_in_the_mean_is_what_was_planned_and_no_more_than_wanted(target):
    """Twenty runs with other seeds: the scatter of the mean is the planned noise; their mean is the expected value."""
    score, codes = setting(20)
    budget = plan(SDE, score, codes, 20, target, images=IMAGES)
    assert (budget.noise**2 + budget.solver**2) ** 0.5 <= target * (1 + 1e-9) and budget.solver <= target / 3
    settings = {
        "divergence": budget.divergence,
        "dequantize": budget.dequantize,
        "tolerance": budget.tolerance,
    }
    runs = torch.tensor(
        [bits_per_dim(SDE, score, codes, images=IMAGES, seed=s, solver_images=0, **settings).mean for s in range(20)]
    )
    assert 0.5 < runs.std().item() / budget.noise < 1.4
    exact = bits_per_dim(SDE, score, codes.repeat(40, 1), images=IMAGES, divergence=Exact(), tolerance=1e-4, solver_images=0)
    assert abs(runs.mean().item() - exact.mean) < 4 * budget.noise / 20**0.5 + 4 * exact.standard_error / 40**0.5 + budget.solver


@pytest.mark.slow
def test_nine_in_ten_plans_are_kept():
    """Whatever the seed of the plan: the noise that its settings leave, known from 200 draws, beside the target."""
    score, codes = setting(20)
    plans = [plan(SDE, score, codes, 20, 0.02, images=IMAGES, seed=seed) for seed in range(10)]
    kept = {}
    for K in {budget.divergence.probes for budget in plans}:
        many = bits_per_dim(
            SDE,
            score,
            codes,
            images=IMAGES,
            divergence=Probing(K),
            dequantize=UniformDequantizer(200),
            tolerance=1e-2,
            solver_images=0,
        )
        kept[K] = 200 * many.noise_variance.mean().item() / 20
    left = torch.tensor([(kept[b.divergence.probes] / b.dequantize.draws + b.solver**2) ** 0.5 for b in plans])
    assert (left <= 0.02).sum() >= 8 and left.max() < 0.0235, left
    costs = [b.dequantize.draws * (1 + b.divergence.probes) for b in plans]
    assert max(costs) < 2 * min(costs), costs  # it is known well enough what is needed


@pytest.mark.slow
def test_more_is_spent_on_less_error_and_on_fewer_images():
    score, codes = setting(16)
    spent = [plan(SDE, score, codes, n, target, images=IMAGES) for n, target in ((10_000, 0.02), (100, 0.02), (100, 0.002))]
    costs = [budget.dequantize.draws * (1 + budget.divergence.probes) for budget in spent]
    assert costs[0] == 2 and costs[0] < costs[1] < costs[2]
    assert plan(SDE, score, codes, 100, 2e-4, images=IMAGES).tolerance < spent[0].tolerance
    assert "probes" in str(spent[1])


def test_unreachable_targets_are_refused():
    score, codes = setting(4)
    with pytest.raises(ValueError, match="positive number of bits/dim"):
        plan(SDE, score, codes, 4, 0.0, images=IMAGES)
    with pytest.raises(ValueError, match="give a target_error above"):
        plan(SDE, score, codes, 4, 1e-12, images=IMAGES)
    assert plan(SDE, score, codes, 4, 10.0, images=IMAGES, dequantize=UniformDequantizer(3)).dequantize.draws == 1
