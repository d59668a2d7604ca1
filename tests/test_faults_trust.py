"""A run's folder from a stranger: what it names is neither imported nor called, unless the user names it too."""

import json
import random
import shutil
import sys
import time
from pathlib import Path

import pytest

import run
from configs.names import NAMES
from models.checkpoint import read_header
from models.files import write_tensors
from score_sde.config.component import build, classes_in, own_classes
from score_sde.config.config import restore
from score_sde.errors import UsageError
from score_sde.trust import trust_of_command

OLD = Path(__file__).parent / "fixtures" / "run_4b134d5"
BAIT = """
from pathlib import Path
Path("imported").touch()
def call(*given, **more):
    Path("called").touch()
class Thing:
    def __init__(self, **more):
        Path("called").touch()
"""
PLACES = {
    "sde": "{}",
    "parameterization": "{}",
    "objective": "{}",
    "data": "{}",
    "sample.sampler": "{}",
    "likelihood.divergence": "{}",
    "likelihood.dequantize": "{}",
    "network": "{}",
}
NESTED = {
    "sample.sampler": "pc(predictor='{}', times=uniform(steps=2))",
    "objective": "hybrid(simple=dsm(times='{}'))",
    "sde": "vp(beta='{}')",
    "parameterization": "with_variance(of='{}')",
}
COMMANDS = [
    ["sample", "--num", "1"],
    ["sample", "--dry-run"],
    ["likelihood"],
    ["dequantize", "--steps", "1"],
    ["train", "--resume"],
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A run's folder, and beside it a module that leaves a file when it is imported or called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])
    shutil.copytree(OLD, tmp_path / "old")
    (tmp_path / "bait.py").write_text(BAIT)
    sys.modules.pop("bait", None)
    yield tmp_path / "old"
    sys.modules.pop("bait", None)


def write(folder, key, text):
    content = json.loads((OLD / "config.json").read_text())
    *sections, last = key.split(".")
    inner = content
    for section in sections:
        inner = inner[section]
    inner[last] = text
    (folder / "config.json").write_text(json.dumps(content))


def ran():
    return [name for name in ("imported", "called") if Path(name).exists()]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(("key", "text"), [*PLACES.items(), *NESTED.items()])
def test_no_key_of_a_strangers_config_runs_its_code(key, text, command, folder, capsys):
    """In 48 ways. A command that does not build the component may go on without it."""
    write(folder, key, text.format("bait:call(command='touch x')" if "'" not in text else "bait:call"))
    code = run.main([*command, "--workdir", "old", *(["--config.train.steps=52"] if "train" in command else [])])
    error = capsys.readouterr().err
    assert ran() == []
    assert code == 0 or ("the run's folder names bait:call for " in error and error.strip().count("\n") == 0), error


def test_a_sampler_that_only_the_folder_names_is_refused(folder, capsys):
    write(folder, "sample.sampler", "bait:Thing(command='touch x')")
    assert run.main(["sample", "--workdir", "old", "--dry-run"]) == 2
    assert "the run's folder names bait:Thing for sampler" in capsys.readouterr().err
    assert ran() == []


def test_a_shell_is_not_called(folder, capsys):
    write(folder, "sample.sampler", "os:system(command='touch called')")
    assert run.main(["sample", "--workdir", "old", "--dry-run"]) == 2
    assert "name it on the command line, or give --trust" in capsys.readouterr().err
    assert ran() == []


@pytest.mark.parametrize("words", [["--trust"], ["--sampler", "bait:Thing"], ["--config.sample.sampler=bait:Thing"]])
def test_what_the_command_line_names_is_built(words, folder):
    write(folder, "sample.sampler", "bait:Thing")
    run.main(["sample", "--workdir", "old", "--dry-run", *words])
    assert ran() == ["imported", "called"]


@pytest.mark.parametrize("words", [["--out", "bait:Thing"], ["--sampler", "pc(predictor=heun, times=uniform(steps=2))"]])
def test_a_word_of_the_command_line_that_names_no_class_trusts_none(words, folder):
    write(folder, "sde", "bait:Thing")
    write_tensors(folder / "checkpoint.safetensors", {}, own_sde(folder))
    assert run.main(["sample", "--workdir", "old", "--dry-run", *words]) == 2
    assert ran() == []


def own_sde(folder):
    """The metadata of the run's checkpoint, with a process of one's own."""
    header = read_header(folder)
    header["sde"] = {"name": "Thing", "fields": {}, "own": True}
    return {"format": "sde-score-model", "version": "1", "model": json.dumps(header)}


def test_a_path_of_the_registry_written_in_full_is_registered(folder):
    write(folder, "sample.sampler", "samplers:Sampler(predictor='samplers:Heun', times='samplers:Uniform(steps=2)')")
    assert run.main(["sample", "--workdir", "old", "--dry-run"]) == 0


def test_trust_ends_with_its_command(folder):
    write(folder, "sample.sampler", "bait:Thing")
    assert run.main(["sample", "--workdir", "old", "--dry-run"]) == 2
    build("sampler", "bait:Thing")  # of a program in Python, which has read no folder
    assert ran() == ["imported", "called"]


def test_a_class_of_another_kind_is_not_called():
    with pytest.raises(UsageError, match="which makes a Thing, and a LinearSDE was needed"):
        build("sde", "bait:Thing")
    with pytest.raises(UsageError, match="which makes a Thing, and a Predictor was needed"):
        build("sampler", "pc(predictor='bait:Thing', times=uniform(steps=2))")
    assert ran() == ["imported"]


def test_the_commands_that_training_prints_work(folder, capsys):
    (folder.parent / "mine.py").write_text("from models import MLP\n\n\nclass Net(MLP):\n    pass\n")
    tiny = ["--config.train.steps=2", "--config.train.held_out=0", "--config.sample.num=1", "--config.network=mine:Net(width=8)"]
    assert run.main(["train", "--workdir", "new", "--data", "toy(name=ring)", "--config.likelihood.tolerance=0.1", *tiny]) == 0
    printed = capsys.readouterr().out
    assert "--workdir new --trust\n" in printed
    assert own_classes({"network": "mine:Net(width=8)", "sde": "vp", "name": "a:b"}) == {"mine:Net"}


def test_long_texts_are_read_in_time_that_grows_with_their_length():
    start = time.perf_counter()
    for text in (" " * 300_000 + "-", "vp" + " " * 300_000 + "-", "a" * 300_000 + "-", "a." * 150_000 + ":-", "(" * 300_000):
        with pytest.raises(UsageError):
            build("sde", text)
    assert time.perf_counter() - start < 2


def test_an_argument_before_the_last_bracket_is_not_dropped():
    with pytest.raises(UsageError, match="only key=value arguments"):
        build("sde", "vp(T=0.5)(t_min=1e-3)")


# A fuzzer -----------------------------------------------------------------------------------------

NAMED = [
    "bait:call",
    "bait:Thing",
    "os:system",
    "builtins:exec",
    "bait.Thing",
    "bait",
    "vp",
    "pc",
    "dsm",
    "mlp",
    "uniform",
    "arrays",
]
KEYS = ["predictor", "corrector", "times", "steps", "beta", "of", "simple", "train", "path", "command", "width", "schedule", "T"]


def random_text(rng, depth=0):
    """A component, whole or with some characters changed."""
    name = rng.choice([*NAMED, *(name for table in NAMES.values() for name in table)])
    values = [
        "1",
        "-1",
        "1e400",
        "None",
        "nan",
        "[]",
        "{}",
        "'bait:call'",
        '"bait:Thing()"',
        "'\\x62ait:call'",
        "bait",
        "lambda: 0",
    ]
    values += ["__import__('bait')", "(1,)*9", "9" * 5000, "f'{1}'", "''"]
    arguments = []
    for _ in range(rng.randrange(4)):
        nested = random_text(rng, depth + 1) if depth < 3 and rng.random() < 0.6 else rng.choice(values)
        arguments.append(f"{rng.choice(KEYS)}={repr(nested) if rng.random() < 0.4 else nested}")
    text = f"{name}({', '.join(arguments)})" if arguments or rng.random() < 0.3 else name
    if depth == 0 and rng.random() < 0.3:
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.choice("()'\"=,:\\ \0\u2028;*") * rng.choice([1, 1, 500]) + text[place + rng.randrange(3) :]
    return text


@pytest.mark.slow
def test_a_thousand_random_configs_run_nothing(folder):
    rng = random.Random(0)
    kinds = ["sde", "network", "parameterization", "objective", "data", "sampler", "divergence", "dequantize"]
    refused = 0
    with trust_of_command(None, []):
        restore(folder / "config.json")
        for _ in range(1000):
            kind, text = rng.choice(kinds), random_text(rng)
            start = time.perf_counter()
            try:
                list(classes_in(kind, text))
                build(kind, text, *([(2,)] if kind == "network" else []))
            except UsageError:
                refused += 1
            assert time.perf_counter() - start < 5, text
            assert ran() == [], text
    assert refused > 800
