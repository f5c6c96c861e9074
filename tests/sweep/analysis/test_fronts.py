import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.analysis.fronts import front_mask, hypervolume
from sweep.analysis.points import Points


def make(values, maximize=None) -> Points:
    """Make points named p000, p001, ... from rows of values."""
    values = np.asarray(values, dtype=np.float64)
    n, o = values.shape
    return Points(
        trial_ids=tuple(f"p{i:03}" for i in range(n)),
        values=values,
        names=tuple("abc"[:o]),
        maximize=maximize or (True,) * o,
    )


def dominates(one, other, maximize) -> bool:
    """Say whether one row is nowhere worse and somewhere better."""
    sign = np.where(maximize, 1, -1)
    return bool(np.all(sign * one >= sign * other) and np.any(sign * one > sign * other))


# Whole numbers from a short range, so that ties and duplicates are common.
grids = st.integers(1, 3).flatmap(
    lambda o: st.tuples(
        arrays(np.float64, st.tuples(st.integers(1, 12), st.just(o)), elements=st.integers(0, 4).map(float)),
        st.tuples(*[st.booleans()] * o),
    )
)


@settings(deadline=None)
@given(grids)
def test_front_is_that_of_brute_force(case):
    """A point is on the front exactly if no point dominates it: equal points stand or fall together."""
    values, maximize = case
    expected = [not any(dominates(q, p, maximize) for q in values) for p in values]
    assert front_mask(make(values, maximize)).tolist() == expected


@settings(deadline=None)
@given(grids, st.randoms())
def test_front_does_not_depend_on_order(case, random):
    """Shuffled points are on the front exactly as before."""
    values, maximize = case
    order = list(range(len(values)))
    random.shuffle(order)
    before = front_mask(make(values, maximize))
    assert front_mask(make(values[order], maximize)).tolist() == before[order].tolist()


@settings(deadline=None)
@given(grids)
def test_hypervolume_counts_unit_cells(case):
    """On whole numbers the hypervolume is the number of unit cells between the corner and some point."""
    values, maximize = case
    corner = np.where(maximize, 1.0, 3.0)
    reach = np.where(maximize, values - corner, corner - values)
    cells = product(range(4), repeat=values.shape[1])
    expected = sum(any(np.all(np.array(cell) < r) for r in reach) for cell in cells)
    found = hypervolume(make(values, maximize), dict(zip("abc", corner, strict=False)))
    assert math.isclose(found, expected, abs_tol=1e-9)


@settings(deadline=None)
@given(grids)
def test_hypervolume_never_falls_with_a_further_point(case):
    """The volume without the last point is at most that with it."""
    values, maximize = case
    corner = dict(zip("abc", np.where(maximize, 0.0, 4.0), strict=False))
    fewer = hypervolume(make(values[:-1], maximize), corner)
    assert fewer <= hypervolume(make(values, maximize), corner) + 1e-9


def test_front_of_random_points_matches_brute_force():
    """On 200 random points in three objectives the front is that of the definition."""
    values = np.random.default_rng(0).normal(size=(200, 3))
    maximize = (True, False, True)
    expected = [not any(dominates(q, p, maximize) for q in values) for p in values]
    assert front_mask(make(values, maximize)).tolist() == expected
    assert 5 < sum(expected) < 150


def test_hypervolume_of_one_point_is_its_box():
    """One point gives the product of its distances to the reference."""
    found = hypervolume(make([[0.75, -10.0]]), {"a": 0.25, "b": -14.0})
    assert math.isclose(found, 2.0)


def test_points_beyond_the_reference_add_nothing():
    """A point worse than the reference in one objective leaves the volume as it was."""
    corner = {"a": 0.0, "b": 0.0}
    assert math.isclose(hypervolume(make([[2.0, 3.0], [9.0, -1.0], [-1.0, 9.0]]), corner), 6.0)
    assert hypervolume(make([[9.0, -1.0]]), corner) == 0.0
    assert hypervolume(make([[9.0, 0.0]]), corner) == 0.0


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_no_points_have_no_front_and_no_volume(objectives):
    """Without points the front is empty and the volume 0."""
    nothing = make(np.zeros((0, objectives)))
    assert front_mask(nothing).tolist() == []
    assert hypervolume(nothing, {"a": 0.0, "b": 0.0, "c": 0.0}) == 0.0


@pytest.mark.parametrize(
    ("objectives", "expected"), [(2, 1.0606490698024407), (3, 0.8013995522567958), (4, 0.7419420183129488)]
)
def test_hypervolume_is_that_of_pymoo(objectives, expected):
    """It equals what `HV(ref_point=np.full(o, 1.1))(points)` of pymoo 0.6.2 gave for the same points."""
    values = np.random.default_rng(objectives).random((25, objectives))
    some = Points(
        trial_ids=("",) * 25,
        values=values,
        names=tuple("abcd"[:objectives]),
        maximize=(False,) * objectives,
    )
    assert math.isclose(hypervolume(some, dict.fromkeys("abcd", 1.1)), expected, rel_tol=1e-12)
