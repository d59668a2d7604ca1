"""The wheel, in a folder of its own, beside names that are somebody else's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = ("sde_lib", "samplers", "likelihood", "models")
PROGRAM = """
import torch
from likelihood import bits_per_dim
from samplers import EulerMaruyama, Sampler, Uniform
from sde_lib import GaussianOracle, Images, VPSDE
score = GaussianOracle(torch.zeros(4), 0.5).score(VPSDE())
print(Sampler(EulerMaruyama(), times=Uniform(10)).sample(VPSDE(), score, (2, 4)).nfe)
print(bits_per_dim(VPSDE(), score, torch.full((2, 4), 128), images=Images()))
"""


def python(*arguments, folder, path):
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's contents, and a folder with a stranger's models.py and configs/."""
    base = tmp_path_factory.mktemp("install")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(base / "site"), str(ROOT)]
    subprocess.run(pip, check=True, capture_output=True)
    hostile = base / "hostile"
    (hostile / "configs").mkdir(parents=True)
    (hostile / "configs" / "__init__.py").write_text("raise RuntimeError('a stranger was imported')\n")
    (hostile / "models.py").write_text("raise RuntimeError('a stranger was imported')\n")
    return base / "site", hostile


@pytest.mark.slow
def test_wheel_holds_the_library_and_nothing_else(installed):
    site, _ = installed
    top = {p.name for p in site.iterdir() if p.is_dir() and not p.name.endswith(".dist-info")}
    assert top == set(LIBRARY)
    assert all((site / package / "py.typed").exists() for package in LIBRARY)


@pytest.mark.slow
def test_library_works_beside_a_strangers_models(installed):
    """sde_lib, samplers and likelihood never import models."""
    site, hostile = installed
    done = python("-c", PROGRAM, folder=hostile, path=site)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("10\n")
    code = f"import sde_lib; assert {str(site)!r} in sde_lib.__file__, sde_lib.__file__"
    assert python("-c", code, folder=hostile, path=site).returncode == 0


@pytest.mark.slow
def test_run_finds_its_own_packages_from_a_strangers_folder(installed):
    _, hostile = installed
    done = python(str(ROOT / "run.py"), "--dry-run", folder=hostile, path=hostile)
    assert done.returncode == 0, done.stderr
    assert "VPSDE" in done.stdout


@pytest.mark.slow
def test_models_imports_without_the_application(installed):
    site, _ = installed
    absent = "for m in ('matplotlib', 'sklearn', 'ml_collections', 'torchsde'): sys.modules[m] = None"
    code = f"import sys\n{absent}\nimport models, samplers, likelihood"
    assert python("-c", code, folder=site, path=site).returncode == 0
