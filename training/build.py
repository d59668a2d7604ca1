"""From the strings of a config to objects of the library."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from typing import Any

from configs.names import ALIASES, NAMES
from training.errors import Usage

__all__ = ["build", "resolve", "with_argument"]


def build(kind: str, text: str, *given: Any, **more: Any) -> Any:
    """The object that a component's string describes, "name" or "name(key=value, ...)".

    given arguments come before its own, and more are added where it does not name them itself.
    Raises Usage for a name that is not in the table, text that is not of this form, or arguments that the class refuses.
    """
    name, arguments = _parse(kind, text)
    try:
        values = more | {key: _value(f"{kind}.{key}", node) for key, node in arguments.items()}
    except ValueError as error:
        raise Usage(f"config.{kind} is {text!r}, which cannot be read: {error}") from None
    factory = resolve(kind, name)
    accepted = list(inspect.signature(factory).parameters)[len(given) :]
    for key in values:
        if key not in accepted:
            raise Usage(f"config.{kind} is {text!r}, but {factory.__name__} has no {key!r}: it takes {', '.join(accepted)}")
    try:
        return factory(*given, **values)
    except (TypeError, ValueError) as error:
        raise Usage(f"config.{kind} is {text!r}, which was refused: {error}") from None


def with_argument(kind: str, text: str, key: str, value: str) -> str:
    """A component's string with one argument set: "vp(T=1.0)" and beta, cosine give "vp(T=1.0, beta=cosine)"."""
    name, arguments = _parse(kind, text)
    parts = {k: ast.unparse(node) for k, node in arguments.items()} | {key: value}
    return f"{name}({', '.join(f'{k}={v}' for k, v in parts.items())})"


def _parse(kind: str, text: str) -> tuple[str, dict[str, ast.expr]]:
    """The name of a component's string, and its arguments."""
    match = re.fullmatch(r"\s*([\w.]+(?::\w+)?)\s*(\(.*\))?\s*", text, re.DOTALL)
    if match is None:
        raise Usage(f'config.{kind} is {text!r}, and "name" or "name(key=value, ...)" was needed')
    name, arguments = match.groups()
    try:
        call = ast.parse(f"f{arguments or '()'}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
            raise SyntaxError("only key=value arguments are allowed")
    except (SyntaxError, ValueError) as error:
        raise Usage(f"config.{kind} is {text!r}, which cannot be read: {error}") from None
    return name, {str(keyword.arg): keyword.value for keyword in call.keywords}


def resolve(kind: str, name: str) -> Any:
    """The class behind a short name of a kind, or behind module:Class. Raises Usage when there is none."""
    path = NAMES[kind].get(name, name) if kind in NAMES else name
    if ":" not in path:
        known = ", ".join(NAMES.get(kind, {})) or "none"
        raise Usage(f"{kind} {name!r} is not known: use one of {known}, or your own as package.module:Class")
    module, attribute = path.split(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise Usage(f"{kind} {name!r}: module {module!r} cannot be imported ({error})") from None
    except AttributeError:
        raise Usage(f"{kind} {name!r}: module {module!r} has no {attribute!r}") from None


def _value(kind: str, node: ast.expr) -> Any:
    """A literal, or a component: a bare name, or a call."""
    kind = ALIASES.get(kind, kind)
    if isinstance(node, ast.Name) and NAMES.get(kind, {}).get(node.id) == node.id:
        return node.id
    if isinstance(node, (ast.Name, ast.Call)):
        return build(kind, ast.unparse(node))
    return ast.literal_eval(node)
