"""Components: the strings of a config that describe objects of the library."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from configs.names import ALIASES, NAMES
from models.registry import SHORT_NAMES
from samplers.algorithm import Corrector, Predictor
from score_sde.errors import RunError, UsageError, first_line
from score_sde.trust import current_trust
from sde_lib import LinearSDE
from sde_lib.parameterizations import Parameterization

__all__ = ["Component", "build", "classes_in", "own_classes", "resolve"]

KINDS = {"network", *(kind for kind in NAMES if "." not in kind)}  # the last parts of the keys of a config that are components

# What a class must be, by kind. A kind that is not here has no base class: each of its classes is registered or trusted.
BASES: dict[str, type] = {
    "sde": LinearSDE,
    "network": nn.Module,
    "parameterization": Parameterization,
    "sampler.predictor": Predictor,
    "sampler.corrector": Corrector,
}


def build(kind: str, text: str, *given: Any, **more: Any) -> Any:
    """The object that a component's string describes, "name" or "name(key=value, ...)".

    given are positional arguments before those of the string. more are keyword arguments that the string may override.

    Raises:
        UsageError: when the name is not known, or is one of a run's folder that is not registered.
        UsageError: when the text has another form, or the class is of another kind or refuses its arguments.
        RunError: when the class raises it, for example because the disk is full.
    """
    name, arguments = _parse(kind, text)
    try:
        values = more | {key: _value(f"{kind}.{key}", node) for key, node in arguments.items()}
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise UsageError(f"{_where(kind)} is {text!r}, which cannot be read: {first_line(error)}") from None
    factory = resolve(kind, name)
    base = BASES.get(ALIASES.get(kind, kind), object)
    if isinstance(factory, type) and not issubclass(factory, base):
        said = f"which makes a {factory.__name__}, and a {base.__name__} was needed"
        raise UsageError(f"{_where(kind)} is {text!r}, {said}")
    try:
        accepted = list(inspect.signature(factory).parameters)[len(given) :]
    except (TypeError, ValueError):
        raise UsageError(f"{_where(kind)} is {text!r}, and {name} is not a class that can be built from a config") from None
    for key in values:
        if key not in accepted:
            raise UsageError(f"{_where(kind)} is {text!r}, but {factory.__name__} has no {key!r}: it takes {', '.join(accepted)}")
    try:
        return factory(*given, **values)
    except RunError:  # such as a full disk: the text is not at fault
        raise
    except Exception as error:  # a user's class may raise anything
        raise UsageError(f"{_where(kind)} is {text!r}, which was refused: {first_line(error)}") from error


@dataclass(frozen=True)
class Component:
    """The description of one object in a config, name(key=value, ...): a value that `of` parses and str() writes.

    kind is the table of configs/names.py in which the name is looked up. The values of arguments are Python text.

    >>> str(Component.of("sde", "vp(T=1.0)").but(beta="cosine"))
    'vp(T=1.0, beta=cosine)'
    """

    kind: str
    name: str
    arguments: Mapping[str, str]

    @classmethod
    def of(cls, kind: str, text: str) -> Component:
        """The component that a text describes.

        Raises:
            UsageError: when the text does not have the form name or name(key=value, ...).
        """
        name, found = _parse(kind, text)
        return cls(kind, name, {key: ast.unparse(node) for key, node in found.items()})

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.arguments.items())})" if self.arguments else self.name

    def but(self, **arguments: object) -> Component:
        """The same component with some arguments replaced. An argument that is None keeps its old value."""
        return replace(self, arguments={**self.arguments, **{k: str(v) for k, v in arguments.items() if v is not None}})

    def part(self, key: str) -> Component | None:
        """The component that is the value of an argument, with or without quotes; None when the argument is not given."""
        return Component.of(f"{self.kind}.{key}", self.literal(key)) if key in self.arguments else None

    def literal(self, key: str) -> Any:
        """The value of an argument that is a string in quotes; of any other argument, its text."""
        text = self.arguments[key]
        return ast.literal_eval(text) if text[0] in "'\"" else text

    @property
    def takes(self) -> dict[str, bool]:
        """The arguments of the class, each with whether it is required.

        Raises:
            UsageError: when the name is not known.

        >>> Component.of("sampler.times", "karras").takes
        {'steps': True, 't_min': False, 'rho': False}
        """
        try:
            accepted = inspect.signature(resolve(self.kind, self.name)).parameters.values()
        except (TypeError, ValueError):
            return {}
        return {a.name: a.default is a.empty for a in accepted}


def _parse(kind: str, text: str) -> tuple[str, dict[str, ast.expr]]:
    """The name and the arguments of a component's string."""
    name, bracket, rest = text.strip().partition("(")
    name = name.rstrip()
    if re.fullmatch(r"[\w.]+(:\w+)?", name) is None or (bracket and not rest.endswith(")")):
        raise UsageError(f'{_where(kind)} is {text!r}, and "name" or "name(key=value, ...)" was needed')
    try:
        call = ast.parse(f"f({rest or ')'}", mode="eval").body
        plain = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args
        if not isinstance(call, ast.Call) or not plain or any(keyword.arg is None for keyword in call.keywords):
            raise SyntaxError("only key=value arguments are allowed")
        found = {str(keyword.arg): keyword.value for keyword in call.keywords}
        if len(found) < len(call.keywords):
            raise SyntaxError("an argument is given twice")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: brackets in thousands of brackets
        raise UsageError(f"{_where(kind)} is {text!r}, which cannot be read: {first_line(error)}") from None
    return name, found


def classes_in(kind: str, text: str) -> Iterator[str]:
    """Every "module:Class" that a component's text names where it would be built, in its arguments too.

    >>> list(classes_in("sampler", "pc(predictor='mine:Leap(eta=0.0)', times=uniform(steps=3))"))
    ['mine:Leap']
    """
    with suppress(UsageError):  # of another form: it names nothing
        name, arguments = _parse(kind, text)
        if ":" in name:
            yield name
        for key, node in arguments.items():
            below = ALIASES.get(f"{kind}.{key}", f"{kind}.{key}")
            if isinstance(node, ast.Call):
                yield from classes_in(below, ast.unparse(node))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and below in NAMES:
                yield from classes_in(below, node.value)


def own_classes(values: Mapping[str, Any]) -> set[str]:
    """Every "module:Class" that the values of a config name, by key, and that is not registered.

    >>> own_classes({"sde": "mine:Sine", "sample.sampler": "pc(predictor=heun)"})
    {'mine:Sine'}
    """
    kinds = {key: key.rpartition(".")[2] for key, value in values.items() if isinstance(value, str)}
    named = {(kind, path) for key, kind in kinds.items() if kind in KINDS for path in classes_in(kind, values[key])}
    return {path for kind, path in named if path not in _registered(kind).values()}


def _registered(kind: str) -> Mapping[str, str]:
    """The classes of a kind, each as "module:Class", by their short names."""
    return SHORT_NAMES if kind == "network" else NAMES.get(kind, {})  # a network registers its own name


def _require_trusted(kind: str, path: str) -> None:
    """Refuse a class that only a run's folder names."""
    trust = current_trust()
    if trust.everything or path in _registered(kind).values():
        return
    if not any(path in classes_in(where, text) for where, text in trust.texts):
        raise UsageError(
            f"the run's folder names {path} for {kind}, which is not a class of this project and would run code: name it on the "
            "command line, or give --trust if you know who wrote the folder"
        )


def resolve(kind: str, name: str) -> Any:
    """The class that a short name or module:Class stands for. The module may be in the current folder.

    Raises:
        UsageError: when there is no such class, or its module cannot be imported.
        UsageError: when a run's folder alone names it, and it is not registered.
    """
    names = _registered(kind)
    path = names.get(name, name)
    if ":" not in path:
        known = ", ".join(names) or "none"
        own = "'package.module:Class', in quotes" if "." in kind else "package.module:Class"
        raise UsageError(f"{kind} {name!r} is not known: use one of {known}, or your own as {own}")
    _require_trusted(kind, path)
    module, attribute = path.split(":")
    if "" not in sys.path:
        sys.path.append("")  # the current folder comes last: its modules must not hide those of installed packages
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything
        raise UsageError(f"{kind} {name!r}: module {module!r} cannot be imported ({first_line(error)})") from error
    if not hasattr(imported, attribute):
        raise UsageError(f"{kind} {name!r}: module {module!r} has no {attribute!r}")
    return getattr(imported, attribute)


def _where(kind: str) -> str:
    """The key of the config that holds a component of a kind.

    >>> _where("sde"), _where("sampler"), _where("sampler.times")
    ('config.sde', 'config.sample.sampler', 'times in config.sample.sampler')
    """
    key, *argument = kind.split(".")
    section = {"sampler": "sample.", "divergence": "likelihood.", "dequantize": "likelihood."}.get(key, "")
    return f"{'.'.join(argument)}{' in ' if argument else ''}config.{section}{key}"


def _value(kind: str, node: ast.expr) -> Any:
    """The value of an argument: a literal or a component. A component is a bare name, a call, or a string if its kind is known."""
    kind = ALIASES.get(kind, kind)
    plain = node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None
    if isinstance(plain, str) and NAMES.get(kind, {}).get(plain) == plain:
        return plain
    if isinstance(node, (ast.Name, ast.Call)):
        return build(kind, ast.unparse(node))
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and kind in NAMES:
        return build(kind, node.value)
    return ast.literal_eval(node)
