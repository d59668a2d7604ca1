"""Planted errors: each is a formula made wrong in one place, and the tests that must fail because of it.

python -m tests.mutants            # a table of all, with what became of each
python -m tests.mutants langevin   # those whose name contains a word
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.planted import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("sde_lib", "samplers", "likelihood", "models", "score_sde", "configs", "tests")
PATIENCE = 300  # seconds for the tests of one


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
        arguments = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *shlex.split(selection)]
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
        with subprocess.Popen(arguments, cwd=copy / "tests" / "laws", env=environment, **pipes) as tests:
            try:
                output, _ = tests.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:  # an error that makes a loop endless has been seen too
                os.killpg(tests.pid, signal.SIGKILL)
                return False, f"no end after {PATIENCE} s"
    if tests.returncode not in (0, 1):
        raise RuntimeError(f"{mutant and mutant.name}: the tests did not run:\n{output[-2000:]}")
    return tests.returncode == 0, output[-300:]


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
