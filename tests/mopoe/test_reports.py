"""The interval of a coherence, of which nothing but the value is known near 0 and 1."""

import math

import pytest
from scipy.stats import binomtest

from mopoe.reports import pair_interval


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 1), (7, 20), (250, 250), (499, 1000)])
def test_interval_of_an_accuracy_is_wilsons(right: int, n: int) -> None:
    """SciPy's; its ends lie 1.96 of their own standard errors from the share. No measure is an accuracy."""
    share, z = right / n, 1.959964
    low, high = pair_interval(share, 0.0, n, "accuracy")
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-7)
    for end in (low, high):
        assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n), rel=1e-4, abs=1e-7)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert pair_interval(share, 0.0, n, None) == (low, high)


def test_an_average_precision_has_the_interval_of_its_standard_error() -> None:
    """Within 0..1."""
    assert pair_interval(0.5, 0.1, 40, "average_precision") == pytest.approx((0.304, 0.696), abs=1e-3)
    assert pair_interval(0.99, 0.1, 40, "average_precision")[1] == 1.0
