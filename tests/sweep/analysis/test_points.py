import math

import numpy as np
import polars as pl

from sweep.analysis.points import by_config, points, usable_trials
from sweep.config.objectives import Objective
from sweep.store.read import open_store

TWO = (Objective(name="x"), Objective(name="y", direction="minimize"))


def trials(**columns) -> pl.DataFrame:
    """Make a trials frame with objectives x and y."""
    n = len(columns["o_x"])
    rest = {
        "trial_id": [f"t{i}" for i in range(n)],
        "config_id": [f"c{i}" for i in range(n)],
        "seed": [0] * n,
        "status": ["completed"] * n,
    }
    return pl.DataFrame(rest | columns)


def test_only_complete_and_finite_trials_are_usable():
    """Stopped trials, NaN, infinite and missing objectives are left out."""
    frame = trials(
        o_x=[1.0, math.nan, 3.0, None, 5.0],
        o_y=[1.0, 2.0, math.inf, 4.0, 5.0],
        status=["completed"] * 4 + ["stopped"],
    )
    assert usable_trials(frame, TWO)["trial_id"].to_list() == ["t0"]


def test_nothing_is_usable_before_an_objective_was_measured():
    """A frame without the objectives' columns gives no rows, but the columns."""
    found = usable_trials(trials(o_x=[1.0]), TWO)
    assert found.height == 0
    assert {"o_y", "se_x", "se_y"} <= set(found.columns)
    assert points(found, TWO).values.shape == (0, 2)
    assert by_config(found, TWO).height == 0


def test_replicates_are_averaged_over_seeds(made_up_sweep):
    """Two seeds of one config give their mean and the standard error over seeds; the rest is seed 0's."""
    store = open_store(made_up_sweep)
    objectives = store.manifest.objectives
    found = by_config(usable_trials(store.latest_trials().collect(), objectives), objectives)
    assert found.height == 7
    row = found.filter(config_id="c2").to_dicts()[0]
    assert (row["trial_id"], row["seed"], row["seeds"], row["p_beta"]) == ("t02", 0, 2, 2.5)
    assert math.isclose(row["o_conditional_coherence"], 0.72)
    assert math.isclose(row["se_conditional_coherence"], 0.02)
    assert math.isclose(row["o_log_likelihood"], -1512)
    assert math.isclose(row["se_log_likelihood"], 2.0)


def test_a_single_seed_keeps_its_own_standard_error(made_up_sweep):
    """A config with one seed has that trial's value and standard error over samples."""
    store = open_store(made_up_sweep)
    objectives = store.manifest.objectives
    found = by_config(usable_trials(store.latest_trials().collect(), objectives), objectives)
    row = found.filter(config_id="c3").to_dicts()[0]
    assert (row["seeds"], row["o_log_likelihood"], row["se_log_likelihood"]) == (1, -1570.0, 2.5)


def test_points_keep_names_directions_and_order():
    """Points carry what the frame and the objectives say, in their order."""
    found = points(trials(o_y=[1.0, 2.0], o_x=[3.0, 4.0]), TWO)
    assert found.trial_ids == ("t0", "t1")
    assert found.names == ("x", "y")
    np.testing.assert_array_equal(found.gains, [[3.0, -1.0], [4.0, -2.0]])
    np.testing.assert_array_equal(found.values, [[3.0, 1.0], [4.0, 2.0]])
