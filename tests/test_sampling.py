"""--mode sample: the same rows however they are drawn, after a kill and by two processes; every format; every mistake."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import run
import score_sde.runs.batches
from models import MLP
from models.checkpoint import save
from sde_lib import VPSDE, Epsilon, Images, ScoreModel

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
QUICK = ["--predictor", "ddim", "--steps", "4", "--config.sample.batch_size=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run as training leaves it, with a network that was never trained and without its data."""
    from configs.default import get_config
    from score_sde.config.config import dump

    where = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    shape = (1, 4, 4)
    config = get_config()
    config.data = "arrays(train='gone.npy', levels=17)"
    (where / "config.json").write_text(dump(config))
    save(ScoreModel(MLP(shape, width=8, depth=1), VPSDE(), Epsilon(), Images(17)), where / "checkpoint.safetensors", shape=shape)
    return where


def sample(folder, *more):
    return run.main(["--mode", "sample", "--workdir", str(folder), *QUICK, *more])


def test_every_format_holds_the_same_samples(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sample(folder, "--num", "40", "--out", "s.npz", "--format", "npy", "npz", "grid", "png", "gif") == 0
    out = capsys.readouterr().out
    assert "DDIM(eta=0.0)" in out and "steps=4" in out and "4 network calls" in out and "Langevin" not in out
    codes = np.load("s.npy")
    assert codes.shape == (40, 1, 4, 4) and codes.dtype == np.uint8
    assert len(np.unique(codes.reshape(40, -1), axis=0)) == 40  # no batch is drawn twice
    with np.load("s.npz") as file:
        assert np.array_equal(file["samples"], codes) and file["seed"] == 0 and file["nfe"] == 4
    pictures = sorted(Path("s").iterdir())
    assert [p.name for p in pictures[:2]] == ["00.png", "01.png"] and len(pictures) == 40
    for picture, code in zip(pictures, codes, strict=True):
        with Image.open(picture) as image:
            assert np.array_equal(np.asarray(image), np.round(code[0] * (255 / 16)).astype(np.uint8))
    with Image.open("s.gif") as film, Image.open("s.png") as grid:
        durations = []
        for frame in range(film.n_frames):  # equal neighbours are one frame
            film.seek(frame)
            durations.append(film.info["duration"])
        assert sum(durations) == 5 * 60 + 2000  # the start and four steps, then the end
        assert film.size == grid.size == (7 * 5 * 6 - 6, 6 * 5 * 6 - 6)
    assert not Path("s.parts").exists()
    for path in (tmp_path / name for name in ("s.npy", "s.npz", "s.png", "s.gif")):
        assert str(path) in out


def test_the_default_sampler_and_formats_are_the_configs(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run.main(["--mode", "sample", "--workdir", str(folder), "--num", "2", "--out", "s"]) == 0
    assert "Langevin(" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} == {"s.npy", "s.png"}


SAMPLERS = [
    (["--predictor", "heun", "--times", "karras(steps=5)"], ["Heun(", "Karras(steps=5"]),
    (["--corrector", "annealed(epsilon=1e-6, steps=1)", "--steps", "3"], ["predictor=None", "AnnealedLangevin(", "steps=3"]),
    (["--predictor", "dpm_solver(order=3)", "--corrector", "langevin(snr=0.1)"], ["(order=3", "Langevin(snr=0.1", "steps=100"]),
    (["--predictor", "samplers:UniPC", "--times", "samplers:Uniform(steps=9)", "--steps", "6"], ["UniPC(", "Uniform(steps=6"]),
    (["--sampler", "flow(rtol=0.1)"], ["FlowSampler(rtol=0.1"]),
    (["--sampler", "torchsde(method='euler', steps=20)", "--steps", "5"], ["TorchSDE(", "steps=5"]),
    (["--sampler", "pc(predictor=ddim)", "--steps", "7"], ["Uniform(steps=7"]),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "words"), SAMPLERS, ids=lambda value: " ".join(value[:2]))
def test_every_sampler_by_its_short_name(flags, words, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run.main(["--mode", "sample", "--workdir", str(folder), "--num", "2", "--out", "s", *flags]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in words), out


MISTAKES = [
    (["--sampler", "flow", "--predictor", "ddim"], "give it alone"),
    (["--sampler", "flow", "--steps", "3"], "--steps 3: the sampler 'flow' chooses its own"),
    (["--predictor", "leap"], "sampler.predictor 'leap' is not known"),
    (["--predictor", "ddim", "--steps", "0"], "at least one step"),
    (["--corrector", "metropolis"], "which does not work here"),
    (["--sampler", "flow", "--format", "gif"], "--format gif needs a sampler that yields its states"),
    (["--num", "-1"], "at least one sample"),
    (["--seed", "-1"], "seed is -1"),
]


@pytest.mark.parametrize(("flags", "words"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_mistake_leaves_nothing(flags, words, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run.main(["--mode", "sample", "--workdir", str(folder), "--out", "s", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_no_pictures_of_what_is_none(tmp_path, monkeypatch, capsys):
    from samplers import DDIM, Sampler, Uniform
    from score_sde.config.experiment import Sampling
    from score_sde.errors import UsageError
    from score_sde.runs.samples import write_samples

    model = ScoreModel(MLP((5,), width=8, depth=1), VPSDE(), Epsilon())
    sampling = Sampling(Sampler(DDIM(), times=Uniform(3)), num=5, batch_size=2)
    with pytest.raises(UsageError, match="--format png needs images"):
        write_samples(model, sampling, (5,), 0, tmp_path / "s", ("npy", "png"))
    (path,) = write_samples(model, sampling, (5,), 0, tmp_path / "s").paths
    assert np.load(path).shape == (5, 5) and np.load(path).dtype == np.float32


def test_a_checkpoint_that_does_not_say_the_shape_of_its_samples(tmp_path, monkeypatch, capsys):
    """Networks of ours know it; of one's own it has to be said."""
    from configs.default import get_config
    from score_sde.config.config import dump

    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(dump(get_config()))
    save(ScoreModel(MLP((1, 4, 4), width=8), VPSDE(), Epsilon(), Images(17)), tmp_path / "checkpoint.safetensors")
    assert sample(tmp_path, "--num", "2", "--out", "s") == 0 and np.load("s.npy").shape == (2, 1, 4, 4)

    class Own(torch.nn.Linear):
        pass

    save(ScoreModel(Own(2, 2), VPSDE(), Epsilon(), Images(17)), tmp_path / "checkpoint.safetensors")
    assert sample(tmp_path, "--num", "2", "--out", "s") == 1
    assert "write it with save(..., shape=...)" in capsys.readouterr().err


def slow_to_draw(folder, out, *more):
    """A command that is long enough to be killed in the middle: forty batches of a thousand steps."""
    flags = ["--num", "640", "--out", str(out), *QUICK, "--steps", "200", *more]
    return [str(ROOT / "run.py"), "--mode", "sample", "--workdir", str(folder), *flags]


@pytest.mark.slow
def test_what_was_killed_goes_on_and_gives_the_same_bits(folder, tmp_path):
    whole = subprocess.run([sys.executable, *slow_to_draw(folder, tmp_path / "whole")], env=ENVIRONMENT, capture_output=True)
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, *slow_to_draw(folder, tmp_path / "killed")]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = tmp_path / "killed.parts"
    while len(list(parts.glob("0*.npz"))) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    drawn = {path.name: path.stat().st_mtime_ns for path in parts.glob("0*.npz")}
    assert 3 <= len(drawn) < 40 and not (tmp_path / "killed.npy").exists()
    other = subprocess.run([*command, "--seed", "1"], env=ENVIRONMENT, capture_output=True, text=True)
    assert other.returncode == 2 and "holds a part of another job (seed 0, and now 1)" in other.stderr
    assert {path.name: path.stat().st_mtime_ns for path in parts.glob("0*.npz")} == drawn
    again = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert np.array_equal(np.load(tmp_path / "killed.npy"), np.load(tmp_path / "whole.npy")) and not parts.exists()


@pytest.mark.parametrize("mode", ["sample", "likelihood"])
def test_ctrl_c_says_what_is_kept_and_that_the_same_command_goes_on(mode, folder, tmp_path, monkeypatch, capsys):
    """Between the second batch and the third; the first two are not drawn again."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, "run")
    np.save("codes.npy", np.random.default_rng(0).integers(0, 17, (40, 1, 4, 4)))
    command = ["--mode", mode, "--workdir", "run"]
    command += [*QUICK, "--num", "40"] if mode == "sample" else ["--data", "codes.npy", "--config.likelihood.batch_size=16"]
    save, saved = score_sde.runs.batches.save_npz, []

    def interrupted(path, **arrays):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path.name)
        save(path, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr("score_sde.runs.batches.save_npz", interrupted)
        assert run.main(command) == 130
    parts = tmp_path / "run" / {"sample": "samples.parts", "likelihood": "likelihood.parts/flow"}[mode]
    assert f"stopped: 2 of 3 batches are kept in {parts}; go on with the same command" in capsys.readouterr().err
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("0*.npz")}
    drawn = []
    monkeypatch.setattr("score_sde.runs.batches.save_npz", lambda path, **arrays: (drawn.append(path.name), save(path, **arrays)))
    assert run.main(command) == 0
    assert sorted(kept) == sorted(saved) and drawn == ["000000032.npz"]


def test_ctrl_c_when_the_samples_of_a_training_are_drawn_names_the_command_that_goes_on(tmp_path, monkeypatch, capsys):
    from tests.test_cli import TINY

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])
    with monkeypatch.context() as patch:
        patch.setattr("score_sde.runs.batches.save_npz", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run.main(TINY) == 130
    said = capsys.readouterr().err
    assert "0 of 1 batches are kept in" in said and "score-sde train --workdir runs/vp-digits --resume" in said
    assert run.main(["--mode", "train", "--workdir", "runs/vp-digits", "--resume"]) == 0
    assert Path("runs/vp-digits/likelihood.json").exists()


@pytest.mark.slow
def test_two_processes_draw_what_one_does(folder, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port", port, "--"]
    done = subprocess.run([*torchrun, *slow_to_draw(folder, tmp_path / "two")], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("640 samples, seed 0") == 1  # one of them speaks
    one = subprocess.run([sys.executable, *slow_to_draw(folder, tmp_path / "one")], env=ENVIRONMENT, capture_output=True)
    assert one.returncode == 0
    assert np.array_equal(np.load(tmp_path / "two.npy"), np.load(tmp_path / "one.npy"))
