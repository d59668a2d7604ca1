"""Every Python block of the documents runs, from a folder that is not the clone; and what they say is there."""

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import likelihood
import models
import samplers
import score_sde
import sde_lib
from models import MLP, save
from score_sde.training.trainer import Progress
from sde_lib import VPSDE, Epsilon, Images, ScoreModel

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", [d for d in DOCUMENTS if blocks(d)], ids=lambda path: path.name)
def test_python_blocks_run(path, tmp_path, monkeypatch, capsys):
    """On the CPU, with little steps, small data under the names that the text leaves to the reader."""
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", np.random.default_rng(0).standard_normal((500, 3, 2)))
    save(ScoreModel(MLP((1, 8, 8), width=16), VPSDE(), Epsilon(), Images(17)), "runs/vp-digits/checkpoint.safetensors")
    test_images = torch.randint(17, (6, 1, 8, 8))
    names = {
        "betas": torch.linspace(1e-4, 0.02, 1000),
        "unet": lambda x, i: SimpleNamespace(sample=0.1 * x * (i >= 0)[:, None, None, None]),
        "test_images": test_images,
        "known": Images(17).encode(test_images),
        "mask": (torch.arange(64).reshape(1, 8, 8) < 20).expand(6, 1, 8, 8),
        "__name__": "document",
    }
    for block in blocks(path):
        block = (
            block.replace('"cuda"', '"cpu"')
            .replace("Uniform(1000)", "Uniform(20)")
            .replace("range(1000)", "range(20)")
            .replace("steps=1000", "steps=20")
        )
        exec(compile(block, str(path), "exec"), names)
    assert capsys.readouterr().out


def test_the_two_commands_stand_at_the_top():
    lines = [line for line in (ROOT / "README.md").read_text().splitlines()[:10] if line.startswith("    ")]
    assert lines == [
        "    pip install -c constraints.txt -e . && python run.py --sde vp --mode train",
        "    pip install -c constraints.txt -e '.[test]' && pytest",
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_features_lead_to_code_and_tests():
    """What docs/features.md names is there."""
    text = (ROOT / "docs" / "features.md").read_text()
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`([^`]+)`", text)
    assert len(named) > 100
    for name in named:
        if name.startswith("test_"):
            assert f"def {name}(" in written, name
        elif "/" in name:
            assert (ROOT / name).exists(), name


def test_the_public_surface_lists_what_exists():
    """What docs/design.md lists as public is so, unless it is said to be not yet; the docstrings are the complete list."""
    section = re.search(r"## The public surface\n(.*?)\n## ", (ROOT / "docs" / "design.md").read_text(), re.DOTALL).group(1)
    names = {name for package in (sde_lib, samplers, likelihood, models) for name in package.__all__}
    names.add(Progress.__name__)  # what a callback of fit is given
    surface, not_built = section.split("`Ancestral")[0].splitlines(), []
    listed = set()
    for line in surface:
        if line.startswith("    "):
            capitalised = set(re.findall(r"\b[A-Z]\w+", line)) - {"True", "False", "None", "Iterator"}
            if line.strip().startswith("not yet"):
                not_built += capitalised
            else:
                listed |= capitalised
    assert listed <= names, f"docs/design.md lists {listed - names}, which no package exports"
    assert len(listed) > 80
    assert not_built and not set(not_built) & names  # what is built is no longer "not yet"


SIGNATURES = [likelihood.log_likelihood, likelihood.bits_per_dim, likelihood.plan, likelihood.variational_bound, score_sde.fit]
SIGNATURES += [likelihood.sde_bound, likelihood.sde_bits_per_dim, samplers.interpolate, models.import_checkpoint]


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__name__)
def test_arguments_in_the_public_surface_are_the_function_s(function):
    """Those that are listed, in their order; the first ones, without a default, are all there."""
    text = (ROOT / "docs" / "design.md").read_text()
    listed = re.search(rf"(?<![\w.]){function.__name__}\((.*?)\) ->", text).group(1)
    listed = re.findall(r"(?:^|, )\*{0,2}(\w+)", re.sub(r"\([^()]*\)", "", listed))
    parameters = inspect.signature(function).parameters
    assert [name for name in parameters if name in listed] == listed
    assert {name for name, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD} <= set(listed)


def test_every_case_of_reliability_has_its_test():
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    cases = re.findall(r"^\| ([^|]+) \| [^|]+ \| (`test_[^|]+) \|$", (ROOT / "docs" / "reliability.md").read_text(), re.MULTILINE)
    assert len(cases) > 20
    for case, names in cases:
        for name in re.findall(r"`([^`]+)`", names):
            assert f"def {name}(" in written, (case, name)


def test_short_names_are_in_the_help_of_nobody_but_resolve():
    """Every short name leads to a class, and every public algorithm has one."""
    from configs.names import NAMES
    from score_sde.config.component import resolve

    classes = {resolve(kind, name) for kind, table in NAMES.items() for name, path in table.items() if ":" in path}
    for package, kind in ((samplers, samplers.Predictor), (samplers, samplers.Corrector), (sde_lib, sde_lib.SDE)):
        for name in package.__all__:
            cls = getattr(package, name)
            if isinstance(cls, type) and issubclass(cls, kind) and not getattr(cls, "__abstractmethods__", None):
                assert cls in classes or name == "Tabulated", f"{name} has no short name in configs/names.py"
