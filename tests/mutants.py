"""Planted errors: each is a formula made wrong in one place, and the tests that must fail because of it.

python -m tests.mutants            # a table of all, with what became of each
python -m tests.mutants langevin   # those whose name contains a word
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import shutil
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.planted import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("sde_lib", "samplers", "likelihood", "models", "score_sde", "configs", "tests")
PATIENCE = 300  # seconds for the tests of one

# Every mutant has a process of its own, forked from one that has imported what is not of the project: that is most of the time.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "torch", "scipy.integrate", "scipy.stats", "safetensors.torch", "torch.distributed.fsdp"])


def plant(mutant: Mutant | None, selection: str) -> tuple[bool, str]:
    """Whether the selected tests pass in a copy of the project with an error planted (or none), and the end of their output."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for folder in FOLDERS:
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "golden"))
        for file in ("pyproject.toml", "run.py"):
            shutil.copy(ROOT / file, copy / file)
        if mutant is not None:
            path = copy / mutant.file
            source = path.read_text()
            if source.count(mutant.text) != 1:
                raise ValueError(
                    f"{mutant.name}: {mutant.text!r} occurs {source.count(mutant.text)} times in {mutant.file}, not once"
                )
            path.write_text(source.replace(mutant.text, mutant.becomes))
        (copy / "tests" / "golden").symlink_to(ROOT / "tests" / "golden")
        output = copy / "output.txt"
        tests = FORKS.Process(target=run_tests, args=(str(copy), shlex.split(selection), str(output)))
        tests.start()
        tests.join(PATIENCE)
        if tests.exitcode is None:  # an error that makes a loop endless has been seen too
            os.killpg(tests.pid, signal.SIGKILL)
            tests.join()
            return False, f"no end after {PATIENCE} s"
        said = output.read_text()
    if tests.exitcode not in (0, 1):
        raise RuntimeError(f"{mutant and mutant.name}: the tests did not run:\n{said[-2000:]}")
    return tests.exitcode == 0, said[-300:]


def run_tests(copy: str, selection: list[str], output: str) -> None:
    """Run the selected tests of a copy, of both tiers, in a process of its own that has imported nothing of the project."""
    os.setsid()
    with open(output, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(f"{copy}/tests/laws")
    os.environ.update(PYTHONPATH=copy, OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path[:] = [copy, *(path for path in sys.path if Path(path).resolve() != ROOT)]
    for module in [name for name in sys.modules if name.split(".")[0] == "tests"]:  # this function's, of the original
        del sys.modules[module]
    import pytest

    sys.exit(pytest.main(["-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-m", "slow or not slow", *selection]))


def survivors(mutants: list[Mutant]) -> list[str]:
    """The names of the mutants that no test kills, with a line for each mutant printed on the way."""
    alive = []
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1))) as pool:
        for mutant, (passed, _) in zip(mutants, pool.map(lambda m: plant(m, m.tests), mutants), strict=True):
            print(f"{'SURVIVED' if passed else 'killed':<9} {mutant.name:<45} {mutant.file}", flush=True)
            if passed:
                alive.append(mutant.name)
    return alive


if __name__ == "__main__":
    chosen = [m for m in MUTANTS if len(sys.argv) < 2 or sys.argv[1].lower() in m.name.lower()]
    left = survivors(chosen)
    print(f"{len(chosen) - len(left)} of {len(chosen)} killed")
    sys.exit(bool(left))
