import math

import numpy as np
import polars as pl
import pytest

from sweep.analysis.points import by_config, last_evaluation, over_replicates, points, usable_trials
from sweep.config.constraints import limit
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


def test_last_evaluation_is_the_last_epoch_of_the_last_attempt():
    """An earlier attempt that got further does not count, nor do earlier epochs."""
    frame = pl.DataFrame(
        {
            "trial_id": ["a", "a", "a", "a", "b"],
            "attempt": [0, 0, 1, 1, 0],
            "epoch": [5, 10, 2, 4, 1],
            "value": [1, 2, 3, 4, 5],
        }
    )
    assert last_evaluation(frame)["value"].to_list() == [4, 5]


def test_a_config_is_compared_whole():
    """A config of which a seed was stopped or failed is left out; one whose seed still runs is not."""
    frame = trials(
        config_id=["a", "a", "a", "b", "b", "c", "c", "d", "d"],
        seed=[0, 1, 2, 0, 1, 0, 1, 0, 0],
        status=[
            "completed",
            "stopped",
            "completed",
            "completed",
            "failed",
            "completed",
            "running",
            "failed",
            "completed",
        ],
        o_x=[0.98, 0.725, 0.99, 1.0, None, 2.0, None, None, 3.0],
        o_y=[1.0, 1.0, 1.0, 1.0, None, 1.0, None, None, 1.0],
    )
    assert usable_trials(frame, TWO)["trial_id"].to_list() == ["t5", "t8"]


def test_constraints_are_on_means_over_seeds():
    """Of three seeds one is lucky and feasible; the mean is not, and the config is left out."""
    frame = trials(
        config_id=["a"] * 3 + ["b"] * 3,
        seed=[0, 1, 2] * 2,
        status=["completed", "infeasible", "infeasible", "completed", "completed", "infeasible"],
        o_x=[0.85, 0.7, 0.6, 0.9, 0.9, 0.75],
        o_y=[1.0] * 6,
        n_parameters=[10] * 6,
    )
    found = by_config(usable_trials(frame, TWO, [limit("x", ">= 0.8"), limit("parameters", "<= 10")]), TWO)
    assert found.select("config_id", "seeds").rows() == [("b", 3)]
    assert math.isclose(found["o_x"][0], 0.85)
    assert usable_trials(frame, TWO, [limit("seconds", "<= 10")]).height == 0
    unknown = frame.with_columns(o_joint_coherence=pl.lit(math.nan))
    for bound in (">= 0.1", "<= 0.9"):
        assert usable_trials(unknown, TWO, [limit("joint_coherence", bound)]).height == 0


def test_measurements_are_means_over_the_seeds_of_a_config():
    """Under the trial of the lowest seed, each subset alone; trials that are not usable are left out."""
    usable = pl.DataFrame({"trial_id": ["b", "a", "c"], "config_id": ["x", "x", "y"], "seed": [1, 0, 0]})
    rows = pl.DataFrame(
        {
            "trial_id": ["a", "a", "b", "b", "c", "d"],
            "mask": [1, 2, 1, 2, 1, 1],
            "value": [0.2, 0.4, 0.4, 1.0, 0.9, 0.0],
            "stderr": [0.1, 0.1, 0.3, 0.2, None, 0.1],
            "label": ["m0", "m1", "m0", "m1", "m0", "m0"],
        }
    )
    found = over_replicates(rows, usable, ["mask"])
    assert found.select("trial_id", "mask", "label").rows() == [
        ("a", 1, "m0"),
        ("a", 2, "m1"),
        ("c", 1, "m0"),
    ]
    assert found["value"].to_list() == pytest.approx([0.3, 0.7, 0.9])
    assert found["stderr"].to_list() == [pytest.approx(0.2), pytest.approx(0.15), None]
