"""Which cases of a parametrized test are quick, and which are left to the full tier."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import Any

import pytest


def representatives(cases: list[dict[str, Any]]) -> list[int]:
    """The positions of a few cases that together have every value of every parameter.

    Of a product of 12 processes and 25 predictors these are 25 cases: each predictor once, and each process at least once.

    >>> representatives([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 2, "b": 2}])
    [0, 3]
    """
    values = [{(parameter, repr(value)) for parameter, value in case.items()} for case in cases]
    used: Counter[tuple[str, str]] = Counter()
    chosen = []
    while len(used) < len(set().union(*values)):
        # The case with most values that no other has had, then the one whose values have been had least, then the first.
        best = max(range(len(values)), key=lambda i: (len(values[i] - used.keys()), -sum(used[value] for value in values[i])))
        chosen.append(best)
        used.update(values[best])
    return chosen


def mark(items: list[Any]) -> None:
    """Mark `slow` the cases that are not quick, and put the quick ones first.

    `@pytest.mark.quick("mlp", "ddpm *")` on a test whose cases take long says which are quick, by the patterns of their ids.
    Of the others it is the representatives."""
    tests: dict[str, list[Any]] = {}
    for item in items:
        if hasattr(item, "callspec") and item.get_closest_marker("slow") is None:
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tests.values():
        quick = cases[0].get_closest_marker("quick")
        patterns = ("*",) if quick is None else quick.args
        chosen = [case for case in cases if any(fnmatchcase(case.callspec.id, pattern) for pattern in patterns)]
        kept = {chosen[i].nodeid for i in representatives([case.callspec.params for case in chosen])}
        for case in cases:
            if case.nodeid not in kept:
                case.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
