"""Probabilities and attainment against closed forms and brute force."""

import math
from itertools import product
from statistics import NormalDist

import moocore
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from trade_offs import trade

from sweep.analysis.inference import DRAWS
from sweep.analysis.points import Points
from sweep.analysis.tradeoff import best_at_levels, front_order, levels
from sweep.analysis.uncertainty import (
    attainment_difference,
    attainment_surface,
    seed_sets,
    stability,
)
from sweep.config.objectives import Objective

TWO = (Objective(name="x"), Objective(name="y"))
PHI = NormalDist().cdf


def seeded(means, spread, seeds, seed=0):
    """Return values around these means: [config, seed, objective]."""
    means = np.asarray(means, dtype=np.float64)[:, None]
    return means + spread * np.random.default_rng(seed).standard_normal((len(means), seeds, means.shape[2]))


def test_without_a_second_seed_nothing_is_said():
    """The probabilities are unknown, for training varies with the seed by nobody knows how much."""
    found = stability(trade([[[1.0, -5.0]], [[2.0, -7.0]], [[0.5, -4.0]]], error=0.5))
    assert found.draws == 0
    assert np.isnan(found.on_front).all()
    assert all(map(math.isnan, found.agree.values()))
    assert found.levels["agree"].is_nan().all()
    assert found.few_seeds.all()


def test_share_of_two_configs_has_a_closed_form():
    """With many seeds a config leaves the front where the other is better in both: Phi * Phi."""
    some = trade(seeded([[1.0, 0.0], [0.7, 0.2]], 1.5, 50))
    (a, b), (x, y) = some.points.values, np.sqrt(2) * some.inference.posterior.error_DCO.std((0, 1))
    found = stability(some)
    beaten = PHI((b[0] - a[0]) / x) * PHI((b[1] - a[1]) / y), PHI((a[0] - b[0]) / x) * PHI((a[1] - b[1]) / y)
    assert np.abs(found.on_front - (1 - np.array(beaten))).max() < 0.1
    assert abs(found.agree["best x"] - PHI(abs(a[0] - b[0]) / x)) < 0.1
    assert not found.few_seeds.any()


def test_levels_say_how_often_the_choice_is_kept():
    """Where configs are far apart for their seeds the choice is sure; at a bound just kept it is not."""
    found = stability(trade(seeded([[0.0, 10.0], [0.4, 5.0], [1.0, 0.0]], 1e-3, 4)))
    chosen = {round(c, 1): (row, agree, keeps) for c, row, agree, keeps in found.levels.iter_rows()}
    assert chosen[0.2][0] == 1
    assert min(chosen[0.2][1:]) > 0.99
    assert chosen[0.6][0] == 2
    assert min(chosen[0.6][1:]) > 0.99
    assert (
        stability(trade([[[0.0, 9.0]] * 3, *seeded([[0.4, 5.0], [1.0, 0.0]], 0.05, 3)])).levels["keeps"].min()
        > 0.1
    )


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_nothing_and_one_config(objectives):
    """A single config is surely on the front, with any number of objectives; no config has no probability."""
    several = tuple(Objective(name=f"o{i}") for i in range(objectives))
    for n in (0, 1):
        found = stability(trade(np.ones((n, 2, objectives)), several))
        assert (found.draws, len(found.on_front), found.levels.height) == (n * DRAWS, n, 0)
        assert found.on_front.tolist() == [1.0] * n
    assert stability(trade(seeded(np.ones((3, objectives)), 1.0, 2), several)).draws == DRAWS


def test_of_configs_that_are_all_the_same_none_is_sure():
    """Of 30 configs of one true value the best of means over three seeds is best with little probability."""
    found = stability(trade(seeded(np.zeros((30, 2)), 1.0, 3)))
    assert found.agree["best x"] < 0.3
    assert found.on_front.max() < 0.6


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_levels_are_round_even_and_few(low, span):
    """There are three to nine, between the ends, at one distance of 1, 2 or 5 times a power of ten."""
    found = levels(low, low + span)
    assert 3 <= len(found) <= 9
    slack = 1e-6 * max(abs(low), span)
    assert low - slack <= found[0]
    assert found[-1] <= low + span + slack
    step = np.diff(found)
    assert np.ptp(step) <= slack
    assert f"{step[0]:.0e}"[0] in "125"
    assert levels(low, low) == []


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_choice_at_a_level_is_that_of_all_points(seed, up, other_up):
    """The best of the points that keep the bound has the same value as the choice on the front."""
    values = np.random.default_rng(seed).integers(0, 6, (12, 2)).astype(float)
    ways = ("maximize" if way else "minimize" for way in (other_up, up))
    pair = tuple(Objective(name=n, direction=w) for n, w in zip(("log_likelihood", "z"), ways, strict=True))
    some = Points(trial_ids=tuple(f"t{i:02}" for i in range(12)), values=values, objectives=pair)
    for bound, row in zip(
        [-1.0, 2.0, 3.0, 9.0], best_at_levels(some, front_order(some), [-1.0, 2.0, 3.0, 9.0]), strict=True
    ):
        kept = values[values[:, 1] >= bound] if up else values[values[:, 1] <= bound]
        if len(kept):
            assert values[row, 0] == (kept[:, 0].max() if other_up else kept[:, 0].min())
            assert values[row, 1] >= bound if up else values[row, 1] <= bound
        else:
            assert row == -1


# Whole numbers from a short range, so that ties are common.
runs = st.lists(
    st.integers(1, 5).flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.integers(0, 5).map(float))),
    min_size=1,
    max_size=5,
)


def attained(sets, goal) -> float:
    """Return the share of the runs of which some point reaches the goal in all objectives."""
    return float(np.mean([(run >= goal).all(axis=1).any() for run in sets]))


@settings(deadline=None)
@given(runs, st.data())
def test_surface_is_that_of_brute_force(sets, data):
    """The surface is the front of all goals that enough runs attain."""
    least = data.draw(st.integers(1, len(sets))) / len(sets)
    axes = [np.unique(np.concatenate(sets)[:, o]) for o in (0, 1)]
    goals = np.array([g for g in product(*axes) if attained(sets, np.array(g)) >= least - 1e-9])
    hard = [g for g in goals if not any((h >= g).all() and (h != g).any() for h in goals)]
    assert attainment_surface(sets, least).tolist() == sorted(map(list, hard))


@settings(deadline=None, max_examples=50)
@given(runs, runs)
def test_difference_is_that_of_brute_force(left, right):
    """At every goal, on the grid or between, it is the share on the left less the share on the right."""
    found = attainment_difference(left, right)
    for i, j in product(range(len(found.x)), range(len(found.y))):
        goal = np.array([found.x[i], found.y[j]])
        for easier in (0.0, 0.5):
            expected = attained(left, goal - easier) - attained(right, goal - easier)
            assert found.share[i, j] == pytest.approx(expected)
    assert (np.diff(found.x) > 0).all()
    assert (np.diff(found.y) > 0).all()


def test_difference_agrees_with_moocore():
    """With as many runs on either side it is `eafdiff` in each of its rectangles."""
    random = np.random.default_rng(0)
    left, right = random.random((4, 6, 2)), random.random((4, 6, 2)) + 0.1
    numbered = [np.column_stack([side.reshape(-1, 2), np.repeat(range(4), 6)]) for side in (left, right)]
    found = attainment_difference(list(-left), list(-right))  # moocore minimises
    rectangles = moocore.eafdiff(*numbered, rectangles=True)
    assert len(rectangles) > 20
    for low_x, low_y, high_x, high_y, count in rectangles:
        inside = (-found.x[:, None] >= low_x) & (-found.x[:, None] < high_x)
        inside = inside & (-found.y >= low_y) & (-found.y < high_y)
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
