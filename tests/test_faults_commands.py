"""What commands leave behind: batches of other jobs, two commands at once, refusals, full disks, old pictures."""

import ctypes
import errno
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import run
import score_sde.commands.likelihood  # before a test changes what it imports
import score_sde.runs.batches
from models import MLP
from models.checkpoint import save
from score_sde.errors import UsageError
from score_sde.training.lock import passing_lock
from sde_lib import VPSDE, Epsilon, Images, ScoreModel
from tests.faulty import in_a_child
from tests.test_cli import TINY
from tests.test_sampling import ENVIRONMENT, slow_to_draw

SHAPE, CLASSES = (1, 4, 4), 3
SAMPLE = ["--predictor", "ddim", "--steps", "2", "--config.sample.batch_size=4", "--num", "12", "--out", "s"]
SCORE = ["--config.likelihood.tolerance=0.1", "--config.likelihood.batch_size=10", "--out", "bits"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on an array of one's own, with a network of classes that was never trained."""
    return make_run(tmp_path_factory.mktemp("run"), condition=CLASSES)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same without classes."""
    return make_run(tmp_path_factory.mktemp("plain"))


def make_run(where, **arguments):
    from configs.default import get_config
    from score_sde.config.config import dump

    np.save(where / "own.npy", np.random.default_rng(0).integers(0, 17, (200, *SHAPE), dtype=np.uint8))
    torch.manual_seed(0)
    config = get_config()
    config.data, config.network = f"arrays(train='{where / 'own.npy'}', levels=17)", "mlp(width=8, depth=1)"
    (where / "config.json").write_text(dump(config))
    network = MLP(SHAPE, width=8, depth=1, **arguments)
    save(ScoreModel(network, VPSDE(), Epsilon(), Images(17)), where / "checkpoint.safetensors", shape=SHAPE)
    return where


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])


def sample(folder, *more):
    return run.main(["--mode", "sample", "--workdir", str(folder), *SAMPLE, *more])


def score(folder, *more):
    return run.main(["--mode", "likelihood", "--workdir", str(folder), *SCORE, *more])


def interrupted(monkeypatch, command, batches=2):
    """Give a command and stop it after some batches."""
    write, written = score_sde.runs.batches.save_npz, []

    def stopping(path, **arrays):
        if len(written) == batches:
            raise KeyboardInterrupt
        written.append(path)
        write(path, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr("score_sde.runs.batches.save_npz", stopping)
        assert command() == 130


def drawn(folder, *more):
    """What the command draws when nothing was left behind."""
    assert sample(folder, *more, "--out", "undisturbed") == 0
    return np.load("undisturbed.npy")


# Batches of another job


def test_batches_without_a_record_are_not_taken(plain, monkeypatch):
    right = drawn(plain, "--seed", "1")
    interrupted(monkeypatch, lambda: sample(plain))
    Path("s.parts/job.json").unlink()
    assert sample(plain, "--seed", "1") == 0 and np.array_equal(np.load("s.npy"), right)


def test_batches_without_a_record_belong_to_nobody(plain, monkeypatch):
    """Also those of the same job are drawn again."""
    interrupted(monkeypatch, lambda: sample(plain))
    Path("s.parts/job.json").unlink()
    interrupted(monkeypatch, lambda: sample(plain), batches=0)
    assert not Path("s.parts").exists()


def test_a_kill_while_batches_are_deleted_leaves_nothing_for_another_seed(plain, monkeypatch):
    """After each file that goes, a command with another seed draws its own samples or is refused."""
    right, whole = drawn(plain, "--seed", "1"), Path.unlink
    for gone in range(1, 5):
        shutil.rmtree("s.parts", ignore_errors=True)
        left = []

        def killed(path, missing_ok=False, left=left, gone=gone):
            if path.parent.name == "s.parts":
                left.append(path.name)
                if len(left) == gone:
                    raise KeyboardInterrupt
            whole(path, missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", killed)
            code = sample(plain)
        assert code == (130 if "job.json" not in left and len(left) == gone else 0) and "job.json" not in left
        assert Path("s.parts").exists() == (code == 130)
        if sample(plain, "--seed", "1") == 0:
            assert np.array_equal(np.load("s.npy"), right)


def test_samples_of_one_class_are_not_continued_without_it(folder, monkeypatch, capsys):
    interrupted(monkeypatch, lambda: sample(folder, "--classes", "1"))
    assert sample(folder) == 2
    assert "holds a part of another job (classes [1], and now [])" in capsys.readouterr().err
    assert sample(folder, "--classes", "1") == 0


def test_batches_that_changed_places_or_came_from_another_job_are_drawn_again(plain, monkeypatch):
    right, other = drawn(plain), drawn(plain, "--seed", "1")
    assert not np.array_equal(right, other)
    interrupted(monkeypatch, lambda: sample(plain, "--seed", "1"))
    shutil.move("s.parts", "other")
    interrupted(monkeypatch, lambda: sample(plain))
    first, second = (Path("s.parts") / f"{start:09d}.npz" for start in (0, 4))
    first.rename("aside"), second.rename(first), Path("aside").rename(second)
    assert sample(plain) == 0 and np.array_equal(np.load("s.npy"), right)
    interrupted(monkeypatch, lambda: sample(plain))
    shutil.copy("other/000000000.npz", "s.parts/000000000.npz")
    assert sample(plain) == 0 and np.array_equal(np.load("s.npy"), right)


def test_batches_of_older_versions_are_drawn_again(plain, monkeypatch):
    """They do not say of which job they are."""
    right = drawn(plain)
    interrupted(monkeypatch, lambda: sample(plain))
    path, record = Path("s.parts/000000000.npz"), Path("s.parts/job.json")
    np.savez(path, codes=np.zeros((4, *SHAPE), dtype=np.uint8), nfe=2)
    job = json.loads(record.read_text())
    record.write_text(json.dumps({key: job[key] for key in ("seed", "num", "batch_size", "sampler", "model")}))
    assert sample(plain) == 0 and np.array_equal(np.load("s.npy"), right)


def test_scores_by_another_estimator_do_not_delete_unfinished_ones(plain, monkeypatch, capsys):
    interrupted(monkeypatch, lambda: score(plain), batches=1)
    kept = sorted(Path("bits.parts").rglob("0*.npz"))
    assert score(plain, "--config.likelihood.estimator=sde") == 2
    assert "holds a part of another job (scoring" in capsys.readouterr().err and sorted(Path("bits.parts").rglob("0*.npz")) == kept


# Two commands at once

AT_ONCE = {
    "sample": ["--mode", "sample", *SAMPLE],
    "likelihood": ["--mode", "likelihood", *SCORE],
    "dequantize": ["--mode", "dequantize", "--steps", "1"],
}


@pytest.mark.parametrize("mode", AT_ONCE)
def test_the_second_of_two_equal_commands_is_refused(mode, plain, tmp_path, capsys):
    shutil.copytree(plain, "run")
    lock = {"sample": ".s.lock", "likelihood": ".bits.lock", "dequantize": "run/.dequantizer.lock"}[mode]
    with passing_lock(Path(lock), ""):
        before = sorted(tmp_path.rglob("*"))
        assert run.main([*AT_ONCE[mode], "--workdir", "run"]) == 2
        error = capsys.readouterr().err
        assert "another command is " in error and "wait for its end" in error and error.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
    assert run.main([*AT_ONCE[mode], "--workdir", "run"]) == 0
    assert not list(tmp_path.rglob("*.lock"))


def test_samples_and_scores_at_the_end_of_a_training_hold_both_locks(monkeypatch, capsys):
    """Of the run, so that it is not resumed meanwhile, and of the files."""
    codes = []

    def meanwhile(*arguments, **more):
        if not codes:
            codes.append(None)
            codes[:] = [
                run.main(["--resume", "--workdir", "run"]),
                run.main(["--mode", "sample", "--workdir", "run", "--num", "2"]),
            ]
        write(*arguments, **more)

    write = score_sde.runs.batches.save_npz
    monkeypatch.setattr("score_sde.runs.batches.save_npz", meanwhile)
    assert run.main([*TINY, "--workdir", "run"]) == 0 and codes == [2, 2]
    said = capsys.readouterr().err
    assert "another process is training in" in said and "another command is writing" in said


def test_a_lock_whose_file_its_last_holder_removed_is_taken_anew(tmp_path, monkeypatch):
    """The second opens the file while the first holds it, and locks it after the first has removed it."""
    from score_sde.training import lock

    path, take, opened = tmp_path / "lock", lock._take, []

    def late(file, refusal):
        if not opened:
            path.unlink()
        opened.append(file)
        take(file, refusal)

    monkeypatch.setattr(lock, "_take", late)
    with passing_lock(path, "refused"):
        assert len(opened) == 2 and path.exists()
        with pytest.raises(UsageError, match="refused"), passing_lock(path, "refused"):
            pass
    assert not path.exists()


@pytest.mark.slow
def test_of_two_equal_processes_one_draws_all_and_the_other_none(plain, tmp_path):
    command = [sys.executable, *slow_to_draw(plain, tmp_path / "two")]
    first = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    while not (tmp_path / "two.parts").exists():
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # it holds its lock, and does not end before the second begins
    second = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert second.returncode == 2 and second.stderr.count("\n") == 1 and "another command is writing" in second.stderr
    first.send_signal(signal.SIGKILL)
    first.wait()
    third = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert third.returncode == 0, third.stderr
    one = subprocess.run([sys.executable, *slow_to_draw(plain, tmp_path / "one")], env=ENVIRONMENT, capture_output=True)
    assert one.returncode == 0 and np.array_equal(np.load("two.npy"), np.load("one.npy"))
    assert {path.name for path in tmp_path.iterdir()} == {"one.npy", "one.png", "two.npy", "two.png"}


# Refused and failed commands


def test_a_class_that_the_model_does_not_know_leaves_nothing(folder, tmp_path, capsys):
    assert sample(folder, "--classes", "7", "--out", "new/folder/s") == 2
    assert "--classes 7: the model knows classes 0 to 2" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["sample", "likelihood"])
def test_a_command_that_fails_before_its_first_batch_leaves_nothing(mode, plain, tmp_path, monkeypatch):
    give = {"sample": sample, "likelihood": score}[mode]
    with monkeypatch.context() as patch:
        patch.setattr("score_sde.runs.batches.save_npz", lambda *_, **__: (_ for _ in ()).throw(ValueError("no solution")))
        assert give(plain, "--out", "new/folder/s") == 1
    assert not list(tmp_path.iterdir())
    assert give(plain, "--seed", "1") == 0


def test_a_record_without_batches_refuses_nobody(plain):
    """As older versions left it, or damaged."""
    for text in (json.dumps({"seed": 7, "classes": [7]}), "{", "[" * 100_000):
        Path("s.parts").mkdir()
        Path("s.parts/job.json").write_text(text)
        assert sample(plain) == 0 and not Path("s.parts").exists()


@pytest.mark.parametrize("what", ["write_json", "draw_scores", "save_scores"])
def test_scores_are_kept_until_they_are_written(what, plain, monkeypatch, capsys):
    """A disk that is full at the end costs no batch."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"score_sde.commands.likelihood.{what}", full)
        assert score(plain) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error and "give the same command again" in error.splitlines()[-1]
    monkeypatch.setattr("score_sde.runs.estimators.bits_per_dim", lambda *_, **__: pytest.fail("a batch is scored again"))
    assert score(plain) == 0 and all(Path(f"bits.{ending}").exists() for ending in ("json", "png", "npz"))
    assert not Path("bits.parts").exists()


# Full disks and read-only folders

WRITING = {
    "sample": ["--mode", "sample", *SAMPLE],
    "likelihood": ["--mode", "likelihood", *SCORE],
    "dequantize": ["--mode", "dequantize", "--steps", "1"],
    "describe": ["--mode", "describe", "--config.network=mlp", "--config.data=toy", "--out", "d.png"],
    "inspect": ["--mode", "inspect", "--config.data=toy", "--out", "i.png"],
}


def of_run(mode):
    return WRITING[mode] + (["--workdir", "run"] if mode in AT_ONCE else [])


@pytest.mark.quick("sample", "inspect")
@pytest.mark.parametrize("mode", WRITING)
def test_a_full_disk_is_one_sentence_in_every_command(mode, plain, tmp_path):
    shutil.copytree(plain, "run")

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        return run.main(of_run(mode))

    code, said = in_a_child(full)
    last = said.strip().splitlines()[-1]
    assert code == 1 and "cannot be written (" in last and "File too large" in last and "give the same command again" in last, said
    assert not list(tmp_path.rglob(".*")) and not list(tmp_path.rglob("*.parts"))


@pytest.mark.quick("sample", "inspect")
@pytest.mark.parametrize("mode", WRITING)
def test_a_read_only_folder_is_one_sentence_in_every_command(mode, plain, tmp_path):
    """Without the privileges of root, who may write everywhere."""
    shutil.copytree(plain, "run")

    def unprivileged():
        ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), bytes(24))
        return run.main(of_run(mode))

    for path in (tmp_path / "run", tmp_path):
        path.chmod(0o555)
    try:
        code, said = in_a_child(unprivileged)
    finally:
        for path in (tmp_path / "run", tmp_path):
            path.chmod(0o755)
    last = said.strip().splitlines()[-1]
    assert code == 1 and "cannot be written (" in last and "Permission denied" in last, said


@pytest.mark.slow
def test_samples_that_do_not_fit_on_the_disk_do_not_kill_the_process(plain, tmp_path):
    """The file of all rows is written, and not mapped while it is empty: a page without a block on the disk is SIGBUS."""
    Path("small").mkdir()
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "small"], capture_output=True).returncode:
        pytest.skip("this machine mounts nothing for us")
    flags = "--predictor ddim --steps 1 --num 4000 --config.sample.batch_size=1000 --format npy --out small/s"
    command = f"{sys.executable} {Path(run.__file__)} --mode sample --workdir {plain} {flags}"
    script = f"mount -t tmpfs -o size=100k none small && {command}; echo $?"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout.splitlines()[-1] == "1" and "No space left on device" in done.stderr.splitlines()[-1], done


# Pictures of an earlier command


def test_pictures_take_the_place_of_those_of_an_earlier_command(plain):
    assert sample(plain, "--format", "png") == 0 and len(list(Path("s").iterdir())) == 12
    first = Path("s/00.png").read_bytes()
    assert sample(plain, "--format", "png", "--num", "4", "--seed", "1") == 0
    assert sorted(path.name for path in Path("s").iterdir()) == ["0.png", "1.png", "2.png", "3.png"]
    assert Path("s/0.png").read_bytes() != first and not list(Path().glob(".*"))


def test_pictures_that_are_not_all_written_leave_the_earlier_ones(plain, monkeypatch):
    assert sample(plain, "--format", "png") == 0
    before = {path.name: path.read_bytes() for path in Path("s").iterdir()}
    from PIL import Image

    written, write = [], Image.Image.save

    def full(image, path, *more):
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(image, path, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        assert sample(plain, "--format", "png", "--seed", "1") == 1
    assert {path.name: path.read_bytes() for path in Path("s").iterdir()} == before and not list(Path().glob(".*"))


def test_a_folder_with_other_files_is_not_replaced_by_pictures(plain, capsys):
    Path("s").mkdir()
    Path("s/notes.txt").write_text("mine")
    assert sample(plain, "--format", "png") == 2
    assert "which holds notes.txt beside numbered pictures: name another --out" in capsys.readouterr().err
    assert [path.name for path in Path("s").iterdir()] == ["notes.txt"] and not Path("s.parts").exists()
    shutil.rmtree("s")
    Path("s").write_text("mine")
    assert sample(plain, "--format", "png") == 2 and Path("s").read_text() == "mine"


# The process of a run


@pytest.mark.parametrize("mode", ["sample", "likelihood"])
def test_a_config_of_another_process_than_the_checkpoints_is_refused(mode, plain, tmp_path, capsys):
    shutil.copytree(plain, "run")
    config = json.loads(Path("run/config.json").read_text())
    give = {"sample": sample, "likelihood": score}[mode]
    for sde in ("subvp", "vp(beta=linear(beta_max=15))"):
        Path("run/config.json").write_text(json.dumps(config | {"sde": sde}))
        assert give(Path("run")) == 2
        error = capsys.readouterr().err
        assert f"says sde={sde!r}, and checkpoint.safetensors was trained with VPSDE(" in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    Path("run/config.json").write_text(json.dumps(config | {"sde": "vp(beta=linear(beta_max=20))"}))
    assert give(Path("run")) == 0  # the same process in other words
