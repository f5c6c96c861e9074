import math

import polars as pl
import pytest

from sweep.analysis.summaries import coherence_by_size, last_evaluation, metrics_by_size, pair_interval
from sweep.store.read import open_store


def test_coherence_by_size_leaves_out_observed_targets(made_up_sweep):
    """Mean coherence of one trial grows as made up, over the pairs whose target was not observed."""
    found = coherence_by_size(open_store(made_up_sweep).pair_coherence().collect()).filter(trial_id="t03")
    assert found["source_size"].to_list() == [1, 2]
    assert found["pairs"].to_list() == [6, 3]
    assert all(math.isclose(v, e) for v, e in zip(found["value"], [0.78, 0.80], strict=True))
    assert all(math.isclose(c, 0.12) for c in found["chance"])


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


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 1), (7, 20), (250, 250), (499, 1000)])
def test_interval_of_an_accuracy_is_wilsons(right, n):
    """The share is 1.96 standard errors from its ends, by their own errors; no measure is an accuracy."""
    share, z = right / n, 1.959964
    low, high = pair_interval(share, 0.0, n, "accuracy")
    for end in {low, high} - {0.0, 1.0}:
        assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n), rel=1e-4)
    assert low <= share <= high
    assert pair_interval(share, 0.0, n, None) == (low, high)


def test_an_average_precision_has_the_interval_of_its_standard_error():
    """Within 0..1."""
    assert pair_interval(0.5, 0.1, 40, "average_precision") == pytest.approx((0.304, 0.696), abs=1e-3)
    assert pair_interval(0.99, 0.1, 40, "average_precision")[1] == 1.0
