"""Every Python block of the documents runs, from a folder that is not the clone; and what they say is there."""

import ast
import inspect
import re
import shlex
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
from configs import default
from models import MLP, save
from score_sde.command_line import parser_of
from score_sde.config.config import flat
from score_sde.training.trainer import Progress
from sde_lib import VPSDE, Epsilon, Images, ScoreModel
from tests.test_structure import BELOW

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.quick("[!R]*")  # the README trains two networks
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
            .replace("data[1500:]", "data[1780:]")
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


PACKAGES = (sde_lib, samplers, likelihood, models, score_sde)
PUBLIC = {name: getattr(package, name) for package in PACKAGES for name in package.__all__} | {Progress.__name__: Progress}
API = (ROOT / "docs" / "api.md").read_text()


def listed(text):
    """The calls that docs/api.md lists, by name: the text of the arguments of the first one."""
    code = "\n".join(line.split("#")[0] for line in text.splitlines() if line.startswith("    "))
    calls, end = {}, 0
    for match in re.finditer(r"(?<![\w.])([A-Za-z]\w*)\(", code):
        if match.start() < end:  # an argument of the call before
            continue
        end, depth = match.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        calls.setdefault(match.group(1), code[match.end() : end - 1])
    return calls


CALLS = listed(API)


def test_the_public_names_that_are_listed_exist():
    """docs/api.md lists no other; `__all__` of each package is the complete list."""
    code = "\n".join(line.split("#")[0] for line in API.splitlines() if line.startswith("    "))
    capitalised = set(re.findall(r"(?<!\w)[A-Z]\w+", re.sub(r'"[^"]*"', "", code))) - {
        "None",
        "True",
        "False",
        "Iterator",
        "Tensor",
    }
    assert capitalised <= PUBLIC.keys(), f"docs/api.md lists {capitalised - PUBLIC.keys()}, which no package exports"
    assert CALLS.keys() <= PUBLIC.keys() and len(capitalised | CALLS.keys()) > 100


@pytest.mark.parametrize("name", CALLS)
def test_arguments_that_are_listed_are_those_of_the_signature(name):
    """In their order, with their defaults where these are literals; those without a default are all there."""
    arguments = [part.strip() for part in re.sub(r"\([^()]*\)", "()", CALLS[name]).split(",")]
    pairs = [part.lstrip("*").partition("=")[::2] for part in arguments if part.strip("*")]
    parameters = inspect.signature(PUBLIC[name]).parameters
    names = [argument for argument, _ in pairs]
    assert [parameter for parameter in parameters if parameter in names] == names
    for argument, value in pairs:
        if value and not value.endswith(")"):
            assert parameters[argument].default == ast.literal_eval(value), argument
    required = {name for name, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    assert names == [] or required <= set(names)


PLACES = r"`((?:sde_lib|samplers|likelihood|models|configs|score_sde|tests|benchmarks|examples|docs)/[\w./]+)`"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_exist(path):
    for place in re.findall(PLACES, path.read_text()):
        assert "NAME" in place or (ROOT / place).exists(), place


def test_what_design_says_is_in_a_file_is_there():
    """`file.py`: `name`, or `Class.name`, in the table and the chains of docs/design.md."""
    text = (ROOT / "docs" / "design.md").read_text()
    section = re.search(r"## Where is \.\.\.\?\n(.*?)\n## ", text, re.DOTALL).group(1)
    found = re.findall(PLACES + r"((?:(?::|,) `[\w.]+`)+)", section)
    assert len(found) > 25
    for place, names in found:
        written = (ROOT / place).read_text()
        for name in re.findall(r"`([\w.]+)`", names):
            for part in name.split("."):
                assert re.search(rf"(?:def|class) {part}\b|^{part}\b.* = ", written, re.MULTILINE), (place, name)


def test_every_part_is_in_the_table_of_imports():
    text = (ROOT / "docs" / "design.md").read_text()
    table = re.search(r"## Who may import whom\n(.*?)\n## ", text, re.DOTALL).group(1)
    for row in table.splitlines():
        if row.startswith("| `"):
            parts, above = (re.findall(r"`([\w.]+)`", column) for column in row.split("|")[1:3])
            for part in parts:
                assert set(above) <= set(BELOW[part]), part
    assert set(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)) and all(f"`{part}`" in table for part in BELOW)


def test_every_trap_has_its_test():
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    rows = re.findall(r"^\| (.+) \| (`test_.+) \|$", (ROOT / "docs" / "traps.md").read_text(), re.MULTILINE)
    assert len(rows) > 20
    for trap, names in rows:
        for name in re.findall(r"`([^`]+)`", names):
            assert f"def {name}(" in written, (trap, name)


def commands(path):
    """The command lines of this program in a document, each as its words after the program's name."""
    text = re.sub(r" *\\\n *", " ", path.read_text())
    blocks = re.findall(r"^ {4}(.*(?:run\.py|score-sde|-m score_sde).*)$", text, re.MULTILINE)
    for line in blocks + re.findall(r"`((?:python run\.py|score-sde) [^`]+)`", text):
        for part in line.split("&&"):
            match = re.search(r"(?:^|\s)(?:run\.py|score-sde|-m score_sde) (.+)", part, re.DOTALL)
            if match and not {"C", "COMMAND", "--help"} & set(match.group(1).split()):  # no command, or any
                yield shlex.split(match.group(1), comments=True)


@pytest.mark.parametrize("path", [d for d in DOCUMENTS if list(commands(d))], ids=lambda path: path.name)
def test_commands_have_flags_and_keys_that_exist(path):
    keys = flat(default.get_config())
    for words in commands(path):
        words = [word for word in words if word != "..."]
        if "--mode" in words:
            place = words.index("--mode")
            words = [words[place + 1], *words[:place], *words[place + 2 :]]
        name, words = ("train", words) if words[0].startswith("-") else (words[0], words[1:])
        _, rest = parser_of(name).parse_known_args(words)
        for word in rest:
            assert word.startswith("--config."), (words, word)
            assert word.removeprefix("--config.").partition("=")[0] in keys, (words, word)


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
