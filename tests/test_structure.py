"""The house: who imports whom, what is documented, what stands where."""

import ast
import importlib
import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import samplers
from samplers import Corrector, Predictor
from sde_lib import SDE
from tests.registry import PACKAGES, public_names

ROOT = Path(__file__).parent.parent
STANDARD = set(sys.stdlib_module_names)
LIBRARY = ("sde_lib", "samplers", "likelihood", "models")
BASE = ("score_sde.errors", "score_sde.program", "score_sde.progress", "score_sde.protocols", "score_sde.trust")
# Who may import whom: each part the parts named here, besides itself.
BELOW = {
    "sde_lib": (),
    "samplers": ("sde_lib",),
    "likelihood": ("sde_lib",),
    "models": ("sde_lib",),
    "configs": (),
    "score_sde.errors": (),
    "score_sde.program": (),
    "score_sde.progress": (),
    "score_sde.trust": (),
    "score_sde.protocols": ("sde_lib",),
    "score_sde.training": (*LIBRARY, "configs", *BASE),
    "score_sde.evaluation": (*LIBRARY, *BASE),
}
BELOW["score_sde.data"] = (*LIBRARY, *BASE, "score_sde.training", "score_sde.evaluation")
BELOW["score_sde.config"] = (*BELOW["score_sde.data"], "configs", "score_sde.data")
BELOW["score_sde.runs"] = (*BELOW["score_sde.config"], "score_sde.config")
BELOW["score_sde.flags"] = ("configs",)
BELOW["score_sde.commands"] = (*BELOW["score_sde.runs"], "score_sde.runs", "score_sde.flags")
BELOW["score_sde.command_line"] = ("score_sde", "score_sde.commands", *BASE)  # its version
PACKAGES_OF = {  # what each part may import from elsewhere
    "sde_lib": {"torch", "numpy", "scipy"},
    "samplers": {"torch", "numpy", "scipy"},
    "likelihood": {"torch", "numpy", "scipy"},
    "models": {"torch", "numpy", "safetensors"},
    "configs": {"ml_collections"},
}
OF_THE_APPLICATION = {"torch", "numpy", "scipy", "safetensors", "sklearn", "tqdm", "PIL", "matplotlib", "ml_collections"}
ALONE = {"torch_sde.py": {"torchsde"}, "reading.py": {"h5py", "zarr"}}  # one file each, when it is called


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module):
    """The part that a module or a name in it belongs to, such as score_sde.runs; None for what is not ours."""
    top, *rest = module.split(".")
    if top != "score_sde":
        return top if top in BELOW else None
    return f"score_sde.{rest[0]}" if rest and not rest[0].startswith("__") else "score_sde"


def files_of(part):
    path = ROOT / part.replace(".", "/")
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


@pytest.mark.parametrize("part", BELOW)
def test_each_part_imports_only_what_is_below_it(part):
    elsewhere = PACKAGES_OF.get(part, OF_THE_APPLICATION)
    for path in files_of(part):
        for module in imports_of(path):
            other = part_of(module)
            if other is None:
                allowed = STANDARD | elsewhere | ALONE.get(path.name, set())
                assert module.split(".")[0] in allowed, f"{path} imports {module}"
            else:
                assert other in (part, *BELOW[part]), f"{path} imports {module}, and {part} stands below {other} or beside it"


def test_every_part_of_the_application_has_its_place_in_the_chain():
    parts = {p.stem for p in (ROOT / "score_sde").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert {f"score_sde.{p}" for p in parts - {"__init__", "__main__"}} == {p for p in BELOW if p.startswith("score_sde.")}


def test_imports_inside_models_are_relative():
    for path in (ROOT / "models").rglob("*.py"):
        assert "models" not in {module.split(".")[0] for module in imports_of(path)}, path


def test_library_imports_fast_and_without_the_application():
    code = (
        "import sys, sde_lib, samplers, likelihood, models; "
        "print([m for m in ('matplotlib', 'ml_collections', 'sklearn', 'score_sde', 'configs') if m in sys.modules])"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - start < 30  # the promise is 5 s on a quiet machine, which a test cannot hold


def python(code, **environment):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.quick("import score_sde")
@pytest.mark.parametrize("first", ["import score_sde", "import score_sde.training.fitting", "import score_sde.training.trainer"])
def test_fit_of_training_is_the_function_whatever_was_imported_before(first):
    done = python(f"{first}\nimport score_sde\nfrom score_sde import fit\nassert score_sde.fit is fit and fit.__name__ == 'fit'")
    assert done.returncode == 0, done.stderr


def test_importing_training_imports_nothing_else():
    done = python("import sys, score_sde; print([m for m in ('torch', 'models', 'configs', 'numpy') if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_a_foreign_models_package_is_reported_by_name(tmp_path):
    """Where another folder comes first, as it does in a notebook that is there."""
    (tmp_path / "models.py").write_text("")
    code = f"import sys\nsys.path[:1] = [{str(tmp_path)!r}, {str(ROOT)!r}]\nimport run\nsys.exit(run.main(['--dry-run']))"
    done = python(code)
    assert done.returncode == 2
    assert f"'models' was found at {tmp_path / 'models.py'}, which is not part of this project" in done.stderr


def public():
    for package in PACKAGES:
        for name in public_names(package):
            yield pytest.param(getattr(package, name), id=f"{package.__name__}.{name}")


@pytest.mark.parametrize("thing", list(public()))
def test_everything_public_is_documented(thing):
    doc = inspect.getdoc(thing)
    assert doc, thing
    if inspect.isclass(thing) and not inspect.isabstract(thing) and not issubclass(thing, tuple) and thing.__name__ not in RESULTS:
        assert ">>>" in doc, f"{thing} has no example"
    if inspect.isclass(thing) and issubclass(thing, (SDE, Predictor, Corrector)) and not inspect.isabstract(thing):
        assert "Reference" in doc, f"{thing} names no paper"


RESULTS = {"BitsPerDim", "VariationalBits", "LogLikelihood", "SDEBits", "SDEBound"}  # made by functions, whose examples show them


@pytest.mark.parametrize(("package", "kind"), [("predictors", Predictor), ("correctors", Corrector)])
def test_an_algorithm_with_a_file_is_public(package, kind):
    """One line in the sub-package registers it: a forgotten one would leave the class untested by every law."""
    for path in (ROOT / "samplers" / package).glob("*.py"):
        module = importlib.import_module(f"samplers.{package}.{path.stem}")
        for name in getattr(module, "__all__", ()):
            cls = getattr(module, name)
            if isinstance(cls, type) and issubclass(cls, kind):
                assert getattr(samplers, name, None) is cls and name in samplers.__all__, (
                    f"{path} defines {name}: add 'from samplers.{package}.{path.stem} import {name} as {name}' to its __init__.py"
                )


def test_one_public_name_is_one_thing():
    """A file may import from all packages: no name means two things there, as Uniform once did."""
    things = {}
    for package in PACKAGES:
        for name in public_names(package):
            assert things.setdefault(name, getattr(package, name)) is getattr(package, name), name


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("samplers", "Guess", "samplers:ProgressiveFrame"),
        ("likelihood", "Uniform", "likelihood:UniformDequantizer"),
        ("samplers.times", "Grid", "samplers:Grid"),
    ],
)
def test_an_old_public_name_is_the_new_one_with_a_warning(module, old, new):
    where, name = new.split(":")
    with pytest.warns(DeprecationWarning, match=f"{module}.{old} is now .*{name}"):
        thing = getattr(importlib.import_module(module), old)
    assert thing is getattr(importlib.import_module(where), name)
    assert old not in vars(importlib.import_module(module)).get("__all__", ())


def test_setup_names_every_package_and_no_other():
    text = (ROOT / "setup.py").read_text()
    keywords = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.keyword))
    listed = set(ast.literal_eval(next(n for n in keywords if n.arg == "packages").value))
    top_level = (*LIBRARY, "configs", "score_sde")
    assert listed == {".".join(p.parent.relative_to(ROOT).parts) for top in top_level for p in (ROOT / top).rglob("__init__.py")}


def test_library_has_no_global_random_numbers_but_in_one_place():
    for package in ("sde_lib", "samplers", "likelihood"):
        for path in (ROOT / package).rglob("*.py"):
            calls = {ast.unparse(n) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
            random = {
                "torch.randn",
                "torch.rand",
                "torch.randn_like",
                "torch.rand_like",
                "torch.manual_seed",
                "torch.randint",
            } & calls
            assert not random or path.name == "noise.py", (path, random)
