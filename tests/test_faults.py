"""What a run survives: kills, a second process, full disks, read-only folders, clocks, too little memory."""

import contextlib
import ctypes
import dataclasses
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import torch

import models.files
import run
from models.checkpoint import read_header
from score_sde.config.config import override
from score_sde.errors import RunError, UsageError
from score_sde.runs import session
from score_sde.training.faults import explain_faults
from score_sde.training.lock import exclusive_lock
from tests.faulty import CHECKPOINT, STATE, Broken, in_a_child, stopped, trained, trainer
from tests.kills import contents, experiment_of, step_of
from tests.test_cli import TINY
from tests.test_training import weights_of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_in_the_same_files():
    """In a process of its own, which forks; 200 kills are python -m tests.kills."""
    command = [sys.executable, "-m", "tests.kills", "--kills", "20"]
    done = subprocess.run(command, cwd=Path(run.__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "    20 kills" in done.stdout and " 0 runs" not in done.stdout


def test_a_run_killed_before_its_first_save_begins_anew(tmp_path, capsys):
    """--resume finds it without being told where it is, and leaves older runs alone."""
    assert run.main([*TINY]) == 0
    shutil.copytree("runs/vp-digits", "whole")
    Path("runs/vp-digits-2").mkdir()
    shutil.copy("whole/config.json", "runs/vp-digits-2/config.json")
    os.utime("runs/vp-digits-2/config.json", (time.time() + 5, time.time() + 5))
    capsys.readouterr()
    assert run.main(["--resume"]) == 0
    assert f"nothing was saved in {tmp_path}/runs/vp-digits-2 before the run was stopped: it begins anew" in capsys.readouterr().err
    assert contents(tmp_path / "runs/vp-digits-2")[STATE] == contents(tmp_path / "whole")[STATE]


@pytest.mark.slow
def test_a_closed_terminal_saves_first(tmp_path):
    """The terminal goes for good, with what the run would still say; its last word is its exit code."""
    ours, theirs = os.openpty()
    command = [sys.executable, run.__file__, *TINY, "--workdir", "run", "--config.train.steps=20000"]
    terminal = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    process = subprocess.Popen(command, **terminal, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(theirs)
    os.set_blocking(ours, False)
    deadline = time.monotonic() + 60
    while not Path("run/metrics.jsonl").exists() and time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            os.read(ours, 10_000)
        time.sleep(0.05)
    os.close(ours)
    assert process.wait(timeout=60) == 130
    assert 0 < read_header("run")["step"] == step_of(tmp_path / "run") < 20_000


def test_a_hangup_that_is_ignored_stays_ignored():
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with session._StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with session._StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.asked
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_process_in_a_folder_is_refused(tmp_path, capsys):
    """Until the first ends, however it ends; to sample is not to train."""
    assert run.main([*TINY, "--workdir", "run"]) == 0
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, time; f = open('run/.lock'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    before = contents(tmp_path / "run")
    capsys.readouterr()
    assert run.main(["--resume", "--workdir", "run", "--config.train.steps=40"]) == 2
    error = capsys.readouterr().err
    assert f"another process is training in {tmp_path}/run: wait for its end" in error and error.count("\n") == 1
    assert contents(tmp_path / "run") == before
    assert run.main(["--mode", "sample", "--workdir", "run"]) == 0
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert run.main(["--resume", "--workdir", "run", "--config.train.steps=40"]) == 0


def test_two_new_runs_in_one_folder_do_not_share_it(tmp_path):
    """Begun at once, both find it empty: the lock refuses one while the other trains, and the config afterwards."""
    experiment, config = experiment_of(0, train__steps="5")
    (tmp_path / "run").mkdir()
    with exclusive_lock(tmp_path / "run"), pytest.raises(UsageError, match="another process is training"):
        session.train(experiment, config, tmp_path / "run", "cpu", resume=False)
    session.train(experiment, config, tmp_path / "run", "cpu", resume=False)
    with pytest.raises(UsageError, match="holds a run"):
        session.train(experiment, config, tmp_path / "run", "cpu", resume=False)


def test_a_run_trains_without_locks_where_the_file_system_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr("score_sde.training.lock.fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported")))
    with exclusive_lock(tmp_path), exclusive_lock(tmp_path):
        pass


def test_half_written_files_of_a_killed_run_are_removed(tmp_path):
    experiment, config = experiment_of(0, train__steps="5")
    left = tmp_path / "run" / ".state.safetensors.4711.tmp"
    left.mkdir(parents=True)
    (left / ".tmpXyZ123").write_bytes(b"half")
    (tmp_path / "run" / ".samples.npy.4712.tmp").mkdir()  # of a process that samples, and may be alive
    session.train(experiment, config, tmp_path / "run", "cpu", resume=False)
    assert [p.name for p in (tmp_path / "run").glob(".*.tmp")] == [".samples.npy.4712.tmp"]


@pytest.mark.slow
def test_half_renamed_files_are_whole_ones(tmp_path, capsys):
    """Killed between any two calls that change the folder, a save leaves a state that can be gone on from."""
    whole, _ = trained("whole")
    t = stopped("before", 15)  # 10 is saved, 15 is not
    calls = {"os.replace": os.replace, "os.link": os.link, "os.fsync": lambda number: None}
    last = count = 0
    while count == last:
        last, count = last + 1, 0
        shutil.rmtree("part", ignore_errors=True)
        shutil.copytree("before", "part")
        t.store.folder, t.store._saved, t._best = tmp_path / "part", 10, True
        with pytest.MonkeyPatch.context() as patch:
            for name, call in calls.items():

                def counted(*arguments, call=call):
                    nonlocal count
                    count += 1
                    if count == last:
                        raise KeyboardInterrupt
                    return call(*arguments)

                patch.setattr(name, counted)
            with contextlib.suppress(KeyboardInterrupt):
                t.save()
        again = trainer("part")
        again.resume()
        assert again.step in (10, 15)
        again.rewrite_checkpoint()
        assert read_header("part")["step"] == again.step
        list(again.run())
        assert torch.equal(weights_of(again), weights_of(whole))
        assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    assert last > 10


@pytest.mark.quick("100")
@pytest.mark.parametrize("room", [30_000, 100])
def test_a_full_disk_stops_the_run_and_keeps_what_there_was(room, tmp_path):
    """The file that grows beyond the room is refused by the kernel: the state, or already the first small ones."""
    assert run.main([*TINY, "--workdir", "run"]) == 0
    before = contents(tmp_path / "run")

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        return run.main(["--resume", "--workdir", "run", "--config.train.steps=40"])

    code, said = in_a_child(full)
    last = said.strip().splitlines()[-1]
    assert code == 1 and "run cannot be written (" in last and "File too large" in last and "go on with --resume" in last, said
    after = contents(tmp_path / "run")
    assert {name: after[name] for name in (STATE, CHECKPOINT)} == {name: before[name] for name in (STATE, CHECKPOINT)}
    assert not list((tmp_path / "run").glob(".*.tmp"))
    assert run.main(["--resume", "--workdir", "run", "--config.train.steps=40"]) == 0
    assert step_of(tmp_path / "run") == 40


@pytest.mark.slow
def test_a_file_system_that_is_full(tmp_path):
    """A small one in memory, where a user may mount it."""
    (tmp_path / "small").mkdir()
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "small"], capture_output=True).returncode:
        pytest.skip("this machine mounts nothing for us")
    script = f"cd small && mount -t tmpfs -o size=300k none . && cd ../small && {sys.executable} {Path(run.__file__)} --workdir run"
    words = " ".join(f"'{word}'" for word in (*TINY, "--config.train.save_every=5", "--config.train.keep=5"))
    done = subprocess.run(["unshare", "-rm", "sh", "-c", f"{script} {words}; echo $?; ls -A run"], capture_output=True, text=True)
    assert "No space left on device" in done.stderr.splitlines()[-1], done.stderr
    assert "1" in done.stdout.splitlines() and STATE in done.stdout and ".tmp" not in done.stdout, done.stdout


def test_a_read_only_folder_is_reported_and_can_be_sampled_from(tmp_path):
    """Without the privileges of root, who may write everywhere."""
    assert run.main([*TINY, "--workdir", "run"]) == 0
    files = [*(tmp_path / "run").iterdir()]
    for p in files:
        p.chmod(0o444)
    (tmp_path / "run").chmod(0o555)

    def unprivileged(arguments):
        def work():
            version_3, this_process, no_privileges = 0x20080522, 0, bytes(24)
            ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(version_3, this_process), no_privileges)
            return run.main(arguments)

        return in_a_child(work)

    try:
        code, said = unprivileged(["--resume", "--workdir", "run", "--config.train.steps=40"])
        assert code == 1 and "run cannot be written (" in said and "Permission denied" in said and said.count("\n") == 1, said
        code, said = unprivileged(["--mode", "sample", "--workdir", "run", "--num", "2", "--out", "out/two"])
        assert code == 0 and (tmp_path / "out" / "two.npy").exists(), said
    finally:
        (tmp_path / "run").chmod(0o755)


def test_a_clock_that_runs_backwards_changes_nothing(tmp_path, monkeypatch):
    whole, _ = trained("whole")
    now = [2e9]

    def backwards():
        now[0] -= 1000
        return now[0]

    monkeypatch.setattr("time.time", backwards)
    stopped("run", 17)
    for i, path in enumerate(sorted((tmp_path / "run").iterdir())):
        os.utime(path, (i * 1e6, i * 1e6))
    t = trainer("run")
    t.resume()
    assert t.step == 15
    list(t.run())
    assert torch.equal(weights_of(t), weights_of(whole))
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_from_the_future_gives_a_warning(tmp_path, capsys):
    for name, age in (("old", -100), ("new", 0), ("future", 10**6)):
        assert run.main([*TINY, f"--config.name={name}", "--config.train.steps=2"]) == 0
        for path in (Path(f"runs/vp-{name}") / file for file in (CHECKPOINT, "config.json")):
            os.utime(path, (time.time() + age, time.time() + age))
    capsys.readouterr()
    assert run.main(["--mode", "sample", "--dry-run"]) == 0
    explain_faults = capsys.readouterr()
    assert "runs/vp-future was written in the future by this machine's clock: name another with --workdir" in explain_faults.err
    shutil.rmtree("runs/vp-future")
    assert run.main(["--mode", "sample", "--dry-run"]) == 0
    explain_faults = capsys.readouterr()
    assert "runs/vp-new" in explain_faults.out and "future" not in explain_faults.err


MEMORY = {
    "device": lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")),
    "host": lambda: torch.empty(2**58),
    "python": lambda: bytearray(2**62),
}


@pytest.mark.parametrize("allocate", MEMORY.values(), ids=MEMORY)
def test_too_little_memory_is_reported_with_the_settings_that_help(allocate, tmp_path):
    """The knobs that are named are there to be set."""
    experiment, config = experiment_of(0)
    broken = dataclasses.replace(experiment, objective=Broken(lambda losses: allocate(), at=(3,), of=experiment.objective))
    with pytest.raises(RunError, match="there is not enough memory to train") as explain_faults:
        session.train(broken, config, tmp_path / "run", "cpu", resume=False)
    knobs = [word for word in str(explain_faults.value).split() if word.startswith("--")]
    assert knobs[-1] == "--device," and len(knobs) == 4
    for knob in knobs[:3]:
        key, value = knob.rstrip(",;").removeprefix("--config.").split("=")
        override(config, key, value)
    assert (config.train.micro_batch, config.train.checkpointing, config.train.autocast) == (4, True, "bf16")


def test_other_errors_are_raised_as_they_are(tmp_path):
    for error in (RuntimeError("shapes differ"), FileNotFoundError(2, "no such file")):
        with pytest.raises(type(error)), explain_faults(tmp_path, None):
            raise error


def test_a_save_that_fails_is_not_the_end_of_the_save_before(tmp_path, monkeypatch):
    """The library that writes files says of a full disk what it likes."""
    experiment, config = experiment_of(0, train__steps="10")
    session.train(experiment, config, tmp_path / "run", "cpu", resume=False)
    before = contents(tmp_path / "run")
    from safetensors import SafetensorError

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(models.files, "save_file", full)
    experiment, config = experiment_of(0, train__steps="20")
    with pytest.raises(RunError, match="cannot be written .*No space left on device"):
        session.train(experiment, config, tmp_path / "run", "cpu", resume=True)
    after = contents(tmp_path / "run")
    assert all(after[name] == before[name] for name in before if name.startswith(("state", "best", "checkpoint")))


def test_failures_name_folders_from_the_root(tmp_path, capsys):
    """Whoever reads the log may stand elsewhere."""
    assert run.main([*TINY, "--workdir", "run"]) == 0
    capsys.readouterr()
    kept = [
        ["--workdir", "run", "--resume", "--config.train.steps=29"],
        ["--workdir", "run", "--resume", "--config.train.steps=99", "--config.train.learning_rate=1e30"],
    ]
    for arguments in kept:
        assert run.main(arguments) in (1, 2)
        assert str(tmp_path / "run") in capsys.readouterr().err.splitlines()[-1]
    for path in Path("run").glob("checkpoint*"):
        path.write_bytes(path.read_bytes()[:100])
    for mode in ("sample", "likelihood"):
        assert run.main(["--workdir", "run", "--mode", mode]) == 1
        assert str(tmp_path / "run") in capsys.readouterr().err.splitlines()[-1]
