"""The wheel in an empty environment, used from a folder that holds a stranger's models.py, configs/, training/ and data/."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"sde_lib", "samplers", "likelihood", "models", "configs", "score_sde"}
QUICK = ["--config.train.steps=30", "--config.sample.num=4", "--config.likelihood.tolerance=0.1"]
QUICK += ["--config.network=mlp(width=16, depth=1)", "--config.sample.sampler=pc(predictor=ddim, times=log_snr(steps=5))"]
# What the README leaves to the reader, for its blocks to run on.
GIVEN = """
import numpy as np, torch
from types import SimpleNamespace
from sde_lib import Images
np.save("mine.npy", np.random.default_rng(0).standard_normal((500, 3, 2)))
betas = torch.linspace(1e-4, 0.02, 1000)
unet = lambda x, i: SimpleNamespace(sample=0.1 * x)
test_images = torch.randint(17, (6, 1, 8, 8))
known, mask = Images(17).encode(test_images), (torch.arange(64).reshape(1, 8, 8) < 20).expand(6, 1, 8, 8)
"""


def run(*command, folder):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT, folder=ROOT)
    return out


@pytest.fixture(scope="module")
def bin_folder(dist, tmp_path_factory):
    """The programs of an environment that holds the wheel and what it depends on, and nothing else."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, with_pip=True)
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    wheel = next(dist.glob("*.whl"))
    run(programs / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, folder=place)
    return programs


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A folder whose modules have the names of ours, and fail when they are imported."""
    folder = tmp_path_factory.mktemp("stranger")
    failing = "raise RuntimeError('a stranger was imported')\n"
    (folder / "models.py").write_text(failing)
    for name in ("configs", "training", "evaluation", "data"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(failing)
    return folder


@pytest.mark.slow
def test_sdist_and_wheel_are_whole(dist):
    run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir(), folder=dist)
    names = zipfile.ZipFile(next(dist.glob("*.whl"))).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert "configs/vp_digits.py" in names and "score_sde/commands/train.py" in names


@pytest.mark.slow
def test_installed_program_trains_samples_and_scores_beside_a_stranger(bin_folder, stranger):
    out = run(bin_folder / "score-sde", "--sde", "vp", *QUICK, folder=stranger)
    assert "this model" in out and "score-sde sample --sde vp --workdir runs/vp-digits" in out
    assert "4 samples" in run(bin_folder / "score-sde", "sample", "--sde", "vp", folder=stranger)
    assert "bits/dim" in run(bin_folder / "score-sde", "--mode", "likelihood", "--sde", "vp", folder=stranger)
    version = run(bin_folder / "score-sde", "--version", folder=stranger)
    assert version == run(bin_folder / "python", "-m", "score_sde", "--version", folder=stranger)
    assert version.split()[1] in run(bin_folder / "python", "-m", "pip", "show", "score-sde-toolkit", folder=stranger)
    assert "MLP" in run(bin_folder / "python", "-m", "score_sde", "train", "--dry-run", *QUICK, folder=stranger)


@pytest.mark.slow
def test_every_python_block_of_the_readme_runs_beside_a_stranger(bin_folder, stranger, tmp_path):
    """As one program in another folder, which is run from the stranger's folder."""
    run(bin_folder / "score-sde", "--sde", "vp", "--workdir", "runs/vp-digits-blocks", *QUICK, folder=stranger)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    text = GIVEN + "\n".join(blocks)
    for long, short in {'"cuda"': '"cpu"', "(1000)": "(20)", "steps=1000": "steps=20", "vp-digits": "vp-digits-blocks"}.items():
        text = text.replace(long, short)
    (tmp_path / "blocks.py").write_text(text)
    assert run(bin_folder / "python", tmp_path / "blocks.py", folder=stranger)


@pytest.mark.slow
def test_fit_says_which_stranger_it_found(bin_folder, stranger):
    done = subprocess.run(
        [str(bin_folder / "python"), "-c", "from score_sde import fit"], cwd=stranger, capture_output=True, text=True
    )
    assert f"'models' was found at {stranger / 'models.py'}, which is not part of this project" in done.stderr


@pytest.mark.slow
def test_run_py_finds_its_own_packages_from_a_strangers_folder(stranger):
    assert "VPSDE" in run(sys.executable, ROOT / "run.py", "--dry-run", folder=stranger)


@pytest.mark.slow
def test_the_library_imports_without_the_packages_of_the_application(bin_folder, tmp_path):
    absent = "for m in ('matplotlib', 'sklearn', 'ml_collections', 'torchsde', 'tqdm', 'PIL'): sys.modules[m] = None"
    run(bin_folder / "python", "-c", f"import sys\n{absent}\nimport sde_lib, models, samplers, likelihood", folder=tmp_path)
