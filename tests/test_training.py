"""Training: what a step depends on, resuming, averages, and losses that diverge."""

import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from models import MLP, load
from score_sde.data import Digits
from score_sde.errors import RunError
from score_sde.training.settings import Settings
from score_sde.training.trainer import Trainer
from sde_lib import VPSDE, DenoisingScoreMatching, Epsilon, Images, ImportanceTime, ScoreModel

SETTINGS = Settings.of(
    steps=40,
    batch_size=32,
    learning_rate=1e-3,
    warmup=5,
    clip=1.0,
    ema=0.9,
    log_every=10,
    save_every=1000,
    keep=2,
    held_out=0,
    dequantize=True,
    flip=False,
)


def trainer(folder, settings=SETTINGS, seed=0, data=None, width=16):
    torch.manual_seed(seed)
    model = ScoreModel(MLP((1, 8, 8), width=width, depth=1, dropout=0.2), VPSDE(), Epsilon(), Images(17))
    data = Digits().train if data is None else data
    return Trainer(model, data, DenoisingScoreMatching("likelihood", ImportanceTime()), settings, seed, folder)


def weights_of(t):
    return torch.cat([p.detach().flatten() for p in (*t.model.parameters(), *t.average.module.parameters())])


@pytest.mark.parametrize("stop", [1, 13, 39])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, stop):
    """Weights, average and losses, with dropout, across an epoch's end."""
    whole = trainer(tmp_path / "whole", data=Digits().train[:100])
    losses = [p.loss for p in whole.run()]
    first = trainer(tmp_path / "part", data=Digits().train[:100])
    for progress in first.run():
        if progress.step == stop:
            first.save()
            break
    torch.rand(17)  # whatever happens in between
    second = trainer(tmp_path / "part", data=Digits().train[:100])
    second.resume()
    resumed = [p.loss for p in second.run()]
    assert torch.equal(weights_of(second), weights_of(whole))
    if stop % 10 == 0:
        assert resumed == losses[stop:]
    assert load(tmp_path / "part").network.state_dict().keys() == whole.model.network.state_dict().keys()


def test_the_seed_decides_and_changes_everything(tmp_path):
    runs = [trainer(tmp_path, seed=seed) for seed in (0, 0, 1)]
    for run in runs:
        for _ in run.run():
            pass
    assert torch.equal(weights_of(runs[0]), weights_of(runs[1]))
    assert not torch.equal(weights_of(runs[0]), weights_of(runs[2]))


def test_every_epoch_visits_every_image_once(tmp_path):
    data = torch.arange(50, dtype=torch.uint8)[:, None, None, None].expand(50, 1, 8, 8)
    t = trainer(tmp_path, dataclasses.replace(SETTINGS, batch_size=7), data=data)
    t.transform = t.model.data = Images(64)
    seen = []
    for step in range(25):
        t.step = step
        seen += t.model.data.decode(t._batch()[0])[:, 0, 0, 0].tolist()
    epochs = [seen[i : i + 50] for i in range(0, 150, 50)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_training_learns(tmp_path):
    """The loss begins at the integral of g^2 / sigma^2, 23.86, the price of predicting no noise at all."""
    t = trainer(tmp_path, dataclasses.replace(SETTINGS, steps=300, learning_rate=5e-3, log_every=50), width=128)
    losses = [p.loss for p in t.run() if p.loss is not None]
    assert losses[0] < 24.5
    assert losses[-1] < 0.75 * 23.86
    assert len(losses) == 6


def test_a_diverging_loss_stops_and_saves_nothing(tmp_path):
    t = trainer(tmp_path)
    list(t.run())
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    t = trainer(tmp_path, dataclasses.replace(SETTINGS, learning_rate=1e30, warmup=0))
    with pytest.raises(RunError, match=r"the last good checkpoint is /.*: lower train.learning_rate"):
        list(t.run())
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    with torch.no_grad():
        t.model.network.first.weight[0] = torch.inf
    with pytest.raises(RunError, match="not finite, and were not saved"):
        t.save()


def test_settings_that_cannot_train_are_refused():
    with pytest.raises(ValueError, match="train.steps is 0"):
        dataclasses.replace(SETTINGS, steps=0)
    with pytest.raises(ValueError, match="ema"):
        dataclasses.replace(SETTINGS, ema=1.0)


def test_a_damaged_state_is_reported(tmp_path):
    t = trainer(tmp_path)
    path = tmp_path / "state.safetensors"
    for foreign, header in (({"a": torch.zeros(2)}, {"step": "3"}), ({"raw/a": torch.zeros(2)}, {"step": "x"}), ({}, {})):
        save_file(foreign, path, header)
        with pytest.raises(RunError, match="cannot be read"):
            t.resume()
    t.save()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="cannot be read"):
        t.resume()
