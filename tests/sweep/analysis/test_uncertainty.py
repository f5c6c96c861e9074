"""Bootstraps and attainment against closed forms, enumeration and brute force."""

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

from sweep.analysis.fronts import front_mask, hypervolume
from sweep.analysis.points import Points, by_config, points, usable_trials
from sweep.analysis.tradeoff import best_at_levels, front_order, levels
from sweep.analysis.uncertainty import (
    attainment_difference,
    attainment_surface,
    resamples,
    seed_sets,
    stability,
)
from sweep.config.objectives import Objective

TWO = (Objective(name="x"), Objective(name="y"))
PHI = NormalDist().cdf


def trials(values, error=None, objectives=TWO):
    """Return usable trials and configs of values [config, seed, objective] with one standard error."""
    values = np.asarray(values, dtype=np.float64)
    config, seed = (a.ravel() for a in np.indices(values.shape[:2]))
    flat = values.reshape(-1, values.shape[2]).T
    frame = pl.DataFrame(
        {
            "trial_id": [f"t{c:04}-{s}" for c, s in zip(config, seed, strict=True)],
            "config_id": [f"c{c}" for c in config],
            "seed": seed,
            "status": "completed",
        }
    ).with_columns(
        *(pl.Series(f"o_{o.name}", column) for o, column in zip(objectives, flat, strict=True)),
        *(pl.lit(error, dtype=pl.Float64).alias(f"se_{o.name}") for o in objectives),
    )
    usable = usable_trials(frame, objectives)
    return usable, by_config(usable, objectives)


def test_single_seeds_move_by_their_standard_error():
    """A config of one seed is drawn from the normal around its value, each objective by itself."""
    usable, configs = trials([[[1.0, -5.0]], [[2.0, 7.0]]], error=0.5)
    drawn = np.stack(list(resamples(usable, configs, TWO, draws=20_000, seed=1)))
    assert np.abs(drawn.mean(axis=0) - [[1, -5], [2, 7]]).max() < 4 * 0.5 / math.sqrt(20_000)
    assert np.abs(drawn.std(axis=0) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(drawn.reshape(20_000, 4).T) - np.eye(4)).max() < 0.03


def test_an_unknown_error_is_not_zero():
    """With one config of one seed whose error was not measured, nothing is said of the front or the picks."""
    usable, configs = trials([[[1.0, -5.0]], [[2.0, -7.0]], [[0.5, -4.0]]], error=0.5)
    assert stability(usable, configs, TWO).draws > 0
    for unknown in (None, math.nan):
        errors = pl.Series("se_y", [0.5, unknown, 0.5], dtype=pl.Float64)
        found = stability(usable, configs.with_columns(errors), TWO)
        assert (found.draws, found.unknown) == (0, 1)
        assert np.isnan(found.on_front).all()
        assert all(map(math.isnan, found.agree.values()))
        assert found.levels["agree"].is_nan().all()
    seeds = trials([[[1.0, -5.0], [1.1, -5.5]], [[2.0, -7.0], [2.1, -7.5]]])
    assert stability(*seeds, TWO).unknown == 0


def test_seeds_are_drawn_again_with_their_objectives_together():
    """Of two seeds the mean is the one, the other or half way, in 1/4, 1/4 and 1/2 of the bootstraps."""
    usable, configs = trials([[[0.0, 10.0], [1.0, 30.0]], [[5.0, 5.0], [5.0, 5.0]]], error=100.0)
    drawn = np.stack(list(resamples(usable, configs, TWO, draws=8000, seed=0)))
    assert np.array_equal(drawn[:, 1], np.full((8000, 2), 5.0))
    assert np.allclose(drawn[:, 0, 1], 10 + 20 * drawn[:, 0, 0])
    found, counts = np.unique(drawn[:, 0, 0], return_counts=True)
    assert found.tolist() == [0.0, 0.5, 1.0]
    assert np.abs(counts / 8000 - [0.25, 0.5, 0.25]).max() < 0.02


def test_shares_equal_the_enumeration_of_all_bootstraps():
    """With three configs of two seeds the shares are those over all 4^3 equally likely draws."""
    values = np.array([[[1.0, 0.0], [0.2, 0.7]], [[0.5, 0.5], [0.6, 0.2]], [[0.1, 0.9], [0.9, 0.1]]])
    usable, configs = trials(values)
    now = points(configs, TWO)
    exact, same = np.zeros(3), []
    best = int(now.values[:, 0].argmax())
    for draw in product(product((0, 1), repeat=2), repeat=3):
        means = np.array([values[c, list(seeds)].mean(axis=0) for c, seeds in enumerate(draw)])
        free = [not any((m >= one).all() and (m > one).any() for m in means) for one in means]
        exact += free
        same.append(next(c for c in range(3) if means[c, 0] == means[:, 0].max() and free[c]) == best)
    found = stability(usable, configs, TWO, draws=5000)
    assert np.abs(found.on_front - exact / 64).max() < 4 * 0.5 / math.sqrt(5000)
    assert abs(found.agree["best x"] - np.mean(same)) < 0.02


def test_share_of_two_configs_has_a_closed_form():
    """A config leaves the front where the other is better in both, which has probability Phi * Phi."""
    usable, configs = trials([[[1.0, 0.0]], [[0.5, 0.3]]], error=0.4)
    spread = 0.4 * math.sqrt(2)
    found = stability(usable, configs, TWO, draws=8000)
    beaten = PHI(-0.5 / spread) * PHI(0.3 / spread), PHI(0.5 / spread) * PHI(-0.3 / spread)
    assert np.abs(found.on_front - (1 - np.array(beaten))).max() < 0.02
    assert abs(found.agree["best x"] - PHI(0.5 / spread)) < 0.02
    assert abs(found.agree["best y"] - PHI(0.3 / spread)) < 0.02


def test_levels_say_how_often_the_choice_is_kept():
    """The chosen config keeps a bound c with probability Phi((x - c) / error)."""
    usable, configs = trials([[[0.0, 10.0]], [[0.45, 5.0]], [[1.0, 0.0]]], error=0.1)
    found = stability(usable, configs, TWO, draws=8000)
    assert found.levels["c"].to_list() == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert found.levels["row"].to_list() == [0, 1, 1, 2, 2, 2]
    keeps = [
        PHI((x - c) / 0.1) for x, c in zip([0, 0.45, 0.45, 1, 1, 1], [0, 0.2, 0.4, 0.6, 0.8, 1], strict=True)
    ]
    assert np.abs(found.levels["keeps"].to_numpy() - keeps).max() < 0.02
    # The likelihoods are far apart: chosen again is who keeps the bound while the better one does not.
    assert abs(found.levels["agree"][1] - PHI(2.0) * PHI(2.5)) < 0.02
    assert abs(found.levels["agree"][2] - PHI(4.0) * PHI(0.5)) < 0.02


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_nothing_and_one_config(objectives):
    """Without configs there are no shares; a single one is always on the front."""
    several = tuple(Objective(name=f"o{i}") for i in range(objectives))
    usable, configs = trials(np.ones((1, 1, objectives)), error=0.1, objectives=several)
    found = stability(usable, configs, several, draws=10)
    assert (found.on_front.tolist(), set(found.agree.values()), found.levels.height) == ([1.0], {1.0}, 0)
    none = stability(usable.clear(), configs.clear(), several)
    assert (none.on_front.size, none.agree, none.levels.height) == (0, {}, 0)


def expected_maximum(n: int) -> float:
    """Return the mean of the largest of n standard normal numbers, by integration."""
    z = np.linspace(-8, 8, 40_001)
    below = np.array([PHI(v) for v in z])
    return float(np.trapezoid(z * n * below ** (n - 1) * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi), z))


def test_the_front_of_single_seeds_is_too_good_and_that_of_means_less_so():
    """Of 100 configs of true value 0 and error 1 the best is too good by the mean largest of 100 numbers.

    Means over 16 seeds are too good by a quarter of that, and in bootstraps no config is surely on the front.
    """
    random, excess = np.random.default_rng(0), {1: [], 16: []}
    for _ in range(150):
        noise = random.standard_normal((100, 16, 2))
        for seeds, found in excess.items():
            usable, configs = trials(noise[:, :seeds], error=1.0)
            now = points(configs, TWO)
            found.append(now.values[front_mask(now)].max(axis=0))
    naive = expected_maximum(100)
    assert 2.50 < naive < 2.51
    assert abs(np.mean(excess[1]) - naive) < 0.1
    assert abs(np.mean(excess[16]) - naive / 4) < 0.03
    usable, configs = trials(noise[:, :1], error=1.0)
    found = stability(usable, configs, TWO, draws=300)
    assert front_mask(points(configs, TWO)).sum() >= 3
    assert found.on_front.max() < 0.75
    assert max(found.agree.values()) < 0.5


def test_the_seed_aware_front_is_nearer_the_truth():
    """Of 60 configs, 20 truly on the front: five seeds find more of them than one, and a truer volume."""
    random = np.random.default_rng(4)
    angle = np.linspace(0.05, np.pi / 2 - 0.05, 20)
    front = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    truth = np.concatenate(
        [front, front * random.uniform(0.6, 0.9, (20, 1)), front * random.uniform(0.6, 0.9, (20, 1))]
    )
    seeds = truth[:, None] + 0.05 * random.standard_normal((60, 5, 2))
    corner = {"x": 0.0, "y": 0.0}

    def of(values) -> Points:
        return points(trials(np.asarray(values)[:, None])[1], TWO)

    true, pooled = hypervolume(of(truth), corner), hypervolume(of(seeds.reshape(-1, 2)), corner)
    one, mean = hypervolume(of(seeds[:, 0]), corner), hypervolume(of(seeds.mean(axis=1)), corner)
    assert true < mean < one < pooled
    usable, configs = trials(seeds)
    share = stability(usable, configs, TWO).on_front
    naive = front_mask(of(seeds[:, 0]))
    assert (share >= 0.2)[:20].sum() > naive[:20].sum() + 5
    assert (share >= 0.5)[20:].sum() == 0


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
