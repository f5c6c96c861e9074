"""What tables summarised say: by subset, over time, by method and by rung."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from sweep.analysis.fronts import hypervolume
from sweep.analysis.points import by_config, points, usable_trials
from sweep.analysis.summaries import (
    by_method,
    coherence_by_size,
    failure_reasons,
    hypervolume_history,
    metrics_by_size,
    rank_agreement,
)
from sweep.analysis.tradeoff import tradeoff
from sweep.config.objectives import Objective
from sweep.store.read import open_store


def test_coherence_by_size_leaves_out_observed_targets(made_up_sweep):
    """Mean coherence of one trial grows as made up, over the pairs whose target was not observed."""
    found = coherence_by_size(open_store(made_up_sweep).pair_coherence().collect()).filter(trial_id="t03")
    assert found["source_size"].to_list() == [1, 2]
    assert found["pairs"].to_list() == [6, 3]
    assert all(math.isclose(v, e) for v, e in zip(found["value"], [0.78, 0.80], strict=True))
    assert all(math.isclose(c, 0.12) for c in found["chance"])
    assert all(math.isclose(e, 0.02) for e in found["stderr"])  # of the same samples, so that none cancel


def test_metrics_by_size_leave_out_observed_targets():
    """Of a metric by target; one that has numbers without a target is the mean of these."""
    rows = [
        ("frechet", 0, 0, "a", 10.0),
        ("frechet", 1, 1, "a", 99.0),
        ("frechet", 1, 1, "b", 4.0),
        ("frechet", 2, 1, "a", 6.0),
        ("frechet", 3, 2, "a", 99.0),
        ("kl", 1, 1, None, 1.0),
        ("kl", 2, 1, None, 3.0),
        ("log_likelihood_conditional", 1, 1, None, -5.0),
        ("log_likelihood_conditional", 1, 1, "b", -99.0),
    ]
    columns = ["metric", "subset_mask", "subset_size", "target", "value"]
    frame = pl.DataFrame(rows, columns, orient="row", schema_overrides={"subset_mask": pl.Int32})
    found = metrics_by_size(frame.with_columns(trial_id=pl.lit("t")), ("a", "b"))
    assert found.drop("trial_id").rows() == [
        ("frechet", 0, 10.0),
        ("frechet", 1, 5.0),
        ("kl", 1, 2.0),
        ("log_likelihood_conditional", 1, -5.0),
    ]


TWO = (Objective(name="x"), Objective(name="y", direction="minimize"))
CORNER = {"x": 0.0, "y": 10.0}
START = datetime(2026, 1, 2, tzinfo=UTC)


def trials(n: int, seed: int) -> pl.DataFrame:
    """Make n trials of up to three seeds a config, that ended in a random order; every fifth was stopped."""
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "trial_id": [f"t{i:03}" for i in range(n)],
            "config_id": [f"c{i % (n // 3 + 1)}" for i in range(n)],
            "seed": [i // (n // 3 + 1) for i in range(n)],
            "status": ["stopped" if i % 5 == 4 else "completed" for i in range(n)],
            "started_at": [START + timedelta(minutes=i) for i in range(n)],
            "ended_at": [START + timedelta(hours=int(h)) for h in random.permutation(n) + 1],
            "o_x": random.uniform(-1, 5, n),
            "o_y": random.uniform(0, 11, n),
        }
    )


def test_each_step_is_the_hypervolume_of_the_trials_so_far():
    """At every trial the volume is that of the means over the seeds that had ended, found anew."""
    frame = trials(40, seed=0)
    epochs = pl.DataFrame({"trial_id": [f"t{i:03}" for i in range(40) for _ in range(i % 4)], "epoch": 1})
    usable = usable_trials(frame, TWO)
    found = hypervolume_history(frame, usable, epochs, TWO, CORNER)
    assert found["trials"].to_list() == list(range(1, 41))
    assert found["hours"].to_list() == [float(h) for h in range(1, 41)]
    fell = 0
    for row in found.iter_rows(named=True):
        so_far = frame.filter(pl.col("ended_at") <= START + timedelta(hours=row["hours"]))
        ended = usable.filter(pl.col("trial_id").is_in(so_far["trial_id"].to_list()))
        now = points(by_config(ended, TWO), TWO)
        assert math.isclose(row["hypervolume"], hypervolume(now, CORNER))
        assert row["epochs"] == sum(int(t[1:]) % 4 for t in so_far["trial_id"])
        fell += row["trials"] > 1 and row["hypervolume"] < found["hypervolume"][row["trials"] - 2]
    assert fell > 0, "a further seed may lower the volume, and did in none of the steps"


def test_a_long_sweep_is_thinned():
    """Of a thousand trials two hundred steps remain, the first and the last among them."""
    frame = trials(1000, seed=1)
    empty = pl.DataFrame(schema={"trial_id": pl.String})
    found = hypervolume_history(frame, usable_trials(frame, TWO), empty, TWO, CORNER)
    assert (found.height, found["trials"][0], found["trials"][-1]) == (200, 1, 1000)
    assert found["epochs"].to_list() == [0] * 200
    now = points(by_config(usable_trials(frame, TWO), TWO), TWO)
    assert math.isclose(found["hypervolume"][-1], hypervolume(now, CORNER))


def test_the_last_step_is_the_hypervolume_of_the_trade_off(made_up_sweep):
    """After all trials of a store the volume is the one told elsewhere; running trials have no step."""
    store = open_store(made_up_sweep)
    now, objectives = tradeoff(store), store.manifest.objectives
    epochs = store.epochs().select("trial_id", "epoch").collect()
    usable = usable_trials(now.trials, objectives)
    found = hypervolume_history(now.trials, usable, epochs, objectives, store.manifest.reference_point)
    assert found.row(-1, named=True) == {
        "trials": 10,
        "hours": 40 / 3600,
        "epochs": 8 * 20 + 1,
        "hypervolume": now.hypervolume,
    }


def test_no_trial_has_ended():
    """Without a known end there are no steps."""
    frame = trials(3, seed=0).with_columns(ended_at=pl.lit(None, dtype=pl.Datetime("us", "UTC")))
    empty = pl.DataFrame(schema={"trial_id": pl.String})
    assert hypervolume_history(frame, usable_trials(frame, TWO), empty, TWO, CORNER).rows() == []


def test_each_method_has_its_own_front_and_volume(made_up_sweep):
    """Two methods and a config that names none: fronts and hypervolumes by hand."""
    found = tradeoff(open_store(made_up_sweep))
    method = {"c0": "mvae", "c1": "mopoe", "c2": "mopoe", "c3": "mopoe", "c5": "mvae", "c6": "mopoe"}
    texts = [json.dumps({"method": method[c]} if c in method else {}) for c in found.configs["config_id"]]
    rows = by_method(replace(found, configs=found.configs.with_columns(config_json=pl.Series(texts))))
    assert dict(rows.select("config_id", "method").iter_rows()) == method
    assert rows["method"].to_list() == ["mopoe"] * 4 + ["mvae"] * 2
    assert set(rows.filter("on_own_front")["config_id"]) == {"c0", "c1", "c2", "c3"}
    assert set(rows.filter("on_front")["config_id"]) == {"c0", "c1", "c2", "c3"}
    volumes = dict(rows.select("method", "own_hypervolume").unique().iter_rows())
    assert math.isclose(volumes["mvae"], 0.42 * 220)
    assert math.isclose(volumes["mopoe"], 0.55 * 210 + 0.17 * 188 + 0.06 * 130)


def test_configs_that_name_no_method(made_up_sweep):
    """Without the setting in the stored configs there are no rows, but the columns."""
    rows = by_method(tradeoff(open_store(made_up_sweep)))
    assert rows.height == 0
    assert {"method", "trial_id"} <= set(rows.columns)


TWO = (Objective(name="x"), Objective(name="y", direction="minimize"))


def tau_b(one, other) -> float:
    """Return Kendall's tau-b by counting pairs."""
    signs = [
        (np.sign(one[i] - one[j]), np.sign(other[i] - other[j])) for i, j in combinations(range(len(one)), 2)
    ]
    a, b = np.array(signs).T
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def front_rank(values) -> np.ndarray:
    """Return how many fronts of points to minimise lie before each point's, by taking fronts away."""
    rank, left = np.zeros(len(values)), list(range(len(values)))
    while left:
        front = [
            i
            for i in left
            if not any((values[j] <= values[i]).all() and (values[j] < values[i]).any() for j in left)
        ]
        left = [i for i in left if i not in front]
        rank[left] += 1
    return rank


def evaluated(early, late, at=(1,), full=3):
    """Return epochs and usable trials of values to maximise and to minimise, evaluated at some epochs."""
    names = [f"t{i}" for i in range(len(late))]
    usable = pl.DataFrame({"trial_id": names, "epochs_max": full, "o_x": late[:, 0], "o_y": late[:, 1]})
    rows = [
        (name, e, *(row if e in at else (None, None)))
        for name, row, last in zip(names, early.tolist(), late.tolist(), strict=True)
        for e in range(1, full + 1)
        for row in [last if e == full else row]
    ]
    return pl.DataFrame(rows, schema=["trial_id", "epoch", "o_x", "o_y"], orient="row"), usable


def test_agreement_is_that_of_counted_pairs():
    """Tau-b of each objective and of the front's rank, with ties, and the share of the front that is kept."""
    random = np.random.default_rng(3)
    late = random.integers(0, 15, 30)[:, None] + np.stack([np.zeros(30), random.integers(0, 6, 30)], axis=1)
    early = late + random.integers(-5, 6, (30, 2))
    epochs, usable = evaluated(early, late)
    found = rank_agreement(epochs, usable, TWO, eta=3)
    assert found.select("epoch", "trials").rows() == [(1, 30)]
    assert found["x"][0] == pytest.approx(tau_b(early[:, 0], late[:, 0]))
    assert found["y"][0] == pytest.approx(tau_b(early[:, 1], late[:, 1]))
    first, last = front_rank(early * [-1, 1]), front_rank(late * [-1, 1])
    assert found["front"][0] == pytest.approx(tau_b(first, last))
    kept = [(first < first[i]).sum() < 30 / 3 for i in np.flatnonzero(last == 0)]
    assert 0 < np.mean(kept) < 1
    assert found["kept"][0] == pytest.approx(np.mean(kept))


def test_the_same_order_and_its_opposite():
    """An epoch in the final order agrees wholly, one in the opposite order not at all."""
    late = np.array([[float(i), 10.0 - i] for i in range(6)])
    epochs, usable = evaluated(late / 2, late, at=(1, 2))
    found = rank_agreement(epochs, usable, TWO, eta=2)
    assert [row[:2] for row in found.rows()] == [(1, 6), (2, 6)]
    assert found.select(pl.exclude("epoch", "trials")).to_numpy() == pytest.approx(1.0)
    epochs, usable = evaluated(-late, late)
    assert rank_agreement(epochs, usable, TWO, eta=2).row(0)[2:] == pytest.approx((-1, -1, -1, 0))


@pytest.mark.parametrize(("place", "kept"), [(2, 1.0), (3, 0.0)])
def test_a_rung_keeps_those_whom_fewer_than_its_share_precede(place, kept):
    """Of six trials half go on: the later best is kept from the third place, and lost from the fourth."""
    order = [*range(1, place + 1), 0, *range(place + 1, 6)]
    early = np.array([[-float(order.index(i)), float(order.index(i))] for i in range(6)])
    late = np.array([[-float(i), float(i)] for i in range(6)])
    assert rank_agreement(*evaluated(early, late), TWO, eta=2)["kept"].to_list() == [kept]


def test_ties_alone_have_no_order():
    """Where all trials have one value, or all are on one front, tau is null."""
    late = np.array([[float(i), float(i)] for i in range(6)])
    early = np.column_stack([np.zeros(6), late[:, 1]])
    found = rank_agreement(*evaluated(early, late), TWO, eta=3)
    assert found.select("x", "front").rows() == [(None, None)]
    assert found["y"][0] == pytest.approx(1.0)


def test_too_few_trials_or_evaluations():
    """Four trials, other budgets, or evaluations after the last epoch alone give no rows."""
    late = np.array([[float(i), 10.0 - i] for i in range(6)])
    epochs, usable = evaluated(late, late)
    assert rank_agreement(*evaluated(late[:4], late[:4]), TWO, eta=3).height == 0
    assert rank_agreement(*evaluated(late, late, at=()), TWO, eta=3).height == 0
    longer = usable.with_columns(epochs_max=pl.Series([3, 3, 3, 3, 3, 9]))
    assert rank_agreement(epochs, longer, TWO, eta=3).height == 0
    assert rank_agreement(epochs.drop("o_x", "o_y"), usable, TWO, eta=3).height == 0
    assert rank_agreement(epochs, usable.clear(), TWO, eta=3).height == 0


def test_reasons_are_grouped_by_first_line():
    """Failures with one first line count together; most frequent first; a missing reason is said."""
    frame = pl.DataFrame(
        {
            "status": ["failed"] * 4 + ["completed"],
            "error": ["no memory", "loss is nan\ntrace a", "loss is nan\ntrace b", None, "ignored"],
        }
    )
    assert failure_reasons(frame) == [("loss is nan", 2), ("no memory", 1), ("no reason recorded", 1)]
