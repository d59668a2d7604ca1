"""Other people's checkpoints at the command line: imported, then sampled and scored as one's own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import run
from models import import_checkpoint, load
from models.checkpoint import read_header

GOLDEN = Path(__file__).parent / "golden" / "networks"
TINY = ["--mode", "import", "--from", str(GOLDEN / "tiny_ncsnpp.pth")]
OPTIONS = ["--options", str(GOLDEN / "tiny_ncsnpp.json")]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_was_imported_has_both_sets_of_weights_and_says_what_it_is(capsys):
    assert run.main([*TINY, *OPTIONS, "--out", "own"]) == 0
    said = capsys.readouterr().out
    assert "NCSNpp(" in said and "VESDE(" in said and "score-sde likelihood --workdir own --data FILE" in said
    for weights in ("raw", "ema"):
        there = import_checkpoint(TINY[-1], config=OPTIONS[-1], weights=weights).network.state_dict()
        assert all(torch.equal(value, there[name]) for name, value in load("own", weights).network.state_dict().items())
    assert read_header("own")["shape"] == [3, 8, 8]


@pytest.mark.slow
def test_it_is_sampled_and_scored_by_the_same_commands_as_a_run():
    assert run.main([*TINY, *OPTIONS]) == 0
    folder = "runs/imported-tiny_ncsnpp"
    steps = "--config.sample.sampler=pc(predictor=dpm_solver(order=2), times=log_snr(steps=4))"
    assert run.main(["--mode", "sample", "--workdir", folder, "--num", "2", steps]) == 0
    assert np.load(f"{folder}/samples.npy").shape == (2, 3, 8, 8)
    np.save("mine.npy", np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8))
    loose = ["--config.likelihood.tolerance=0.1"]
    assert run.main(["--mode", "likelihood", "--workdir", folder, "--data", "mine.npy", *loose]) == 0
    assert json.loads(Path(folder, "likelihood.json").read_text())["standard_error"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mode", "import"], "--mode import needs --from, another project's checkpoint"),
        (["--mode", "import", "--from", "none.pth"], "--from none.pth: there is no checkpoint at none.pth"),
        (TINY, "give the config with --options"),
        ([*TINY, *OPTIONS, "--family", "gan"], "family='gan' is not known: use one of 'score_sde'"),
        ([*TINY, "--options", "{1"], "give a JSON object, or a file with one"),
        ([*TINY, *OPTIONS, "--out", "full"], "--out full is there already: name a folder that is empty or not there"),
        (
            [*TINY, *OPTIONS, "--config.train.steps=3"],
            "--config.train.steps belongs to the commands that use the imported run: leave it out",
        ),
        (["--mode", "train", "--from", "x.pth"], "--from belongs to --mode import, and --mode train has no use for it"),
    ],
)
def test_what_cannot_be_imported_is_told(arguments, said, capsys):
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    assert run.main(arguments) == 2
    assert said in capsys.readouterr().err
    assert not list(Path("runs").glob("*"))


def test_an_imported_run_has_no_data_of_its_own(capsys):
    assert run.main([*TINY, *OPTIONS, "--out", "own"]) == 0
    assert run.main(["--mode", "likelihood", "--workdir", "own"]) == 2
    assert "tiny_ncsnpp was imported, and has no data of its own: give --data" in capsys.readouterr().err
