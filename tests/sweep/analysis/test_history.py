import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from sweep.analysis.fronts import hypervolume
from sweep.analysis.points import by_config, points, usable_trials
from sweep.analysis.summaries import hypervolume_history
from sweep.analysis.tradeoff import tradeoff
from sweep.config.objectives import Objective
from sweep.store.read import open_store

TWO = (Objective(name="x"), Objective(name="y", maximize=False))
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
        now = points(by_config(usable_trials(so_far, TWO), TWO), TWO)
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
