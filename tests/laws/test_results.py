"""What results of many rows have in common: the standard error of their mean, and the numbers of their rows."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from likelihood.results import PerRowResult, numbered, standard_error
from tests.laws.common import normal


def test_the_standard_error_is_scipy_s():
    values = normal((9, 3)) ** 3
    np.testing.assert_allclose(standard_error(values), stats.sem(values.numpy()), rtol=1e-12)
    result = PerRowResult()
    result.per_image = values[:, 0]
    assert result.standard_error == pytest.approx(stats.sem(values[:, 0].numpy()), rel=1e-12)
    assert math.isnan(standard_error(values[:1, 0])) and standard_error(values[:1]).shape == (3,)
    assert math.isnan(standard_error(values[:0, 0])) and standard_error(values[:0]).shape == (3,)


def test_rows_are_numbered_across_batches_and_empty_batches_are_skipped():
    whole = torch.arange(7)[:, None]
    for batches in (whole.split(3), [whole[:0], whole[:2], whole[:0], whole[2:]], whole, iter(whole.split(1))):
        pairs = list(numbered(batches, 40))
        assert torch.equal(torch.cat([rows for _, rows in pairs]), torch.arange(40, 47))
        assert torch.equal(torch.cat([batch for batch, _ in pairs]), whole)
    assert list(numbered([], 0)) == list(numbered(whole[:0], 0)) == []
