"""From the strings of a config to objects of the library."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from typing import Any

from configs.names import ALIASES, NAMES
from training.errors import Failure, Usage, in_a_line

__all__ = ["arguments_of", "build", "resolve", "takes_of", "with_argument"]


def build(kind: str, text: str, *given: Any, **more: Any) -> Any:
    """The object that a component's string describes, "name" or "name(key=value, ...)".

    given arguments come before its own, and more are added where it does not name them itself.
    Raises Usage for a name that is not in the table, text that is not of this form, or arguments that the class refuses; a
    Failure of the class is its own.
    """
    name, arguments = _parse(kind, text)
    try:
        values = more | {key: _value(f"{kind}.{key}", node) for key, node in arguments.items()}
    except ValueError as error:
        raise Usage(f"{_where(kind)} is {text!r}, which cannot be read: {error}") from None
    factory = resolve(kind, name)
    try:
        accepted = list(inspect.signature(factory).parameters)[len(given) :]
    except (TypeError, ValueError):
        raise Usage(f"{_where(kind)} is {text!r}, and {name} is not a class that can be built from a config") from None
    for key in values:
        if key not in accepted:
            raise Usage(f"{_where(kind)} is {text!r}, but {factory.__name__} has no {key!r}: it takes {', '.join(accepted)}")
    try:
        return factory(*given, **values)
    except Failure:  # such as a full disk, which is no mistake in the text
        raise
    except Exception as error:  # whatever a class of one's own raises, too
        raise Usage(f"{_where(kind)} is {text!r}, which was refused: {in_a_line(error)}") from error


def with_argument(kind: str, text: str, key: str, value: str) -> str:
    """A component's string with one argument set: "vp(T=1.0)" and beta, cosine give "vp(T=1.0, beta=cosine)"."""
    name, _ = _parse(kind, text)
    parts = arguments_of(kind, text) | {key: value}
    return f"{name}({', '.join(f'{k}={v}' for k, v in parts.items())})"


def arguments_of(kind: str, text: str) -> dict[str, str]:
    """The arguments in a component's string, as text: "vp(T=1.0)" has {"T": "1.0"}."""
    return {key: ast.unparse(node) for key, node in _parse(kind, text)[1].items()}


def takes_of(kind: str, text: str, only_needed: bool = False) -> set[str]:
    """The arguments that a component's class takes; only those without which it cannot be built, if asked. Raises Usage.

    >>> takes_of("sampler.times", "karras", only_needed=True)
    {'steps'}
    """
    factory = resolve(kind, _parse(kind, text)[0])
    try:
        accepted = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {a.name for a in accepted if a.default is a.empty or not only_needed}


def _parse(kind: str, text: str) -> tuple[str, dict[str, ast.expr]]:
    """The name of a component's string, and its arguments."""
    match = re.fullmatch(r"\s*([\w.]+(?::\w+)?)\s*(\(.*\))?\s*", text, re.DOTALL)
    if match is None:
        raise Usage(f'{_where(kind)} is {text!r}, and "name" or "name(key=value, ...)" was needed')
    name, arguments = match.groups()
    try:
        call = ast.parse(f"f{arguments or '()'}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
            raise SyntaxError("only key=value arguments are allowed")
        found = {str(keyword.arg): keyword.value for keyword in call.keywords}
        if len(found) < len(call.keywords):
            raise SyntaxError("an argument is given twice")
    except (SyntaxError, ValueError) as error:
        raise Usage(f"{_where(kind)} is {text!r}, which cannot be read: {error}") from None
    return name, found


def resolve(kind: str, name: str) -> Any:
    """The class behind a short name of a kind, or behind module:Class, of a module in the current folder too.

    Raises Usage when there is none.
    """
    names = NAMES.get(kind, {})
    if kind == "network":
        from models.registry import SHORT_NAMES as names  # here, as it imports torch
    path = names.get(name, name)
    if ":" not in path:
        known = ", ".join(names) or "none"
        own = "'package.module:Class', in quotes" if "." in kind else "package.module:Class"
        raise Usage(f"{kind} {name!r} is not known: use one of {known}, or your own as {own}")
    module, attribute = path.split(":")
    if "" not in sys.path:
        sys.path.append("")  # the current folder, after all others, for run.py may be in another
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # whatever the code of a module of one's own raises, too
        raise Usage(f"{kind} {name!r}: module {module!r} cannot be imported ({in_a_line(error)})") from error
    if not hasattr(imported, attribute):
        raise Usage(f"{kind} {name!r}: module {module!r} has no {attribute!r}")
    return getattr(imported, attribute)


def _where(kind: str) -> str:
    """The key of the config that a component of a kind is in.

    >>> _where("sde"), _where("sampler"), _where("sampler.times")
    ('config.sde', 'config.sample.sampler', 'times in config.sample.sampler')
    """
    of, *argument = kind.split(".")
    section = {"sampler": "sample.", "divergence": "likelihood.", "dequantize": "likelihood."}.get(of, "")
    return f"{'.'.join(argument)}{' in ' if argument else ''}config.{section}{of}"


def _value(kind: str, node: ast.expr) -> Any:
    """A literal, or a component: a bare name, a call, or a string where a component is known to belong."""
    kind = ALIASES.get(kind, kind)
    plain = node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None
    if isinstance(plain, str) and NAMES.get(kind, {}).get(plain) == plain:
        return plain
    if isinstance(node, (ast.Name, ast.Call)):
        return build(kind, ast.unparse(node))
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and kind in NAMES:
        return build(kind, node.value)
    return ast.literal_eval(node)
