"""Averages of weights: their recursions, their weights over the steps, and what can be had from them afterwards."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models import load
from models.checkpoint import read_header
from score_sde.errors import UsageError
from score_sde.training.ema import Average, averages_of, exponent_of, power_decay, warm_decay
from score_sde.training.post_hoc import average_of_width, mixture
from tests.faulty import OFTEN as SETTINGS
from tests.faulty import trainer

WIDTHS = [0.05, 0.1, 0.2, 1 / math.sqrt(12)]


def averaged(decay, values):
    layer = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    average = Average(layer, decay)
    for n, value in enumerate(values):
        nn.init.constant_(layer.weight, value)
        average.update(n)
    return average.module.weight.item()


def test_average_is_the_weights_at_first_and_then_the_recursion():
    """Against the recursion in scalars: a_1 = w_1; a_{n+1} = d a_n + (1 - d) w_{n+1}, d = min(rate, n / (n + 10))."""
    values = [2.0, 3.0, -1.0, 5.0, 4.0]
    expected = 0.0
    for n, value in enumerate(values):
        d = min(0.3, n / (n + 10))
        expected = d * expected + (1 - d) * value
        assert averaged(lambda n: warm_decay(n, 0.3), values[: n + 1]) == pytest.approx(expected, rel=1e-12)
    assert warm_decay(10**6, 0.999) == 0.999


def test_a_constant_rate_is_the_geometric_sum_from_the_initial_weights_on(tmp_path):
    """a_n = d^n w_0 + (1 - d) sum over s of d^(n - s) w_s, of every average by a rate, and of no other."""
    weights = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    values, n = [2.0, 3.0, -1.0, 5.0, 4.0], 5
    nn.init.constant_(weights.weight, 7.0)
    averages = averages_of(weights, 0.9, (0.5,), (0.1,), warmup=False)
    for step, value in enumerate(values):
        nn.init.constant_(weights.weight, value)
        for average in averages.values():
            average.update(step)
    for name, d in (("ema", 0.9), ("ema_0.5", 0.5)):
        expected = d**n * 7.0 + (1 - d) * sum(d ** (n - s) * value for s, value in enumerate(values, start=1))
        assert averages[name].module.weight.item() == pytest.approx(expected, rel=1e-12)
    assert averages["power_0.1"].module.weight.item() == averaged(lambda n: power_decay(n, 0.1), values)
    begin = trainer(tmp_path / "begin").average.module.first.weight.clone()
    ended = run(tmp_path / "run", steps=1, ema=0.9, ema_warmup=False)
    torch.testing.assert_close(ended.average.module.first.weight, 0.9 * begin + 0.1 * ended.model.network.first.weight)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_power_function_weighs_steps_by_its_integral_over_each(width):
    """Step s of n weighs (s^(gamma + 1) - (s - 1)^(gamma + 1)) / n^(gamma + 1), and the width is this law's standard deviation."""
    values = np.random.default_rng(0).normal(size=40)
    edges = np.arange(41.0) ** (exponent_of(width) + 1)
    assert averaged(lambda n: power_decay(n, width), values) == pytest.approx(values @ np.diff(edges) / edges[-1], rel=1e-12)
    n = 100_000
    weights = np.diff((np.arange(n + 1) / n) ** (exponent_of(width) + 1))
    s = (np.arange(n) + 0.5) / n
    assert math.sqrt(weights @ s**2 - (weights @ s) ** 2) == pytest.approx(width, rel=1e-6)


def test_the_widest_is_the_mean_of_all_steps():
    assert averaged(lambda n: power_decay(n, 1 / math.sqrt(12)), [1.0, 2.0, 6.0]) == pytest.approx(3.0)
    with pytest.raises(ValueError, match=r"the width of an average is 0.3, and a number above 0 and up to 0.2887"):
        exponent_of(0.3)


def test_what_a_mixture_leaves_is_at_right_angles_to_what_it_is_of():
    """The normal equations of a projection, by quadrature: the rest, times the difference of any two, integrates to 0."""
    steps, widths, step, width = [400, 700, 1000, 400, 700, 1000], [0.05] * 3 + [0.1] * 3, 1000, 0.13
    s = (np.arange(200_000) + 0.5) / 200

    def density(n, width):
        gamma = exponent_of(width)
        return np.where(s <= n, (gamma + 1) * (s / n) ** gamma / n, 0.0)

    parts = np.stack([density(n, w) for n, w in zip(steps, widths, strict=True)])
    coefficients = mixture(steps, widths, step, width)
    rest = coefficients @ parts - density(step, width)
    assert coefficients.sum() == pytest.approx(1.0, abs=1e-9)
    scale = np.sqrt((density(step, width) ** 2).mean())
    for part in parts[1:]:
        assert abs(((part - parts[0]) * rest).mean()) < 1e-4 * scale**2
    assert np.sqrt((rest**2).mean()) < 0.2 * scale


def run(folder, **settings):
    t = trainer(folder, dataclasses.replace(SETTINGS, **settings))
    for _ in t.run():
        pass
    return t


def test_any_width_can_be_had_afterwards(tmp_path):
    """Beside the same average taken in training; the distance between averages of neighbouring widths is the measure."""
    t = run(tmp_path, steps=96, save_every=8, ema_rates=(0.5,), ema_widths=(0.05, 0.1, 0.07, 0.09))
    for path in (tmp_path / "averages").iterdir():  # only two of the four are used
        only_two(path)
    flat = {name: torch.cat([p.flatten() for p in average.module.parameters()]) for name, average in t.averages.items()}
    for width, other in ((0.07, 0.09), (0.09, 0.07)):
        found = torch.cat([p.detach().flatten() for p in average_of_width(tmp_path, width).network.parameters()])
        truth = flat[f"power_{width:g}"]
        assert (found - truth).norm() < 0.1 * (flat[f"power_{other:g}"] - truth).norm()
    exact = average_of_width(tmp_path, 0.1).network.state_dict()
    torch.testing.assert_close(exact, t.averages["power_0.1"].module.state_dict(), rtol=1e-5, atol=1e-6)
    before = average_of_width(tmp_path, 0.1, step=48)
    assert not torch.equal(before.network.state_dict()["first.weight"], exact["first.weight"])
    with pytest.raises(UsageError, match="has no snapshot of step 50: its snapshots are of steps 8, 16"):
        average_of_width(tmp_path, 0.1, step=50)


def only_two(path):
    from safetensors import safe_open

    from models.files import write_tensors

    with safe_open(path, framework="pt") as file:
        kept = {key: file.get_tensor(key) for key in file.keys() if key.split("/")[0] in ("power_0.05", "power_0.1")}  # noqa: SIM118
    write_tensors(path, kept, {"step": path.stem, "widths": '{"power_0.05": 0.05, "power_0.1": 0.1}'})


def test_averages_are_in_the_checkpoint_and_a_resumed_run_goes_on_with_them(tmp_path):
    settings = {"steps": 12, "save_every": 6, "ema_rates": (0.5,), "ema_widths": (0.1,)}
    whole = run(tmp_path / "whole", **settings)
    first = trainer(tmp_path / "part", dataclasses.replace(SETTINGS, **settings))
    for progress in first.run():
        if progress.step == 7:
            break
    second = trainer(tmp_path / "part", dataclasses.replace(SETTINGS, **settings), begin=1)
    second.resume()
    for _ in second.run():
        pass
    assert read_header(tmp_path / "part")["weights"].keys() == {"ema", "raw", "ema_0.5", "power_0.1"}
    for name, average in whole.averages.items():
        there = load(tmp_path / "part", weights=name).network.state_dict()
        assert all(torch.equal(there[key], value) for key, value in average.module.state_dict().items()), name
    snapshots = [load_file(tmp_path / folder / "averages" / "12.safetensors") for folder in ("whole", "part")]
    torch.testing.assert_close(*snapshots, rtol=0, atol=0)


def test_a_run_without_snapshots_says_how_to_have_them(tmp_path):
    run(tmp_path, steps=2)
    with pytest.raises(UsageError, match="has no snapshots of averages: train it with --config.train.ema_widths"):
        average_of_width(tmp_path, 0.1)
    assert averages_of(nn.Linear(1, 1), 0.9, (), ()).keys() == {"ema"}
