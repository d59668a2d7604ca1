"""Law 9: no planted error survives, and nothing fails without one."""

import pytest

from tests.mutants import MUTANTS, ROOT, plant, survivors


@pytest.mark.slow
def test_the_selected_tests_pass_without_an_error():
    passed, output = plant(None, "test_processes.py test_noise.py test_ode.py")
    assert passed, output


@pytest.mark.slow
def test_no_mutant_survives():
    assert survivors(MUTANTS) == []


def test_every_error_has_its_place():
    """Code moves, and an error that cannot be planted any more would be missed for long: the slow test stops at the first."""
    for mutant in MUTANTS:
        assert (ROOT / mutant.file).read_text().count(mutant.text) == 1, mutant.name


def test_there_are_enough_of_them():
    assert len(MUTANTS) >= 25
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
