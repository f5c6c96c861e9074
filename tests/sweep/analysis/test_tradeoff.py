"""The trade-off of a store, and the picks of a front."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweep.analysis.points import Points
from sweep.analysis.tradeoff import picks, tradeoff
from sweep.config.objectives import Objective
from sweep.store.read import open_store


def test_tradeoff_of_the_made_up_sweep(made_up_sweep):
    """Eleven trials, seven configs, five on the front, and the area under its steps."""
    found = tradeoff(open_store(made_up_sweep))
    assert (found.trials.height, found.configs.height) == (11, 7)
    on_front = [t for t, on in zip(found.points.trial_ids, found.on_front, strict=True) if on]
    assert on_front == ["t00", "t01", "t02", "t03", "t04"]
    assert [p.trial_id for p in found.picks] == ["t04", "t00", "t02"]
    # Steps from the right: width in coherence times height above -1700.
    area = 0.42 * 220 + 0.13 * 210 + 0.17 * 188 + 0.06 * 130 + 0.02 * 60
    assert math.isclose(found.hypervolume, area)


THREE = Objective(name="coherence"), Objective(name="likelihood"), Objective(name="time")


def make(rows, objectives=THREE[:2]) -> Points:
    """Make points from (trial, values...) rows."""
    values = np.array([r[1:] for r in rows], dtype=np.float64).reshape(len(rows), len(objectives))
    return Points(trial_ids=tuple(r[0] for r in rows), values=values, objectives=objectives)


FRONT = [("a", 0.4, -10.0), ("b", 0.7, -12.0), ("c", 0.75, -20.0), ("d", 0.8, -30.0), ("e", 0.5, -25.0)]


def test_best_of_each_and_the_knee():
    """The extremes are picked by name; the knee is the point farthest above the line between them."""
    found = picks(make(FRONT))
    assert [(p.label, p.trial_id) for p in found] == [
        ("best coherence", "d"),
        ("best likelihood", "a"),
        ("knee", "b"),
    ]
    assert found[0].why == "has the highest coherence"
    # b lies at (0.75, 0.9) after scaling: (0.75 + 0.9 - 1) / sqrt(2) = 0.46 above the line.
    assert found[2].why == (
        "is the knee: it lies farthest above the line between the extremes of the front "
        "(0.46 with the front scaled to 0..1)"
    )


@given(st.permutations(FRONT))
def test_order_of_points_does_not_matter(rows):
    """The picks of shuffled points are the same."""
    assert picks(make(rows)) == picks(make(FRONT))


def test_smaller_can_be_better():
    """A minimised objective is picked at its smallest value, and the knee is mirrored."""
    down = (THREE[0], Objective(name="likelihood", direction="minimize"))
    found = picks(make([(t, x, -y) for t, x, y in FRONT], down))
    assert [p.trial_id for p in found] == ["d", "a", "b"]
    assert found[1].why == "has the lowest likelihood"


def test_hollow_front_has_no_knee():
    """If every inner point lies below the line, or on it, no knee is named."""
    for inner in (0.3, 0.5):
        found = picks(make([("a", 0.0, 1.0), ("b", inner, inner), ("c", 1.0, 0.0)]))
        assert [p.label for p in found] == ["best coherence", "best likelihood"]


def test_two_points_have_no_knee():
    """A front of two points is only its extremes."""
    assert [p.label for p in picks(make([("a", 0.1, 1.0), ("b", 1.0, 0.1)]))] == [
        "best coherence",
        "best likelihood",
    ]


def test_one_point_is_best_in_all():
    """A single front point is picked once for each objective, the first of equals by name."""
    assert [p.trial_id for p in picks(make([("z", 1.0, 1.0), ("b", 1.0, 1.0), ("c", 0.5, 0.5)]))] == [
        "b",
        "b",
    ]


def test_other_numbers_of_objectives_have_no_knee():
    """With one or three objectives only the best of each is picked; without points nothing."""
    assert [p.label for p in picks(make([("a", 1.0), ("b", 2.0)], THREE[:1]))] == ["best coherence"]
    three = [("a", 1.0, 0.0, 0.0), ("b", 0.0, 1.0, 0.0), ("c", 0.9, 0.9, 0.9)]
    assert [p.trial_id for p in picks(make(three, THREE))] == ["a", "b", "c"]
    assert picks(make([])) == ()
