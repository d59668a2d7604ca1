"""What a run keeps: whole files, the last ones and the best; and what it does when they are damaged."""

import dataclasses
import json
import random

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import run
from models import MLP, load
from models.checkpoint import read_header
from models.files import read_metadata, read_tensors, write_tensors
from score_sde.data import Digits
from score_sde.errors import RunError
from score_sde.training.held_out import held_out
from sde_lib import VPSDE, DenoisingScoreMatching, Epsilon, Images, ScoreModel
from tests.faulty import CHECKPOINT, OFTEN, STATE, stopped, trained, trainer
from tests.kills import contents
from tests.test_cli import TINY
from tests.test_training import weights_of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    """Reading gives what was written, or a ValueError that names the file: in the header and in the numbers."""
    path, tensors = tmp_path / "a.safetensors", {"a": torch.arange(50.0), "b": torch.arange(3), "c": torch.tensor(2.0).bfloat16()}
    write_tensors(path, tensors, {"step": "1000", "kind": "test"})
    whole, chance, noticed = path.read_bytes(), random.Random(0), 0
    places = [(i, 1 << chance.randrange(8)) for i in range(len(whole))] + [
        (len(whole) - 1 - i % 200, 1 << i % 8) for i in range(200)
    ]
    for place, bit in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            with safe_open(path, framework="pt") as file:
                found, metadata = read_tensors(path, file, file.keys()), read_metadata(path, file)
        except (ValueError, SafetensorError):
            noticed += 1
            continue
        assert metadata.items() >= {"step": "1000", "kind": "test"}.items() and found.keys() == tensors.keys(), (place, bit)
        assert all(torch.equal(found[name], tensors[name]) for name in tensors), (place, bit)
    assert noticed > 0.9 * len(places)
    for old, new in ((b'"F32"', b'"I32"'), (b"[50]", b"[05]"), (b'"a":{', b'"d":{')):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        with pytest.raises((ValueError, SafetensorError)), safe_open(path, framework="pt") as file:
            read_tensors(path, file, file.keys())


DAMAGES = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "bit-flipped": lambda whole: whole[:-500] + bytes([whole[-500] ^ 4]) + whole[-499:],
    "zeroed": lambda whole: whole[: -(len(whole) // 3)] + bytes(len(whole) // 3),
}


@pytest.mark.quick("bit-flipped")
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_gives_way_to_the_one_before(damage, tmp_path, capsys):
    """And the run ends as if nothing had happened."""
    whole, _ = trained("whole")
    t = stopped("hurt", 23)
    for name in (STATE, CHECKPOINT):
        path = tmp_path / "hurt" / name
        path.write_bytes(damage(path.read_bytes()))
    heard = [""]
    for weights in ("ema", "raw"):  # of which only those asked for are read
        try:
            load(tmp_path / "hurt", weights, network=t.model.network)
        except ValueError as error:
            heard.append(str(error))
    assert "damaged" in heard[-1]
    t = trainer("hurt")
    t.resume()
    assert t.step == 15
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot be read" in said and "state-15.safetensors, the one before, is used" in said
    list(t.run())
    assert torch.equal(weights_of(t), weights_of(whole))
    assert contents(tmp_path / "hurt") == contents(tmp_path / "whole")


def test_when_every_state_is_damaged_the_run_says_so(tmp_path):
    trained("run")
    for path in (tmp_path / "run").glob("state*"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"the state .*state.safetensors cannot be read .* train anew"):
        trainer("run").resume()


def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_is_mended_by_resuming(tmp_path, capsys):
    assert run.main([*TINY, "--workdir", "run", "--config.train.save_every=10"]) == 0
    path = tmp_path / "run" / CHECKPOINT
    whole = path.read_bytes()
    third = len(whole) // 3  # among the averaged weights
    path.write_bytes(whole[:third] + bytes([whole[third] ^ 1]) + whole[third + 1 :])
    capsys.readouterr()
    for mode in ("sample", "likelihood"):
        assert run.main(["--mode", mode, "--workdir", "run"]) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
        assert len(said) == 1 and said[0].endswith("checkpoint-20.safetensors, the one before, is used")
    assert run.main(["--resume", "--workdir", "run"]) == 0
    assert read_header(path)["step"] == 30 and load(path).sde == VPSDE()


def test_states_of_older_versions_are_still_read(tmp_path):
    """Without checksums, and without counters."""
    whole, _ = trained("whole")
    stopped("old", 21)
    for name in (STATE, CHECKPOINT):
        path = tmp_path / "old" / name
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys() if not key.startswith("guard/")}  # noqa: SIM118
            metadata = {key: value for key, value in file.metadata().items() if key not in ("checksums", "data")}
        save_file(tensors, path, metadata)
    t = trainer("old")
    t.resume()
    list(t.run())
    assert torch.equal(weights_of(t), weights_of(whole)) and load("old").sde == VPSDE()


def test_runs_of_older_versions_go_on(tmp_path):
    """Their configs know nothing of what is kept, and they keep what they kept."""
    assert run.main([*TINY, "--workdir", "run", "--config.train.keep=1", "--config.train.held_out=0"]) == 0
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["train"]["keep"], config["train"]["held_out"]
    path.write_text(json.dumps(config))
    older_versions = {p.name for p in (tmp_path / "run").iterdir()}
    assert run.main(["--resume", "--workdir", "run", "--config.train.steps=40"]) == 0
    assert {p.name for p in (tmp_path / "run").iterdir()} == older_versions and read_header("run")["step"] == 40
    path.write_text(json.dumps(config | {"train": 3}))
    assert run.main(["--resume", "--workdir", "run"]) == 2


def test_files_are_as_readable_as_others(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, {})
    (tmp_path / "b").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_ones_are_kept_and_no_more(keep, tmp_path):
    trained("run", dataclasses.replace(OFTEN, keep=keep))
    steps = [25, 20][: keep - 1]
    names = {f"{stem}-{step}.safetensors" for stem in ("state", "checkpoint") for step in steps}
    assert {p.name for p in (tmp_path / "run").iterdir()} == {STATE, CHECKPOINT, "best.safetensors"} | names
    for step in steps:
        assert read_header(tmp_path / "run" / f"checkpoint-{step}.safetensors")["step"] == step
    assert read_header(tmp_path / "run" / CHECKPOINT)["step"] == 30


def test_the_best_is_that_of_the_least_held_out_loss(tmp_path):
    """With steps far too long from the middle on, so that the best is not the last."""
    t = trainer("run", dataclasses.replace(OFTEN, steps=60, ema=0.5))
    looks = {}
    for progress in t.run():
        if progress.held_out is not None:
            looks[progress.step] = progress.held_out.mean
        if progress.step == 30:
            t.settings = dataclasses.replace(t.settings, learning_rate=1.0)
    best = min(looks, key=looks.get)
    assert len(looks) == 12 and 5 < best < 60
    assert read_header(tmp_path / "run" / "best.safetensors")["step"] == best
    model = load(tmp_path / "run" / "best.safetensors")
    again = held_out(model, t.objective, t.test, batch_size=7, dequantize=True, seed=0)
    assert again.mean == pytest.approx(looks[best], rel=1e-5)


def test_held_out_loss_of_no_prediction_is_one_with_its_known_error():
    """|z|^2 / D of a network that answers 0 to the question for eps: mean 1, variance 2 / D."""
    model = ScoreModel(MLP((1, 8, 8), width=8), VPSDE(), Epsilon(), Images(17))
    codes = Digits().test
    found = held_out(model, DenoisingScoreMatching("sigma2"), codes, batch_size=100, dequantize=True, seed=0)
    error = (2 / 64 / len(codes)) ** 0.5
    assert abs(found.mean - 1) < 4 * error
    assert found.standard_error == pytest.approx(error, rel=0.15)
    log_snr = [level for level, _ in found.by_level]
    assert log_snr == sorted(log_snr, reverse=True) and len(log_snr) == 5
    assert sum(loss for _, loss in found.by_level) / 5 == pytest.approx(found.mean, rel=1e-6)  # five parts of 72 images
    assert (
        held_out(model, DenoisingScoreMatching("sigma2"), codes[:1], batch_size=9, dequantize=False, seed=0).standard_error is None
    )


def test_looking_at_held_out_images_changes_no_weight(tmp_path):
    looked, _ = trained("looked")
    blind, _ = trained("blind", dataclasses.replace(OFTEN, held_out=0))
    assert torch.equal(weights_of(looked), weights_of(blind))
    assert (tmp_path / "looked/best.safetensors").exists() and not (tmp_path / "blind/best.safetensors").exists()


def test_disks_that_keep_no_permissions_keep_files(tmp_path, monkeypatch):
    """FAT refuses chmod."""
    monkeypatch.setattr("os.chmod", lambda *_: (_ for _ in ()).throw(PermissionError("not permitted")))
    write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(1)}, {})
    assert (tmp_path / "a.safetensors").stat().st_size > 0
