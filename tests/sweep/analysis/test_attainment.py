from itertools import product

import moocore
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.analysis.uncertainty import attainment_difference, attainment_surface, seed_sets
from sweep.config.objectives import Objective

# Whole numbers from a short range, so that ties are common.
runs = st.lists(
    st.integers(1, 5).flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.integers(0, 5).map(float))),
    min_size=1,
    max_size=5,
)
ways = st.tuples(st.booleans(), st.booleans())


def share(sets, goal, maximize) -> float:
    """Return the share of the runs of which some point is at least as good as the goal in all objectives."""
    sign = np.where(maximize, 1, -1)
    return float(np.mean([(points * sign >= goal * sign).all(axis=1).any() for points in sets]))


@settings(deadline=None)
@given(runs, ways, st.data())
def test_surface_is_that_of_brute_force(sets, maximize, data):
    """The surface is the front of all goals that enough runs attain."""
    least = data.draw(st.integers(1, len(sets))) / len(sets)
    sign = np.where(maximize, 1, -1)
    axes = [np.unique(np.concatenate(sets)[:, o]) for o in (0, 1)]
    goals = np.array([g for g in product(*axes) if share(sets, np.array(g), maximize) >= least - 1e-9])
    hard = [g for g in goals if not any((h * sign >= g * sign).all() and (h != g).any() for h in goals)]
    assert attainment_surface(sets, maximize, least).tolist() == sorted(map(list, hard))


@settings(deadline=None, max_examples=50)
@given(runs, runs, ways)
def test_difference_is_that_of_brute_force(left, right, maximize):
    """At every goal, on the grid or between, it is the share on the left less the share on the right."""
    found = attainment_difference(left, right, maximize)
    sign = np.where(maximize, 1, -1)
    for i, j in product(range(len(found.x)), range(len(found.y))):
        goal = np.array([found.x[i], found.y[j]])
        for easier in (0.0, 0.5):
            expected = share(left, goal - easier * sign, maximize) - share(
                right, goal - easier * sign, maximize
            )
            assert found.share[i, j] == pytest.approx(expected)
    assert (np.diff(found.x) * sign[0] > 0).all()
    assert (np.diff(found.y) * sign[1] > 0).all()


def test_difference_agrees_with_moocore():
    """With as many runs on either side it is `eafdiff` in each of its rectangles."""
    random = np.random.default_rng(0)
    left, right = random.random((4, 6, 2)), random.random((4, 6, 2)) + 0.1
    numbered = [np.column_stack([side.reshape(-1, 2), np.repeat(range(4), 6)]) for side in (left, right)]
    found = attainment_difference(list(left), list(right), (False, False))
    rectangles = moocore.eafdiff(*numbered, rectangles=True)
    assert len(rectangles) > 20
    for low_x, low_y, high_x, high_y, count in rectangles:
        inside = (found.x[:, None] >= low_x) & (found.x[:, None] < high_x)
        inside = inside & (found.y >= low_y) & (found.y < high_y)
        assert np.unique(np.round(found.share[inside], 6)).tolist() == [count / 4]


def test_seed_sets_hold_the_same_configs():
    """Left out are configs of one seed, seeds that few have, and configs that lack one of the others."""
    seeds = {"c0": (0, 1, 2), "c1": (0, 1, 2, 7), "c2": (0, 1), "c3": (0,), "c4": (0, 1, 2)}
    rows = [(config, seed, 10.0 * int(config[1]) + seed) for config, found in seeds.items() for seed in found]
    frame = pl.DataFrame(rows, schema=["config_id", "seed", "o_x"], orient="row")
    frame = frame.with_columns(o_y=-pl.col("o_x"), trial_id=pl.format("{}-{}", "config_id", "seed"))
    found = seed_sets(
        frame.sample(fraction=1, shuffle=True, seed=0), (Objective(name="x"), Objective(name="y"))
    )
    assert [s.tolist() for s in found] == [
        [[x, -x] for x in (k, 10.0 + k, 40.0 + k)] for k in (0.0, 1.0, 2.0)
    ]
    assert seed_sets(frame.filter(seed=0), (Objective(name="x"),)) == []
