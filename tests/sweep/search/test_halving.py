"""Who goes on at a rung: promised properties, a slow plain version, and Ray's ASHA for one objective."""

import math
from types import SimpleNamespace

import moocore
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from sweep.search.halving import decide, epsilon_net

# Few distinct values, so that ties and duplicates are frequent; lists come in any order.
VALUE = st.integers(0, 6).map(float)
ETA = st.integers(2, 5)


def vectors(objectives=2, min_size=1):
    """Give some vectors of objectives, unsorted."""
    return st.lists(st.tuples(*[VALUE] * objectives), min_size=min_size, max_size=14)


def named(points):
    """Return points as a rung records them."""
    return {f"t{i}": tuple(p) for i, p in enumerate(points)}


def verdicts(points, eta=3, maximize=None):
    """Return the verdict about every point as if it were the newcomer."""
    rung = named(points)
    maximize = maximize or [True] * len(points[0])
    return [decide(name, rung, maximize, eta) for name in rung]


def slow_order(points):
    """Return the distinct vectors in order, one step after the other and without arrays."""
    distinct = sorted(set(points))
    columns = [sorted({p[o] for p in points}) for o in range(len(points[0]))]
    place = {p: [c.index(x) / max(len(c) - 1, 1) for c, x in zip(columns, p, strict=True)] for p in distinct}

    def preference(p):
        return (float(np.sum(place[p])), *place[p])  # as arrays add: `sum` compensates since Python 3.12

    left, order = list(distinct), []
    while left:
        front = [
            p
            for p in left
            if not any(q != p and all(a >= b for a, b in zip(q, p, strict=True)) for q in left)
        ]
        left = [p for p in left if p not in front]
        covered = [max(front, key=preference)]
        front.remove(covered[0])
        while front:
            nearest = {
                p: min(sum((a - b) ** 2 for a, b in zip(place[p], place[q], strict=True)) for q in covered)
                for p in front
            }
            covered.append(max(front, key=lambda p: (nearest[p], *preference(p))))
            front.remove(covered[-1])
        order += covered
    return order


@settings(max_examples=100, deadline=None)
@given(vectors(2) | vectors(3))
def test_the_order_is_that_of_a_slow_plain_version(points):
    """Front by front, within a front ever the farthest; trials ahead are counted with their duplicates."""
    order = slow_order(points)
    for point, found in zip(points, verdicts(points), strict=True):
        before = order[: order.index(point)]
        assert found.ahead == sum(p in before for p in points)
        assert found.compared_to == len(points) - 1


@settings(max_examples=100, deadline=None)
@given(vectors(2) | vectors(3))
def test_ranks_are_moocores(points):
    """The rank of a front is that of moocore's non-dominated sorting."""
    expected = moocore.pareto_rank(np.array(points), maximise=True)
    assert [v.rank for v in verdicts(points)] == expected.tolist()


def test_ranks_of_a_known_rung():
    """Minimised, [2, 2] is on the second front and [3, 3] on the last: ranks are not places in a list."""
    found = verdicts([(3, 3), (0, 1), (1, 0), (2, 2)], eta=2, maximize=[False, False])
    assert [v.rank for v in found] == [2, 0, 0, 1]
    assert [v.decision for v in found] == ["stop", "continue", "continue", "stop"]


@settings(max_examples=80, deadline=None)
@given(vectors(), ETA, st.randoms(use_true_random=False))
def test_the_order_of_arrival_among_the_recorded_does_not_matter(points, eta, random):
    """Every trial's verdict is the same after any permutation of the rung."""
    before = named(points)
    names = list(before)
    random.shuffle(names)
    after = {name: before[name] for name in names}
    for name in names:
        assert decide(name, after, (True, True), eta) == decide(name, before, (True, True), eta)


@settings(max_examples=80, deadline=None)
@given(vectors(), ETA, st.integers(2, 4))
def test_repeating_every_trial_changes_nothing(points, eta, times):
    """Ties share a place: the same multiple of every trial gives the same decisions and ranks."""
    once, often = verdicts(points, eta), verdicts(points * times, eta)[: len(points)]
    assert [(v.decision, v.rank) for v in once] == [(v.decision, v.rank) for v in often]


@settings(max_examples=80, deadline=None)
@given(vectors(), ETA)
def test_equal_trials_are_treated_equally(points, eta):
    """Two trials with the same objectives get the same verdict."""
    found = {}
    for point, verdict in zip(points, verdicts(points, eta), strict=True):
        assert found.setdefault(point, verdict) == verdict


@settings(max_examples=80, deadline=None)
@given(vectors(), ETA)
def test_monotone_rescaling_changes_nothing(points, eta):
    """Neither units nor any increasing function of an objective matters, however extreme."""
    rescaled = [(math.exp(20 * a), -1e-9 / (1 + b)) for a, b in points]
    assert verdicts(rescaled, eta) == verdicts(points, eta)
    flipped = [(a, -b) for a, b in points]
    assert verdicts(flipped, eta, [True, False]) == verdicts(points, eta)


@settings(max_examples=100, deadline=None)
@given(vectors(), ETA)
def test_what_dominates_one_that_goes_on_goes_on(points, eta):
    """A trial never stops where a worse one goes on, and one with few enough ahead never stops."""
    found = verdicts(points, eta)
    for p, v in zip(points, found, strict=True):
        assert (v.decision == "continue") == (v.ahead < len(points) / eta)
        for q, w in zip(points, found, strict=True):
            if all(a >= b for a, b in zip(p, q, strict=True)) and w.decision == "continue":
                assert v.decision == "continue"


@settings(max_examples=80, deadline=None)
@given(vectors(), ETA)
def test_a_small_front_goes_on_whole(points, eta):
    """No trial of the front is stopped if the whole front fits into the share that goes on."""
    found = verdicts(points, eta)
    front = [v for v in found if v.rank == 0]
    assume(len(front) <= math.ceil(len(points) / eta))
    assert all(v.decision == "continue" for v in front)


def test_the_first_to_come_goes_on():
    """Alone at a rung a trial is the best there is."""
    assert verdicts([(0.1, -9.0)])[0].decision == "continue"


def test_a_front_is_thinned_out_evenly():
    """Of nine trials on a line the third that goes on are the two ends and the middle."""
    points = [(5, 3), (0, 8), (7, 1), (3, 5), (8, 0), (1, 7), (4, 4), (2, 6), (6, 2)]
    kept = [p for p, v in zip(points, verdicts(points), strict=True) if v.decision == "continue"]
    assert kept == [(0, 8), (8, 0), (4, 4)]


@given(st.permutations(range(5)))
def test_an_epsilon_net_starts_balanced_and_jumps_to_the_farthest(order):
    """The order of cover is that worked out by hand, whatever the order of the points."""
    points = np.array([(0.0, 1.0), (0.25, 0.8), (0.5, 0.6), (0.75, 0.2), (1.0, 0.0)])
    found = epsilon_net(points[list(order)])
    assert [order[i] for i in found] == [2, 4, 0, 3, 1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_comes_last_and_never_goes_on(bad):
    """One such objective is enough, even alone at the rung; the others are ordered as if without it."""
    assert verdicts([(bad, 1.0)])[0].decision == "stop"
    found = verdicts([(0.1, 0.1), (9.0, bad), (0.2, 0.2)], eta=2)
    assert [v.decision for v in found] == ["continue", "stop", "continue"]
    assert [v.rank for v in found] == [1, 2, 0]
    assert [v.ahead for v in found] == [1, 2, 0]


@settings(max_examples=80, deadline=None)
@given(st.lists(VALUE, min_size=1, max_size=14), ETA, st.booleans())
def test_with_a_constant_objective_it_is_single_objective_halving(values, eta, first):
    """Decisions are those of the plain rule: go on if fewer than N / eta values are better."""
    points = [(4.0, v) if first else (v, 4.0) for v in values]
    for value, both, alone in zip(
        values, verdicts(points, eta), verdicts([(v,) for v in values], eta), strict=True
    ):
        plain = "continue" if sum(v > value for v in values) < len(values) / eta else "stop"
        assert both.decision == alone.decision == plain


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=25, unique=True), ETA)
def test_one_objective_agrees_with_rays_asha(values, eta):
    """Wherever ranks alone decide Ray's rule, trial by trial as they come, ours decides the same.

    Ray's bar lies between two recorded values, at a place that depends on their distance; a newcomer between
    those two is left out.
    """
    ray = AsyncHyperBandScheduler(
        time_attr="epoch", metric="x", mode="max", max_t=100, grace_period=1, reduction_factor=eta
    )
    for i, value in enumerate(values):
        trial = SimpleNamespace(trial_id=str(i))
        ray.on_trial_add(None, trial)
        theirs = ray.on_trial_result(None, trial, {"epoch": 1, "x": float(value)})
        ours = verdicts([(float(v),) for v in values[: i + 1]], eta)[-1].decision
        others = sorted(values[:i])
        if others:
            bar = (1 - 1 / eta) * (i - 1)
            if others[math.floor(bar)] < value < others[math.ceil(bar)]:
                continue
        assert ours == ("stop" if theirs == TrialScheduler.STOP else "continue")


def test_without_finite_trials_the_place_is_the_first():
    """Trials that are not finite have none before them if there is no other."""
    found = verdicts([(math.nan, math.nan)] * 3)
    assert [(v.decision, v.rank, v.ahead) for v in found] == [("stop", 0, 0)] * 3
