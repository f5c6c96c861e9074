import csv
import re

import polars as pl
import pytest

from sweep.store.export import bounds, export_csv, export_deepcave, parameter
from sweep.store.read import Store, open_store
from sweep.store.schema import TABLES


def rows(path):
    """Return a CSV file's rows as dictionaries of text."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_table_is_a_csv_file(make_sweep, tmp_path):
    """Row counts and values are those of the tables; labels are words with spaces, pictures are left out."""
    store = Store(make_sweep(tmp_path / "x"))
    paths = export_csv(store, tmp_path / "csv")
    assert [path.stem for path in paths] == list(TABLES)
    for path in paths:
        assert len(rows(path)) == store.table(path.stem).collect().height
    found = {row["trial_id"]: row for row in rows(tmp_path / "csv" / "trials.csv")}
    assert found["t0000"]["o_log_likelihood"] == "-1500.0"
    assert found["t0003"]["o_log_likelihood"] == ""
    strips = rows(tmp_path / "csv" / "samples.csv")
    assert "png" not in strips[0]
    assert {row["labels"] for row in strips if row["kind"] == "input"} == {"3 1 4 1 5 9 2 6"}


def test_deepcave_run_has_the_columns_that_it_reads(made_up_sweep, tmp_path):
    """Ended trials with metrics, times, budget and seed; parameters with bounds that hold every value."""
    assert export_deepcave(open_store(made_up_sweep), tmp_path) == 0
    trials = rows(tmp_path / "trials.csv")
    assert len(trials) == 10  # the eleventh runs
    assert list(trials[0]) == [
        "config_id",
        "beta",
        "latent_dim",
        "prior_expert",
        "metric:conditional_coherence [0; 1] (maximize)",
        "metric:log_likelihood [-1640; -1480] (maximize)",
        "status",
        "start_time",
        "end_time",
        "budget",
        "seed",
        "trial_id",
    ]
    # The pattern by which DeepCAVE finds objectives.
    pattern = r"metric:(\w+) \[(-?\d+\.?\d*|[-+]inf); (-?\d+\.?\d*|[-+]inf)\] \((\w+)\)"
    assert [re.match(pattern, name)[1] for name in trials[0] if name.startswith("metric")] == [
        "conditional_coherence",
        "log_likelihood",
    ]
    status = {row["trial_id"]: row["status"] for row in trials}
    assert (status["t00"], status["t08"], status["t09"]) == ("success", "crashed", "aborted")
    assert float(trials[0]["end_time"]) - float(trials[0]["start_time"]) == 40
    space = {row["name"]: row for row in rows(tmp_path / "configspace.csv")}
    assert {name: row["type"] for name, row in space.items()} == {
        "beta": "float",
        "latent_dim": "integer",
        "prior_expert": "categorical",
    }
    assert [space["prior_expert"][f"item_{i}"] for i in range(3)] == ["all", "full", "none"]
    for name in ("beta", "latent_dim"):
        low, high = float(space[name]["lower"]), float(space[name]["upper"])
        assert all(low <= float(row[name]) <= high for row in trials)


def test_parameter_that_was_not_searched_is_left_out(make_sweep, tmp_path):
    """A setting that is the same in all trials is no parameter."""
    export_deepcave(Store(make_sweep(tmp_path / "x")), tmp_path)
    assert [row["name"] for row in rows(tmp_path / "configspace.csv")] == ["beta", "latent_dim"]


@pytest.mark.parametrize(
    ("values", "space", "expected"),
    [
        ([0.25, 0.5], {"type": "uniform", "low": 0.1, "high": 1.0}, ("float", False, 0.1, 1.0)),
        ([0.25, 2.5], {"type": "log_uniform", "low": 0.1, "high": 1.0}, ("float", True, 0.1, 2.5)),
        ([0.483738530099748, 0.5], {"type": "simplex"}, ("float", False, 0.0, 1.0)),
        ([0.483738530099748, 0.5], {}, ("float", False, 0.483738530099, 0.5)),
        ([16, 64], {"type": "int", "low": 8, "high": 128, "log": True}, ("integer", True, 8, 128)),
    ],
)
def test_bounds_are_those_of_the_space_and_hold_the_values(values, space, expected):
    """Wider where a value lies outside, and never cut by rounding."""
    found = parameter(pl.Series("p_x", values), space)
    assert (found["type"], found["log"], found["lower"], found["upper"]) == expected
    assert found["default"] == values[0]


def test_words_that_pandas_takes_for_something_else_are_replaced(make_record, tmp_path):
    """Choices stored as JSON become words that stay text in pandas."""
    from sweep.store.write import StoreWriter

    store = Store(tmp_path / "x")
    end = make_record().started_at
    for i, value in enumerate(("true", "false")):
        record = make_record(f"t{i}", status="failed", ended_at=end, parameters={"unimodal_elbos": value})
        StoreWriter(tmp_path / "x").write_trial(record)
    store.manifest = type("Plain", (), {"objectives": (), "spec": {}})()
    export_deepcave(store, tmp_path)
    assert {row["unimodal_elbos"] for row in rows(tmp_path / "trials.csv")} == {"yes", "no"}


def test_objectives_bounds_are_finite_and_differ():
    """Values that are not finite do not count; one value alone has room."""
    assert bounds(pl.Series([-7172.3, float("inf"), -6738.1])) == "[-7173; -6738]"
    assert bounds(pl.Series([2.0])) == "[2; 3]"
    assert bounds(pl.Series([None], dtype=pl.Float64)) == "[0; 1]"
