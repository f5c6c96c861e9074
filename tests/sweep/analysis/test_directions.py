"""Negating an objective with its direction changes no decision, front, pick or share."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from trade_offs import trade

from sweep.analysis.fronts import best_above, common_corner, dominated, front_mask, hypervolume
from sweep.analysis.importances import importances
from sweep.analysis.points import Points, by_config, points, usable_trials, worst_first
from sweep.analysis.summaries import hypervolume_history, rank_agreement
from sweep.analysis.tradeoff import best_at_levels, front_order, picks
from sweep.analysis.uncertainty import attainment_difference, attainment_surface, seed_sets, stability
from sweep.config.objectives import Objective
from sweep.search.halving import decide

UP = Objective(name="log_likelihood"), Objective(name="y"), Objective(name="z")
START = datetime(2026, 1, 2, tzinfo=UTC)

# Whole numbers from a short range, so that ties are common.
grids = st.integers(2, 3).flatmap(
    lambda o: arrays(
        np.float64, st.tuples(st.integers(1, 12), st.just(o)), elements=st.integers(-3, 3).map(float)
    )
)
ways = st.tuples(*[st.booleans()] * 3)


def turned(flips):
    """Return the objectives of which some are minimised, and the sign that their values get."""
    pairs = zip(UP, flips, strict=False)
    objectives = tuple(replace(o, direction="minimize" if flip else "maximize") for o, flip in pairs)
    return objectives, np.array([o.sign for o in objectives])


def make(values, objectives=UP) -> Points:
    """Make points t00, t01, ... of rows of values."""
    names = tuple(f"t{i:02}" for i in range(len(values)))
    return Points(trial_ids=names, values=values, objectives=tuple(objectives[: values.shape[1]]))


def corner(values, objectives) -> dict[str, float]:
    """Return values by name."""
    return {o.name: float(v) for o, v in zip(objectives, values, strict=False)}


@settings(deadline=None)
@given(grids, ways, st.data())
def test_fronts_volumes_picks_and_choices(values, flips, data):
    """Of points: front, hypervolume, dominance, common corner, picks and the best for a bound."""
    n, o = values.shape
    objectives, sign = turned(flips[:o])
    plain, mirror = make(values), make(values * sign, objectives)
    assert front_mask(mirror).tolist() == front_mask(plain).tolist()
    worst = np.array(data.draw(st.tuples(*[st.integers(-3, 0)] * o)), dtype=float)
    of = hypervolume(plain, corner(worst, UP)), hypervolume(mirror, corner(worst * sign, objectives))
    assert of[0] == of[1]
    others = values[data.draw(st.permutations(range(n)))][: n // 2] + 0.5
    beaten = dominated(plain, make(others)), dominated(mirror, make(others * sign, objectives))
    assert beaten[0].tolist() == beaten[1].tolist()
    both = common_corner(corner(worst, UP), corner(worst[::-1], UP), UP[:o])
    mirrored = [corner(w * sign, objectives) for w in (worst, worst[::-1])]
    assert common_corner(*mirrored, objectives) == {n: s * both[n] for n, s in zip(both, sign, strict=True)}
    assert [(p.label, p.trial_id) for p in picks(mirror)] == [(p.label, p.trial_id) for p in picks(plain)]
    bounds = [-2.0, 0.0, 1.0, 9.0]
    chosen = best_at_levels(plain, front_order(plain), bounds)
    bounded = [sign[1] * b for b in bounds]
    assert best_at_levels(mirror, front_order(mirror), bounded).tolist() == chosen.tolist()
    name, least = objectives[-1].name, float(values[:, -1].min())
    assert best_above(mirror, {name: least * sign[-1]}) == best_above(plain, {name: least})


def trials(values, objectives, errors=0.4) -> pl.DataFrame:
    """Make a table of completed trials of values [config, seed, objective], in time one after the other."""
    config, seed = (a.ravel() for a in np.indices(values.shape[:2]))
    frame = pl.DataFrame(
        {
            "trial_id": [f"t{c:02}-s{s}" for c, s in zip(config, seed, strict=True)],
            "config_id": [f"c{c:02}" for c in config],
            "seed": seed,
            "status": "completed",
            "epochs_max": 3,
            "started_at": START,
            "ended_at": [START + timedelta(hours=1 + i) for i in range(len(config))],
        }
    )
    flat = values.reshape(-1, values.shape[2]).T
    measured = {f"o_{o.name}": pl.Series(v) for o, v in zip(objectives, flat, strict=True)}
    return frame.with_columns(**measured, **{f"se_{o.name}": pl.lit(errors) for o in objectives})


@pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("seeds", [2, 3])
def test_probabilities_attainment_and_history(seeds, flips):
    """Of a sweep: every probability, what its seeds attain, and its hypervolume in time."""
    objectives, sign = turned(flips)
    values = np.random.default_rng(seeds).normal(size=(12, seeds, 2)) / 2
    values += np.linspace([-1, 1], [1, -1], 12)[:, None]
    found = []
    for several, some in ((UP[:2], values), (objectives, values * sign)):
        usable = usable_trials(trials(some, several), several)
        configs = by_config(usable, several)
        sure = stability(trade(some, several))
        rows = worst_first(configs, several[0])["trial_id"].to_list()
        epochs = pl.DataFrame({"trial_id": usable["trial_id"], "epoch": 1})
        worst = corner(np.array([-2.0, -2.5]) * [o.sign for o in several], several)
        history = hypervolume_history(usable, usable, epochs, several, worst)
        found.append((usable, configs, sure, rows, history, seed_sets(usable, several)))
    (_, configs, sure, rows, history, sets), (_, other, again, mirrored, later, mirror) = found
    assert again.on_front.tolist() == sure.on_front.tolist()
    assert again.agree == sure.agree
    assert len(set(sure.on_front.tolist())) > 2
    assert sure.levels.height > 2
    assert again.levels.drop("c").equals(sure.levels.drop("c"))
    assert again.levels["c"].to_list() == (sign[1] * sure.levels["c"]).to_list()
    assert (mirrored, later.equals(history)) == (rows, True)
    assert points(other, objectives).gains.tolist() == points(configs, UP[:2]).gains.tolist()
    assert [run.tolist() for run in mirror] == [run.tolist() for run in sets]
    surface = attainment_surface(sets, 0.5)
    assert attainment_surface(mirror, 0.5).tolist() == surface.tolist()
    share = attainment_difference(sets, [run + 0.1 for run in sets]).share
    assert attainment_difference(mirror, [run + 0.1 for run in sets]).share.tolist() == share.tolist()


@pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True)])
def test_importances_and_rank_agreement(flips):
    """Which settings mattered, and how well an early epoch orders the trials."""
    objectives, sign = turned(flips)
    random = np.random.default_rng(3)
    late, early = random.normal(size=(30, 1, 2)), random.normal(size=(30, 2))
    settings = pl.DataFrame({"p_a": late[:, 0, 0] + random.normal(size=30), "p_b": random.random(30)})
    found = []
    for several, signs in ((UP[:2], np.ones(2)), (objectives, sign)):
        usable = usable_trials(trials(late * signs, several), several)
        evaluated = pl.DataFrame({"trial_id": usable["trial_id"], "epoch": 1})
        columns = {f"o_{o.name}": pl.Series(v) for o, v in zip(several, (early * signs).T, strict=True)}
        agreement = rank_agreement(evaluated.with_columns(**columns), usable, several, eta=3)
        shares = importances(settings, points(by_config(usable, several), several), {})
        found.append((agreement.rows(), shares.rows()))
    assert found[1] == found[0]
    assert found[0][0]


@settings(deadline=None)
@given(grids, ways)
def test_decisions_at_a_rung(values, flips):
    """Who goes on at a rung."""
    objectives, sign = turned(flips[: values.shape[1]])
    rung = {f"t{i}": tuple(row) for i, row in enumerate(values.tolist())}
    mirror = {f"t{i}": tuple(row) for i, row in enumerate((values * sign).tolist())}
    ups = [o.maximize for o in objectives]
    for name in rung:
        assert decide(name, mirror, ups, 3) == decide(name, rung, [True] * len(ups), 3)
