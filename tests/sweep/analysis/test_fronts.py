"""Dominance, front and hypervolume against their definitions written out."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mopoe.errors import ConfigError
from sweep.analysis.fronts import best_above, common_corner, dominated, front_mask, hypervolume
from sweep.analysis.points import Points
from sweep.config.objectives import Objective


def make(values, maximize=None) -> Points:
    """Make points named t0, t1, ... in the objectives x, y, ... from rows of values."""
    values = np.asarray(values, dtype=np.float64)
    ups = maximize or (True,) * values.shape[1]
    ways = ("maximize" if up else "minimize" for up in ups)
    several = tuple(Objective(name=name, direction=way) for name, way in zip("xyzw", ways, strict=False))
    return Points(trial_ids=tuple(f"t{i}" for i in range(len(values))), values=values, objectives=several)


def beats(one, other, maximize) -> bool:
    """Say whether one row is nowhere worse and somewhere better."""
    gains = [(a - b if up else b - a) for a, b, up in zip(one, other, maximize, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


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
    expected = [not any(beats(q, p, maximize) for q in values) for p in values]
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
    found = hypervolume(make(values, maximize), dict(zip("xyz", corner, strict=False)))
    assert math.isclose(found, expected, abs_tol=1e-9)


@settings(deadline=None)
@given(grids)
def test_hypervolume_never_falls_with_a_further_point(case):
    """The volume without the last point is at most that with it."""
    values, maximize = case
    corner = dict(zip("xyz", np.where(maximize, 0.0, 4.0), strict=False))
    fewer = hypervolume(make(values[:-1], maximize), corner)
    assert fewer <= hypervolume(make(values, maximize), corner) + 1e-9


def test_front_of_random_points_matches_brute_force():
    """On 200 random points in three objectives the front is that of the definition."""
    values = np.random.default_rng(0).normal(size=(200, 3))
    maximize = (True, False, True)
    expected = [not any(beats(q, p, maximize) for q in values) for p in values]
    assert front_mask(make(values, maximize)).tolist() == expected
    assert 5 < sum(expected) < 150


def test_hypervolume_of_one_point_is_its_box():
    """One point gives the product of its distances to the reference."""
    found = hypervolume(make([[0.75, -10.0]]), {"x": 0.25, "y": -14.0})
    assert math.isclose(found, 2.0)


def test_points_beyond_the_reference_add_nothing():
    """A point worse than the reference in one objective leaves the volume as it was."""
    corner = {"x": 0.0, "y": 0.0}
    assert math.isclose(hypervolume(make([[2.0, 3.0], [9.0, -1.0], [-1.0, 9.0]]), corner), 6.0)
    assert hypervolume(make([[9.0, -1.0]]), corner) == 0.0
    assert hypervolume(make([[9.0, 0.0]]), corner) == 0.0


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_no_points_have_no_front_and_no_volume(objectives):
    """Without points the front is empty and the volume 0."""
    nothing = make(np.zeros((0, objectives)))
    assert front_mask(nothing).tolist() == []
    assert hypervolume(nothing, {"x": 0.0, "y": 0.0, "z": 0.0}) == 0.0


@pytest.mark.parametrize(
    ("objectives", "expected"), [(2, 1.0606490698024407), (3, 0.8013995522567958), (4, 0.7419420183129488)]
)
def test_hypervolume_is_that_of_pymoo(objectives, expected):
    """It equals what `HV(ref_point=np.full(o, 1.1))(points)` of pymoo 0.6.2 gave for the same points."""
    values = np.random.default_rng(objectives).random((25, objectives))
    found = hypervolume(make(values, (False,) * objectives), dict.fromkeys("xyzw", 1.1))
    assert math.isclose(found, expected, rel_tol=1e-12)


rows = st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=12)


@given(mine=rows, theirs=rows, maximize=st.tuples(*[st.booleans()] * 3))
def test_domination_is_its_definition(mine, theirs, maximize):
    """Point by point, with many ties: as good in all, better in one."""
    found = dominated(*(make(np.reshape(some, (-1, 3)), maximize) for some in (mine, theirs)))
    assert found.tolist() == [any(beats(other, one, maximize) for other in theirs) for one in mine]


def test_the_common_corner_is_worse_than_both():
    """The smaller number of a maximised objective, the larger of a minimised one."""
    pair = Objective(name="x"), Objective(name="y", direction="minimize")
    assert common_corner({"x": 1, "y": 5}, {"x": 2, "y": 7}, pair) == {"x": 1, "y": 7}


@given(values=rows, least=st.integers(0, 4))
def test_the_best_above_a_bound_is_found_by_looking_at_all(values, least):
    """The largest y among those with x above the bound; the sentence names the largest x if there is none."""
    found = make(np.reshape(values, (-1, 3)))
    able = [y for x, y, _ in values if x >= least]
    if able:
        trial = found.trial_ids.index(best_above(found, {"x": least}))
        assert values[trial][0] >= least
        assert values[trial][1] == max(able)
    else:
        top = f"x {max(x for x, *_ in values)} (t" if values else "none has completed yet"
        with pytest.raises(ConfigError, match=rf"^no config reaches x of at least {least}; .*") as caught:
            best_above(found, {"x": least})
        assert top in str(caught.value)


def test_with_a_bound_on_all_the_first_objective_decides():
    """A minimised objective is best where it is small, and its bound is the largest value accepted."""
    found = make([[3, 1], [1, 1], [2, 0]], (False, True))
    assert best_above(found, {"x": 3, "y": 1}) == "t1"
    assert best_above(found, {"x": 2}) == "t1"
    with pytest.raises(
        ConfigError, match=r"no config reaches x of at most 0\.5; the best reached: x 1 \(t1\)"
    ):
        best_above(found, {"x": 0.5})
