"""The commands as a person types them: what they leave behind, and one sentence for every mistake."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import run
from models import load
from models.checkpoint import read_header
from score_sde.data import Digits

ROOT = Path(__file__).parent.parent
TINY = [
    "--config.network=mlp(width=16, depth=1)",
    "--config.train.steps=30",
    "--config.train.log_every=10",
    "--config.sample.sampler=pc(predictor=dpm_solver(order=2), times=log_snr(steps=5, t_min=0.01))",
    "--config.sample.num=6",
    "--config.likelihood.tolerance=0.05",
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """A folder of its own; and no baselines, which take seconds and have a test on the run in a process of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a small run, and what its training printed."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, str(ROOT / "run.py"), "--sde", "vp", "--mode", "train", *TINY]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of the same run, trained in this process and without baselines."""
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("score_sde.runs.report.baselines", lambda *_: [])
        assert run.main(["--sde", "vp", "--mode", "train", *TINY]) == 0
    return folder


def test_the_processes_that_certify_spawns_find_the_same_modules():
    """Each imports the main module once more, under another name, and has the path of the first."""
    before = list(sys.path)
    runpy.run_module("score_sde.__main__", run_name="__mp_main__")
    assert sys.path == before


@pytest.mark.slow
def test_training_leaves_a_run_and_says_what_to_do_next(trained):
    folder, done = trained
    files = {path.name for path in (folder / "runs" / "vp-digits").iterdir()}
    assert files == {
        *("config.json", "metrics.jsonl", "checkpoint.safetensors", "state.safetensors", "likelihood.json"),
        *("best.safetensors", ".lock"),
        *("samples.png", "samples.npy", "reverse.png", "loss.png"),
    }
    out = done.stdout
    assert str(folder / "runs" / "vp-digits") in out
    for words in (
        "this model",
        "independent categorical pixels",
        "Gaussians, full covariance",
        "standard normal",
        "standard error",
    ):
        assert words in out
    assert "--mode sample --workdir runs/vp-digits" in out
    assert "images/s" in done.stderr and "loss=" in done.stderr
    rows = [json.loads(line) for line in (folder / "runs/vp-digits/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30, 30]
    assert rows[-1]["bits_per_dim"] == json.loads((folder / "runs/vp-digits/likelihood.json").read_text())["bits_per_dim"]
    assert read_header(folder / "runs" / "vp-digits")["step"] == 30


@pytest.mark.slow
def test_baselines_are_the_known_ones(trained):
    """2.389 bits/dim for independent pixels and about 2.73 for Gaussians, computed once with other code."""
    folder, _ = trained
    found = {b["name"]: b["mean"] for b in json.loads((folder / "runs/vp-digits/likelihood.json").read_text())["baselines"]}
    assert found["independent categorical pixels"] == pytest.approx(2.389, abs=0.002)
    (mixture,) = (value for name, value in found.items() if "mixture" in name)
    assert mixture == pytest.approx(2.73, abs=0.05)


@pytest.mark.slow
def test_sampling_and_scoring_work_on_it_from_a_new_process(trained, monkeypatch, capsys):
    folder, _ = trained
    monkeypatch.chdir(folder)
    assert run.main(["--sde", "vp", "--mode", "sample", "--num", "5", "--seed", "3", "--out", "five"]) == 0
    five = np.load(folder / "five.npy")
    assert five.shape == (5, 1, 8, 8) and five.dtype == np.uint8 and five.max() <= 16
    assert (folder / "five.png").exists()
    assert run.main(["--mode", "sample", "--num", "5", "--seed", "3", "--out", "again", "--config.sample.batch_size=2"]) == 0
    assert (np.load(folder / "again.npy") == five).mean() > 0.99  # the same rows whatever the batches, but for round-off
    assert run.main(["--sde", "vp", "--mode", "likelihood"]) == 0
    assert "this model" in capsys.readouterr().out
    model = load("runs/vp-digits")
    assert model(torch.zeros(1, 1, 8, 8), 0.5).shape == (1, 1, 8, 8)


@pytest.mark.quick("ve")
@pytest.mark.parametrize("sde", ["ve", "subvp", "vp(beta=cosine)"])
def test_other_processes_take_the_same_path(sde, capsys):
    assert run.main(["--sde", sde, "--mode", "train", *TINY]) == 0
    assert (Path("runs") / f"{sde.split('(')[0]}-digits" / "samples.png").exists()
    assert "this model" in capsys.readouterr().out


def test_a_second_run_has_a_folder_of_its_own_and_the_newest_is_used(capsys):
    for _ in range(2):
        assert run.main(["--sde", "vp", *TINY]) == 0
    assert {p.name for p in Path("runs").iterdir()} == {"vp-digits", "vp-digits-2"}
    capsys.readouterr()
    assert run.main(["--sde", "vp", "--mode", "sample", "--dry-run"]) == 0
    assert "vp-digits-2" in capsys.readouterr().out


@pytest.mark.parametrize(("levels", "columns"), [(None, 12), (1000, 12), (10, 10)])
def test_the_strip_of_reverse_states_has_a_row_for_each_sample_under_tables_too(levels, columns, monkeypatch):
    """On a table a grid has fewer times than were asked for; the pictures then went on into the next row."""
    from models import MLP
    from score_sde.runs import report
    from sde_lib import VPSDE, Epsilon, Images, ScoreModel, Tabulated

    sde = VPSDE() if levels is None else Tabulated.from_betas(torch.linspace(0.1 / levels, min(20 / levels, 0.9), levels))
    seen = []
    monkeypatch.setattr(report, "image_grid", lambda codes, levels, columns: seen.append((len(codes), columns)))
    monkeypatch.setattr(report, "save_picture", lambda *_: None)
    report.reverse_strip(ScoreModel(MLP((1, 2, 2), width=8), sde, Epsilon(), Images(4)).eval(), (1, 2, 2), 0, Path("strip.png"))
    assert seen == [(4 * columns, columns)]


def test_trainings_begun_at_once_do_not_share_a_folder():
    from score_sde.runs.folders import new_run

    assert [new_run("vp-digits", None).name for _ in range(3)] == ["vp-digits", "vp-digits-2", "vp-digits-3"]


@pytest.mark.slow
def test_a_process_of_ones_own_by_its_path(monkeypatch):
    Path("mine.py").write_text(
        "import torch\nfrom sde_lib import LinearSDE\n\n\nclass Sine(LinearSDE):\n"
        "    def alpha(self, t):\n        return torch.cos(1.5 * t)\n\n"
        "    def sigma(self, t):\n        return torch.sin(1.5 * t)\n"
    )
    monkeypatch.syspath_prepend(".")
    assert run.main(["--sde", "mine:Sine", *TINY]) == 0
    assert run.main(["--sde", "mine:Sine", "--mode", "sample"]) == 0
    assert run.main(["--sde", "mine:Sine", "--mode", "likelihood"]) == 0
    assert Path("runs/sine-digits/samples.png").exists()


def test_a_part_of_ones_own_by_its_path_in_quotes(monkeypatch, capsys):
    """And a module of one's own that does not even run."""
    Path("parts.py").write_text("from samplers import EulerMaruyama as Mine\n")
    Path("broken.py").write_text("x = \n")
    monkeypatch.syspath_prepend(".")
    assert run.main(["--dry-run", "--config.sample.sampler=pc(predictor='parts:Mine(eta=0.0)', times='quadratic(steps=3)')"]) == 0
    assert "EulerMaruyama(eta=0.0)" in capsys.readouterr().out
    assert run.main(["--dry-run", "--sde", "broken:SDE"]) == 2
    error = capsys.readouterr().err
    assert "cannot be imported (SyntaxError" in error and error.count("\n") == 1


@pytest.mark.slow
def test_images_of_ones_own_are_trained_on(capsys):
    """Colour, not square, another number of levels, through the U-Net."""
    np.save("own.npy", np.random.default_rng(0).integers(0, 4, (60, 3, 6, 5)))
    network = "--config.network=unet(channels=8, blocks=1)"
    settings = [network, *TINY[1:], "--config.train.batch_size=8", "--config.name=own"]
    assert run.main(["--sde", "vp", *settings, "--config.data=arrays(train='own.npy', levels=4)"]) == 0
    assert "this model" in capsys.readouterr().out
    assert np.load("runs/vp-own/samples.npy").shape == (6, 3, 6, 5)
    assert run.main(["--mode", "sample"]) == 0


def test_data_that_are_no_images_are_trained_on_without_pictures_of_them():
    """Rows of numbers through the MLP; and two channels, which no picture has."""
    np.save("own.npy", np.random.default_rng(0).integers(0, 4, (40, 5)))
    settings = [*TINY, "--config.train.batch_size=8", "--config.data=arrays(train='own.npy', levels=4)"]
    assert run.main(["--workdir", "rows", *settings]) == 0
    assert np.load("rows/samples.npy").shape == (6, 5) and not Path("rows/samples.png").exists()
    assert run.main(["--mode", "sample", "--workdir", "rows", "--out", "at1.5"]) == 0
    assert Path("at1.5.npy").exists() and not Path("at1.npy").exists()
    np.save("own.npy", np.random.default_rng(0).integers(0, 4, (40, 2, 3, 3)))
    assert run.main(["--workdir", "channels", "--sde", "vp(T=0.0009)", *settings, "--config.sample.sampler=flow(rtol=0.1)"]) == 0
    assert np.load("channels/samples.npy").shape == (6, 2, 3, 3)


def test_baselines_on_many_levels_and_pixels_fit_into_memory():
    """One-hot codes of these would take 10 GB, and the mixture's covariances minutes."""
    from score_sde.evaluation.baselines import baselines
    from sde_lib import Images

    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (600, 3, 28, 28)))
    first, last = baselines(codes[:500], codes[500:], Images(256), seed=0)
    p = (np.bincount(codes[:500, 0, 0, 0], minlength=256) + 0.5) / (500 + 128)
    alone = baselines(codes[:500, :1, :1, :1], codes[500:, :1, :1, :1], Images(256), seed=0)[0]
    assert alone.mean == pytest.approx(-np.log2(p[codes[500:, 0, 0, 0].numpy()]).mean(), rel=1e-9)
    assert first.mean == pytest.approx(8.5, abs=0.5) and last.name == "standard normal"


BAD_ARRAYS = [
    (np.zeros((20, 0), dtype=int), "at least one row with an entry was needed"),
    (np.zeros((20, 3, 6, 5)), "type torch.float64, and integers 0..3 were needed"),
    (np.full((20, 4), np.nan), "leave levels out, for a density in nats"),
    (np.full((20, 1, 4, 4), 7), "values from 7 to 7, and 0..3 was needed"),
    (np.full((20, 1, 4, 4), -1), "values from -1 to -1"),
    (np.zeros(20, dtype=int), "(rows, *shape)"),
    (np.zeros((5, 1, 4, 4), dtype=int), "at least ten"),
    (np.array([{}] * 20), "without running code"),
    (np.zeros((20, 4), dtype=int), "use MLP"),
]


@pytest.mark.parametrize(("array", "words"), BAD_ARRAYS, ids=lambda value: value if isinstance(value, str) else "")
def test_messages_on_unusable_data_name_them(array, words, capsys):
    np.save("bad.npy", array)
    assert run.main(["--dry-run", "--config.data=arrays(train='bad.npy', levels=4)"]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_grids_steps_and_schedules_are_put_where_they_belong(capsys):
    for flags, words in (
        (["--times", "karras", "--steps", "18"], "Karras(steps=18"),
        (["--times", "karras(steps=7)"], "Karras(steps=7"),
        (["--steps", "9"], "LogSNR(steps=9"),
        (["--sampler", "flow"], "FlowSampler("),
        (["--schedule", "cosine"], "beta=CosineBeta("),
    ):
        assert run.main(["--dry-run", *flags]) == 0
        assert words in capsys.readouterr().out


def test_a_run_has_the_name_that_it_is_given(capsys):
    np.save("mine.npy", np.zeros((40, 1, 8, 8), dtype=np.uint8))
    data = ["--dry-run", "--data", "arrays(train='mine.npy', levels=4)"]
    for flags, name in (([], "vp-arrays"), (["--config.name=emoji"], "vp-emoji")):
        assert run.main([*data, *flags]) == 0
        assert f"run        {name}, seed 0" in capsys.readouterr().out


def test_dry_run_prints_the_objects_and_leaves_nothing(capsys):
    assert run.main(["--sde", "subvp", "--mode", "train", "--dry-run", "--config.train.batch_size=17"]) == 0
    out = capsys.readouterr().out
    assert "SubVPSDE(" in out and "batch_size=17" in out and "parameters" in out
    assert not list(Path().iterdir())


USAGE = [
    (["--mode", "fly"], "invalid choice: 'fly'"),
    (["--speed"], "'--speed' is not known"),
    (["--config.train.steps"], "needs a value"),
    (["--sde", "xp"], "sde 'xp' is not known: use one of vp, subvp, ve"),
    (["--sde", "vp(beta_mux=3)"], "has no 'beta_mux': it takes beta_min, beta_max"),
    (["--sde", "vp(beta_min=3, beta=cosine)"], "one or the other"),
    (["--sde", "vp(1.0)"], "only key=value"),
    (["--sde", "vp(beta_min=1.0, beta_min=2.0)"], "given twice"),
    (["--sde", "ve(sigma_min=0)"], "a positive sigma_min and sigma_max are needed"),
    (["--sde", "os:path"], "not a class that can be built"),
    (["--sde", "nowhere:SDE"], "cannot be imported"),
    (["--sde", ".:SDE"], "cannot be imported"),
    (["--sde", "sde_lib:Nothing"], "has no 'Nothing'"),
    (["--config", "nothing"], "there is no config 'nothing': use one of ddpm_digits, default, "),
    (["--config.train.step=5"], "did you mean 'train.steps'"),
    (["--config.train.lr=1e-3"], "there is no such key; did you mean 'train.learning_rate'?"),
    (["--config.train.rate=3"], "did you mean 'train.learning_rate'?"),
    (["--config.train.d=3"], "there is no such key; the keys are train.augment"),
    (["--config.bs=3"], "did you mean 'train.batch_size'?"),
    (["--config.sample.batchsize=3"], "did you mean 'sample.batch_size'?"),
    (["--config.learning_rate=3"], "did you mean 'train.learning_rate'?"),
    (["--config.train.momentum=3"], "there is no such key; the keys are train.augment, train.autocast"),
    (["--config.train.steps=many"], "an int was needed, such as 2500"),
    (["--config.train.steps=1.5"], "an int was needed"),
    (["--config.train.steps=0"], "train.steps is 0"),
    (["--config.train.learning_rate=fast"], "a float was needed"),
    (["--config.objective=dsm(weighting='x')"], "weighting 'x' is not known"),
    (["--config.objective=dsm(times=3)"], "config.objective is 'dsm(times=3)', which does not work here"),
    (["--config.parameterization=edm(sigma_data=0)"], "the loss is nan"),
    (["--config.parameterization=epsilon(label='index')"], "needs a process with a table"),
    (["--config.parameterization=sde_lib:VPSDE"], "which makes a VPSDE, and a Parameterization was needed"),
    (["--sde", "sde_lib:Images"], "which makes a Images, and a LinearSDE was needed"),
    (["--config.data=sde_lib:VPSDE"], "a data set with train, test"),
    (["--config.name=a/b"], "without a slash"),
    (["--config.name=../../x"], "without a slash"),
    (["--config.network=unet(blocks=0)"], "the network got channels=32, multipliers=(1, 2) and blocks=0"),
    (["--config.sample.num=0"], "sample.num is 0, and a positive number was needed"),
    (["--config.sample.batch_size=0"], "sample.batch_size is 0"),
    (["--config.likelihood.batch_size=0"], "likelihood.batch_size is 0"),
    (["--config.likelihood.tolerance=0.0"], "likelihood.tolerance is 0.0"),
    (["--config.likelihood.divergence=exact(max_dims=3)"], "use Hutchinson"),
    (["--config.likelihood.divergence=hutchinson(probes=1.5)"], "config.likelihood.divergence is"),
    (["--config.likelihood.dequantize=uniform(draws=1.5)"], "a whole number of draws"),
    (["--config.likelihood.dequantize=sde_lib:VPSDE"], "config.likelihood.dequantize is"),
    (["--config.sample.sampler=flow(t_min=0.0)"], "t_min=0.0"),
    (["--config.sample.sampler=flow(method='euler')"], "'dopri5', 'dop853'"),
    (["--config.sample.sampler=pc(predictor=euler_maruyama, times=uniform(steps=0))"], "at least one step"),
    (["--config.sample.sampler=pc(predictor=euler_maruyama, times=uniform(steps=2, t_min=5))"], "t_min=5"),
    (["--config.sample.sampler=pc(predictor=euler_maruyama, times=uniform(steps=1.5))"], "config.sample.sampler is"),
    (["--config.sample.sampler=pc(predictor=euler_maruyama, corrector=langevin(steps=1.5))"], "config.sample.sampler is"),
    (["--config.sample.sampler=pc(predictor=euler_maruyama, times=5)"], "objects were needed"),
    (["--sde", "vp(T=0.0005)"], "T = 0.0005"),
    (["--config.network=unet(attention=(5,))"], "levels go from 0 to 1"),
    (["--config.network=mlp(width=-1)"], "negative dimension"),
    (["--data", "folder(path=photos)"], "data.path 'photos' is not known"),
    (["--config.sample.sampler=pc(predictor=leap)"], "sampler.predictor 'leap' is not known"),
    (["--config.sample.sampler=pc(predictor='nowhere:Leap')"], "cannot be imported"),
    (["--times", "karras"], "--times karras needs a number of steps: give --steps N, or 'karras(steps=18)'"),
    (["--times", "karras(rho=5.0)"], "--times karras(rho=5.0) needs a number of steps: give --steps N"),
    (["--times", "spiral"], "sampler.times 'spiral' is not known"),
    (["--sampler", "flow", "--times", "karras"], "--times karras belongs to pc, and the sampler is 'flow', which has no grid"),
    (["--sampler", "flow", "--steps", "3"], "--steps 3: the sampler 'flow' chooses its own: leave it out"),
    (["--steps", "0"], "--steps 0: at least one step is needed"),
    (["--times", "karras", "--steps", "-1"], "--steps -1: at least one step is needed"),
    (["--sde", "ddpm", "--times", "table", "--steps", "5"], "--steps 5: the grid 'table' has a number of its own"),
    (["--config.sample.sampler=pc(predictor=heun, times=karras)"], "times in config.sample.sampler is 'karras', which was refused"),
    (["--config.sample.sampler=flow(steps=3)"], "config.sample.sampler is 'flow(steps=3)', but FlowSampler has no 'steps'"),
    (["--config.likelihood.divergence=exact(probes=3)"], "config.likelihood.divergence is 'exact(probes=3)', but Exact has no"),
    (
        ["--schedule", "cosine", "--sde", "ve"],
        "--schedule cosine belongs to vp, subvp and ddpm, and the process is 've': leave it out",
    ),
    (["--schedule", "spiral"], "sde.beta 'spiral' is not known"),
    (["--mode", "sample"], "there is no run"),
    (["--mode", "sample", "--workdir", "nowhere"], "is not the folder of a run"),
    (["--mode", "likelihood", "--num", "3"], "--num belongs to --mode sample"),
    (
        ["--mode", "suggest", "--device", "cpu"],
        "--device belongs to --mode dequantize, likelihood, sample and train, and --mode suggest has no use for it",
    ),
    (["--mode", "certify", "--dry-run"], "--mode certify has no use for it"),
    (["--mode", "certify", "--config.seed=3"], "--config.seed belongs to a run, and --mode certify uses none: leave it out"),
    (["--num", "3"], "--num belongs to --mode sample"),
    (["--num", "0"], "--num belongs to --mode sample"),
    (["--mode", "sample", "--resume"], "--resume belongs to --mode train"),
    (["--resume"], "there is no run"),
    (["--device", "abacus"], "--device abacus cannot be used"),
    (["--device", "meta"], "--device meta cannot be used"),
    (["--device", "hpu"], "--device hpu cannot be used"),
    (["--seed", "-3", "--dry-run"], "seed"),
]


@pytest.mark.parametrize(("arguments", "words"), USAGE, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments, words, capsys):
    try:
        code = run.main(arguments)
    except SystemExit as stop:  # argparse
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2, error
    assert words in error.replace("\n", " ")
    assert "Traceback" not in error
    assert not Path("runs").exists()


def test_a_key_that_nothing_reads_is_an_error(capsys):
    Path("own.py").write_text(
        "from configs import default\ndef get_config():\n    c = default.get_config()\n    c.train.speed = 3\n    return c\n"
    )
    assert run.main(["--config", "own.py", "--dry-run"]) == 2
    assert "config.train.speed is not used" in capsys.readouterr().err


OWN_CONFIGS = [
    ("def get_config(): return 1 / 0", "cannot be run: ZeroDivisionError"),
    ("def get_config(): return {}", "gives a dict, and an ml_collections.ConfigDict"),
    (
        "def get_config():\n    c = default.get_config()\n    del c.train.clip\n    return c",
        "config.train.clip is missing: a float",
    ),
    (
        "def get_config():\n    c = default.get_config()\n    del c.seed\n    c.seed = 'x'\n    return c",
        "config.seed is 'x': an int was needed",
    ),
    ("x =", "cannot be run: SyntaxError"),
    ("", "has no function get_config"),
]


@pytest.mark.parametrize(("text", "words"), OWN_CONFIGS, ids=lambda value: value[:20])
def test_a_file_that_is_not_a_config_is_refused(text, words, capsys):
    Path("own.py").write_text(f"from configs import default\n{text}\n")
    assert run.main(["--config", "own.py", "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_failures_are_one_sentence_and_exit_code_1(small, monkeypatch, capsys, tmp_path):
    import shutil

    shutil.copytree(small / "runs" / "vp-digits", tmp_path / "copy")
    checkpoint = tmp_path / "copy" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert run.main(["--mode", "sample", "--workdir", "copy"]) == 1
    error = capsys.readouterr().err
    assert "damaged" in error and error.count("\n") == 1
    assert run.main(["--mode", "train", "--workdir", "bad", *TINY, "--config.train.learning_rate=1e30"]) == 1
    assert "the loss or its gradient is not finite" in capsys.readouterr().err.splitlines()[-1]
    for text, words in (("{", "damaged"), ("[]", "damaged"), ("{}", "config.data is missing")):
        (tmp_path / "copy" / "config.json").write_text(text)
        assert run.main(["--mode", "sample", "--workdir", "copy"]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


def test_a_damaged_run_does_not_hide_the_others_of_its_process(small, capsys):
    import shutil

    shutil.copytree(small / "runs", "runs")
    for text in ("{", "[]", "{}"):
        Path("runs/bad").mkdir(exist_ok=True)
        Path("runs/bad/config.json").write_text(text)
        Path("runs/bad/checkpoint.safetensors").touch()
        assert run.main(["--sde", "vp", "--mode", "sample", "--dry-run"]) == 0
    assert "runs/vp-digits" in capsys.readouterr().out
    assert run.main(["--sde", "vp(beta_max=10.0)", "--mode", "sample", "--dry-run"]) == 2
    assert "there is no run of process 'vp(beta_max=10.0)'" in capsys.readouterr().err


SETTLED = [
    (["--sde", "ve"], "holds no run of process 've'"),
    (["--config.train.steps=29"], "is at step 30, and train.steps is 29"),
    (["--config.sde=ve"], "fixed when the run was trained"),
    (["--config.objective=dsm"], "fixed when the run was trained"),
    (["--config", "ve_digits"], "leave out --config"),
    (["--steps", "0"], "leave out --steps"),
    (["--seed", "5"], "began with seed 0"),
]


@pytest.mark.parametrize(("arguments", "words"), SETTLED, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_run_resumes_with_its_own_config_or_not_at_all(arguments, words, small, capsys):
    folder = small / "runs" / "vp-digits"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run.main(["--resume", "--workdir", str(folder), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_metrics_that_were_lost_or_damaged_do_not_stop_a_run(tmp_path):
    from score_sde.runs.metrics import read_metrics

    assert read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_bytes(b'3\n[]\n\xff\n{"loss": 1}\n{"step": 1, "loss": 2}\n{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2}]


def test_a_run_is_not_trained_over(small, capsys):
    assert run.main(["--workdir", str(small / "runs" / "vp-digits")]) == 2
    assert "--resume" in capsys.readouterr().err


def test_what_training_fixed_cannot_be_set_later(small, capsys):
    assert run.main(["--mode", "sample", "--workdir", str(small / "runs" / "vp-digits"), "--config.sde=ve"]) == 2
    assert "fixed when the run was trained" in capsys.readouterr().err


@pytest.mark.parametrize("out", [".", "/"])
def test_samples_go_to_a_file(out, small, capsys):
    assert run.main(["--mode", "sample", "--workdir", str(small / "runs" / "vp-digits"), "--out", out]) == 2
    assert "the name of a file was needed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_saves_and_goes_on_to_the_same_weights(tmp_path, which):
    np.save(tmp_path / "few.npy", Digits().train[:200].numpy())  # few, for the baselines' sake
    settings = [s for s in TINY if "steps=30" not in s] + ["--config.train.steps=400"]
    settings += [f"--config.data=arrays(train='{tmp_path / 'few.npy'}', levels=17)"]
    command = [sys.executable, str(ROOT / "run.py"), "--sde", "vp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--workdir", "stopped", *settings],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    log = tmp_path / "stopped" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(which)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "and saved; go on with:\n  python run.py --sde vp --mode train --workdir stopped --resume" in out
    stopped_at = read_header(tmp_path / "stopped")["step"]
    assert 0 < stopped_at < 400
    subprocess.run(
        [*command, "--mode", "train", "--workdir", "stopped", "--resume"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        env=environment,
    )
    subprocess.run([*command, "--workdir", "whole", *settings], cwd=tmp_path, check=True, capture_output=True, env=environment)
    for weights in ("raw", "ema"):
        one, other = (load(tmp_path / name, weights=weights).network.state_dict() for name in ("stopped", "whole"))
        assert all(torch.equal(one[key], other[key]) for key in other)
    steps = [
        [json.loads(line)["step"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("stopped", "whole")
    ]
    assert steps[0] == steps[1]
