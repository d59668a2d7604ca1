"""The quick tier leaves nothing out but combinations."""

from types import SimpleNamespace

import pytest

from tests.laws.test_samplers import COMBINATIONS
from tests.tiers import mark, representatives


def test_every_process_predictor_and_corrector_is_in_the_quick_tier_and_few_combinations_are():
    parameters = ("predictor", "corrector", "sde")
    kept = representatives([dict(zip(parameters, case, strict=True)) for case in COMBINATIONS])
    for i in range(3):
        assert {repr(COMBINATIONS[k][i]) for k in kept} == {repr(case[i]) for case in COMBINATIONS}
    assert len(kept) < len({repr(case[0]) for case in COMBINATIONS}) + 5 < len(COMBINATIONS) / 10


class Case:
    """What a test item has that `mark` asks for."""

    def __init__(self, nodeid, *marks, **params):
        self.nodeid, self.marks = nodeid, list(marks)
        if params:
            self.callspec = SimpleNamespace(params=params, id="-".join(params.values()))

    def get_closest_marker(self, name):
        return next((m for m in self.marks if m.name == name), None)

    add_marker = property(lambda self: lambda m: self.marks.append(getattr(m, "mark", m)))


def test_slow_are_those_that_say_so_and_all_but_the_representatives_and_they_come_last():
    said, patterns = pytest.mark.slow.mark, pytest.mark.quick("y*").mark
    items = [Case("alone"), Case("long", said), Case("one[x]", patterns, a="x"), Case("one[y]", patterns, a="y")]
    items += [Case(f"two[{a}-{b}]", a=a, b=b) for a in "xy" for b in "xy"]
    items += [Case("three[x]", said, a="x"), Case("three[y]", a="y")]
    mark(items)
    quick = [item.nodeid for item in items if item.get_closest_marker("slow") is None]
    assert quick == ["alone", "one[y]", "two[x-x]", "two[y-y]", "three[y]"] == [item.nodeid for item in items[:5]]
