"""Steps whose loss or gradient is not finite: skipped, counted, and never saved."""

import dataclasses
import os
import signal

import pytest
import torch

from models import load
from models.checkpoint import read_header
from score_sde.errors import Interrupted, RunError
from score_sde.runs import session
from score_sde.training.guard import FIRST, PATIENCE, StepGuard
from sde_lib import LossAwareTime
from sde_lib.tabulated import ddpm
from tests.faulty import OFTEN, Broken, trained, trainer
from tests.kills import contents, experiment_of, step_of
from tests.test_training import weights_of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])


class Poison(torch.autograd.Function):
    """The identity, with a gradient of NaN."""

    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        return gradient * torch.nan


WRONG = {
    "loss nan": lambda losses: losses * torch.nan,
    "loss inf": lambda losses: losses + torch.inf,
    "one loss of the batch": lambda losses: torch.cat([losses[:-1], losses[-1:] * torch.nan]),
    "gradient nan": Poison.apply,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_step_that_is_not_finite_is_skipped_and_counted(wrong, tmp_path):
    """Weights and moments, the count of Adam's steps too, are what they were; the run then goes on."""
    t = trainer("run", dataclasses.replace(OFTEN, log_every=1, save_every=100), Broken(wrong, at=(4, 5, 11)))
    snapshots, skipped, losses = [], [], []
    for progress in t.run():
        moments = [value for of in t.optimizer.state_dict()["state"].values() for value in of.values()]
        snapshots.append([value.clone() for value in (*t.model.parameters(), *moments)])
        skipped.append(progress.skipped)
        losses.append(progress.loss)
    for step in (4, 5, 11):
        assert all(torch.equal(a, b) for a, b in zip(snapshots[step - 1], snapshots[step - 2], strict=True))
        assert losses[step - 1] is None
    for step in (2, 3, 6, 10, 12, 30):
        assert not torch.equal(snapshots[step - 1][0], snapshots[step - 2][0]) and losses[step - 1] > 0
    assert skipped[2:6] == [0, 1, 2, 2] and skipped[-1] == 3
    assert weights_of(t).isfinite().all() and len(load("run", network=t.model.network).network.state_dict())


def test_the_mean_loss_is_of_the_steps_that_were_taken():
    """By hand, from the losses of each step."""
    _, rows = trained("one", dataclasses.replace(OFTEN, log_every=1), Broken(at=(4, 5, 11)))
    _, tens = trained("ten", dataclasses.replace(OFTEN, log_every=10), Broken(at=(4, 5, 11)))
    each = [row.loss for row in rows]
    for first, row in zip((0, 10, 20), [row for row in tens if row.loss is not None], strict=True):
        kept = [each[step - 1] for step in range(first + 1, first + 11) if step not in (4, 5, 11)]
        assert row.loss == pytest.approx(sum(kept) / len(kept), rel=1e-6)
    assert [row.skipped for row in tens if row.loss is not None] == [2, 3, 3]


def test_after_a_few_in_a_row_the_run_stops_and_has_saved_nothing_of_it(tmp_path):
    """The last good checkpoint is named, and is that before the first skipped step, though steps to save at went by."""
    t = trainer("run", objective=Broken(at=range(13, 100)))
    with pytest.raises(
        RunError, match=r"in 1\d steps in a row, up to step 2\d, .* the last good checkpoint is /.*/run/checkpoint"
    ) as told:
        list(t.run())
    assert t.guard.in_a_row >= PATIENCE and "(" not in str(told.value)
    assert step_of(tmp_path / "run") == 10 and read_header("run")["step"] == 10
    good = trainer("run")
    good.resume()
    whole, _ = trained("whole")
    list(good.run())
    assert torch.equal(weights_of(good), weights_of(whole))


def test_a_run_that_never_was_finite_has_saved_nothing(tmp_path):
    with pytest.raises(RunError, match="no checkpoint had been saved"):
        trained("run", objective=Broken(at=range(100)))
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_counts_as_the_uninterrupted_one(tmp_path):
    """Skipped steps, and losses whose mean goes on over the interruption."""
    at = (3, 4, 9, 16, 24)
    whole, rows = trained("whole", objective=Broken(at=at))
    for progress in trainer("part", objective=Broken(at=at)).run():
        if progress.step == 11:
            break
    second = trainer("part", objective=Broken(at=at), begin=10)
    second.resume()
    assert second.step == 10 and int(second.guard.skipped) == 3
    again = list(second.run())
    assert again == rows[10:] and again[-1].skipped == 5
    assert torch.equal(weights_of(second), weights_of(whole))
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")


def test_losses_that_are_not_finite_are_not_remembered_by_the_law_of_times():
    law, sde = LossAwareTime(levels=4, history=2), ddpm("cosine", 4)
    t = torch.arange(1, 5, dtype=torch.float64) / 4
    for losses in ([1.0, 2.0, 3.0, 4.0], [torch.nan, 2.0, torch.inf, 4.0], [1.0, 2.0, 3.0, 4.0]):
        law.observe(sde, t, torch.tensor(losses))
    assert law.losses.tolist() == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]] and law.probabilities().isfinite().all()


@pytest.mark.parametrize(("at", "stops"), [(range(20, 26), 26), ([33], 34), ([60], 60)], ids=["in a row", "alone", "at the end"])
def test_stopping_during_skipped_steps_waits_for_a_good_one(at, stops, tmp_path):
    """So that what is saved has been seen to give a finite loss; asked for in the last step, it stops there."""
    experiment, config = experiment_of(0, train__steps="60", train__save_every="100", train__log_every="1")

    def stop(losses):
        os.kill(os.getpid(), signal.SIGTERM)
        return losses * torch.nan

    broken = Broken(stop, at=at, of=experiment.objective)
    with pytest.raises(Interrupted) as stopped:
        session.train(dataclasses.replace(experiment, objective=broken), config, tmp_path / "run", "cpu", resume=False)
    assert stopped.value.step == stops == step_of(tmp_path / "run")


def test_a_gradient_above_the_norm_is_brought_down_to_it():
    """Adam's first moment after a step is a tenth of the gradient it was given."""
    for norm, clip in ((5.0, 1.0), (5.0, 10.0)):
        weight = torch.nn.Parameter(torch.zeros(2))
        optimizer = torch.optim.Adam([weight], fused=True)
        weight.grad = torch.tensor([3.0, 4.0])
        StepGuard().step(optimizer, torch.tensor(1.0), clip)
        expected = torch.tensor([0.3, 0.4]) * min(1, clip / norm)
        torch.testing.assert_close(optimizer.state[weight]["exp_avg"], expected)


def test_a_scaled_loss_gives_the_gradient_of_the_loss_and_the_scale_follows_overflows():
    """It halves with each, down to 1, from where they count; and doubles after many steps without."""
    weight, guard = torch.nn.Parameter(torch.zeros(2)), StepGuard(scaled=True)
    optimizer = torch.optim.Adam([weight], fused=True)
    weight.grad = torch.tensor([0.3, 0.4]) * FIRST
    guard.step(optimizer, torch.tensor(1.0), 10.0)
    torch.testing.assert_close(optimizer.state[weight]["exp_avg"], torch.tensor([0.03, 0.04]))
    assert guard.scale == FIRST
    for overflow in range(1, 20):
        weight.grad = torch.tensor([torch.inf, 0.0])
        guard.step(optimizer, torch.tensor(1.0), 10.0)
        assert guard.scale == max(FIRST / 2**overflow, 1.0)
        assert guard.in_a_row == max(0, overflow - 16)
    guard.scale.fill_(4.0)
    for _ in range(2000):
        weight.grad = torch.tensor([0.3, 0.4])
        guard.step(optimizer, torch.tensor(1.0), 10.0)
    assert guard.scale == 8.0 and guard.in_a_row == 0 and guard.skipped == 19
