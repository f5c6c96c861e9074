"""Contrasts over seeds: the textbook's interval, and coverage where configs share what a seed does."""

import numpy as np
import polars as pl
import pytest
from contrasts import contrast, over_seeds
from scipy import stats


def test_a_contrast_of_two_groups_is_the_paired_t_test():
    """Each seed gives one difference, as in scipy's test of paired samples."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(3, 1, 5), rng.normal(1, 1, 5)
    rows = [("a", s, x) for s, x in enumerate(one)] + [("b", s, x) for s, x in enumerate(other)]
    table = pl.DataFrame(rows, schema=["method", "seed", "x"], orient="row")
    found = contrast(table, pl.col("x"), {"a": 1.0, "b": -1.0})
    low, high = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert (found.value - found.half, found.value + found.half) == pytest.approx((low, high))


def test_configs_of_a_group_count_alike_and_others_not_at_all():
    """Two configs of group a and two seeds, by hand: 4 and 6 over seeds."""
    rows = [("a", 0, 3.0), ("a", 0, 5.0), ("a", 1, 5.0), ("a", 1, 7.0), ("b", 0, 90.0), ("b", 1, -90.0)]
    table = pl.DataFrame(rows, schema=["method", "seed", "x"], orient="row")
    found = contrast(table, pl.col("x"), {"a": 1.0})
    assert found.value == 5.0
    assert found.half == pytest.approx(float(stats.t.ppf(0.975, 1)) * 1.0)


@pytest.mark.parametrize("of", [1, 7])
def test_intervals_hold_whatever_a_seed_does_to_all_configs(of: int):
    """95 % contain the truth, and all of seven do together, with shared effects and unequal variances."""
    random, held = np.random.default_rng(1), 0
    groups, betas = "abcdefgh", (1.0, 2.0, 3.0)
    for _ in range(300):
        shared = random.normal(scale=3, size=3)
        rows = [
            (m, s, b + shared[s] * (1 + (m == "a")) + random.normal(scale=b))
            for m in groups
            for b in betas
            for s in range(3)
        ]
        table = pl.DataFrame(rows, schema=["method", "seed", "x"], orient="row")
        others = groups[1 : 1 + of]
        found = [contrast(table, pl.col("x"), {m: 1.0, "a": -1.0}, of=of) for m in others]
        held += all(abs(f.value) <= f.half for f in found)
    assert held / 300 >= 0.95 - 0.03
    assert of > 1 or held / 300 <= 0.95 + 0.03


def test_the_level_of_several_is_bonferronis():
    """Student's quantile at 0.025 / k."""
    values = [1.0, 2.0, 4.0]
    factor = stats.t.ppf(1 - 0.025 / 4, 2) / stats.t.ppf(0.975, 2)
    assert over_seeds(values, of=4).half == pytest.approx(factor * over_seeds(values).half)
