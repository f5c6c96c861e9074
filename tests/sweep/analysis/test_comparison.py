"""Domination between two sets, against its definition written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopoe.errors import ConfigError
from sweep.analysis.fronts import best_above, common_corner, dominated
from sweep.analysis.points import Points


def points(values, maximize):
    """Make points of rows of values."""
    array = np.array(values, dtype=float).reshape(-1, len(maximize))
    trials = tuple(f"t{i}" for i in range(len(array)))
    return Points(trial_ids=trials, values=array, names=("x", "y", "z")[: len(maximize)], maximize=maximize)


rows = st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=12)


@given(mine=rows, theirs=rows, maximize=st.tuples(*[st.booleans()] * 3))
def test_domination_is_its_definition(mine, theirs, maximize):
    """Point by point, with many ties: as good in all, better in one."""

    def beats(one, other):
        gains = [(a - b if up else b - a) for a, b, up in zip(one, other, maximize, strict=True)]
        return min(gains) >= 0 and max(gains) > 0

    found = dominated(points(mine, maximize), points(theirs, maximize))
    assert found.tolist() == [any(beats(other, one) for other in theirs) for one in mine]


def test_the_common_corner_is_worse_than_both():
    """The smaller number of a maximised objective, the larger of a minimised one."""
    assert common_corner({"x": 1, "y": 5}, {"x": 2, "y": 7}, {"x": True, "y": False}) == {"x": 1, "y": 7}


@given(values=rows, least=st.integers(0, 4))
def test_the_best_above_a_bound_is_found_by_looking_at_all(values, least):
    """The largest y among those with x above the bound; the sentence names the largest x if there is none."""
    found = points(values, (True, True, True))
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
    """A minimised objective is best where it is small."""
    found = points([[3, 1], [1, 1], [2, 0]], (False, True))
    assert best_above(found, {"x": 0, "y": 1}) == "t1"
