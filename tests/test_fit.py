"""Training from Python: short, without files or global state unless they are asked for, and resumed bit for bit."""

import warnings

import pytest
import torch

from models import MLP, load
from score_sde import fit
from score_sde.data import Digits
from score_sde.errors import RunError, UsageError
from sde_lib import VPSDE, GaussianOracle, Images, ScoreModel, Standardize, V


def model(data, transform, width=16):
    torch.manual_seed(0)
    return ScoreModel(MLP(tuple(data.shape[1:]), width=width, depth=1), VPSDE(), V(), transform)


def weights(found):
    return torch.cat([p.detach().flatten() for p in found.parameters()])


def test_a_score_is_learned_in_a_few_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    oracle = GaussianOracle(torch.zeros(2), covariance=torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    data = oracle.sample(4000)
    before = torch.get_rng_state()
    fresh = model(data, Standardize.of(data), width=32)
    torch.set_rng_state(before)
    found = fit(fresh, data, steps=600, batch_size=128)
    assert torch.equal(torch.get_rng_state(), before) and not list(tmp_path.iterdir()) and not found.training
    x = oracle.sample(500, seed=1).float()
    score, truth = found(x, 0.1), oracle.score(VPSDE())(x, torch.tensor(0.1))
    assert ((score - truth).square().mean() / truth.square().mean()).item() < 0.1


def test_callbacks_can_stop_and_training_goes_on(tmp_path):
    data = Digits()

    class Enough(Exception):
        pass

    def stop(progress):
        if progress.step == 17:
            raise Enough

    options = {"steps": 30, "save_every": 5, "log_every": 10}
    whole = fit(model(data.train, data.transform), data.train, **options)
    with pytest.raises(Enough):
        fit(model(data.train, data.transform), data.train, folder=tmp_path, callback=stop, **options)
    again = fit(model(data.train, data.transform), data.train, folder=tmp_path, resume=True, **options)
    assert torch.equal(weights(again), weights(whole)) and torch.equal(weights(load(tmp_path)), weights(whole))


def test_mistakes():
    data = Digits().train
    for name, words in (
        ("learning_rates", "did you mean 'learning_rate'?"),
        ("step", "did you mean 'steps'?"),
        ("lr", "did you mean 'learning_rate'?"),
        ("momentum", "use one of steps, batch_size"),
    ):
        with pytest.raises(TypeError) as error:
            fit(model(data, Images(17)), data, **{name: 1})
        assert str(error.value).startswith(f"fit has no setting {name!r}: {words}")
    with pytest.raises(TypeError, match="fit has no setting 'look_every', which belongs to runs of the program"):
        fit(model(data, Images(17)), data, look_every=1)
    for wrong in ({"y": torch.zeros(9)}, {"y": torch.zeros(len(data)), "test": data[:9], "test_y": torch.zeros(10)}):
        with pytest.raises(ValueError, match="conditions, and one condition a row was needed"):
            fit(model(data, Images(17)), data, **wrong)
    with pytest.raises(ValueError, match="values from 0 to 16, and 0..3 was needed"):
        fit(model(data, Images(4)), data)
    with pytest.raises(RunError, match="there is no folder to resume from"):
        fit(model(data, Images(17)), data, resume=True)


def test_a_run_is_not_overwritten_and_does_not_go_back(tmp_path):
    data = Digits()
    options = {"steps": 4, "save_every": 2, "folder": tmp_path}
    kept = weights(fit(model(data.train, data.transform), data.train, **options))
    with pytest.raises(UsageError, match="holds a run: give resume=True"):
        fit(model(data.train, data.transform), data.train, seed=1, **options)
    with pytest.raises(UsageError, match="is at step 4, and steps is 2"):
        fit(model(data.train, data.transform), data.train, resume=True, **options | {"steps": 2})
    assert torch.equal(weights(load(tmp_path)), kept)


def test_what_the_data_mean_has_to_be_said():
    data = torch.randn(100, 2)
    for given, transform in ((data, None), (data.numpy(), Standardize(0.0, 1.0))):
        with pytest.raises(TypeError, match="a tensor as data, and a ScoreModel that knows what they mean"):
            fit(model(data, transform), given)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_every_row_is_looked_at(wrong, monkeypatch):
    """The last of many, of those to train on and of those held out."""
    monkeypatch.setattr("sde_lib.data.CHUNK", 512)
    data = torch.randn(1501, 2)
    bad = data.clone()
    bad[-1, 1] = wrong
    for rows, test in ((bad, None), (data, bad)):
        with pytest.raises(ValueError, match="finite"):
            fit(model(data, Standardize.of(data)), rows, test=test, steps=1)
    codes = torch.zeros(1501, 2, dtype=torch.uint8)
    codes[-1] = 4
    with pytest.raises(ValueError, match="values from 0 to 4, and 0..3 was needed"):
        fit(model(codes, Images(4)), codes, steps=1)


def test_where_there_are_several_devices_only_the_model_s_random_state_is_kept(monkeypatch):
    """Left to itself torch would warn of two GPUs, and fail, since there are none."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    data = torch.randn(64, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh = model(data, Standardize.of(data))
        before = torch.get_rng_state()
        fit(fresh, data, steps=1)
    assert torch.equal(torch.get_rng_state(), before)
