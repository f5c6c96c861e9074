import math

import pytest
from scipy.stats import binom, binomtest

from sweep.analysis.intervals import pair_interval, wilson_interval


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 1), (7, 20), (250, 250), (499, 1000)])
def test_the_interval_is_scipys(right, n):
    """Also where none or all are right."""
    expected = binomtest(right, n).proportion_ci(0.95, "wilson")
    assert wilson_interval(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_it_holds_the_truth_95_times_in_100(share):
    """Over all outcomes of 100 draws the true share is inside with a probability near 0.95."""
    inside = [binom.pmf(k, 100, share) for k in range(101) if _holds(share, wilson_interval(k / 100, 100))]
    assert math.fsum(inside) == pytest.approx(0.95, abs=0.035)


def _holds(share, interval):
    return interval[0] <= share <= interval[1]


def test_an_average_precision_has_the_interval_of_its_standard_error():
    """Within 0..1; a measure that is not recorded is an accuracy."""
    assert pair_interval(0.5, 0.1, 40, "average_precision") == pytest.approx((0.304, 0.696), abs=1e-3)
    assert pair_interval(0.99, 0.1, 40, "average_precision")[1] == 1.0
    assert (
        pair_interval(0.5, 0.1, 40, None)
        == pair_interval(0.5, 0.1, 40, "accuracy")
        == (wilson_interval(0.5, 40))
    )
