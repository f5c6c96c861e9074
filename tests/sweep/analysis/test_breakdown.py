import math

import polars as pl

from sweep.analysis.breakdown import coherence_by_size, last_evaluation
from sweep.store.read import open_store


def test_coherence_by_size_leaves_out_observed_targets(made_up_sweep):
    """Mean coherence of one trial grows as made up, over the pairs whose target was not observed."""
    found = coherence_by_size(open_store(made_up_sweep).pair_coherence().collect()).filter(trial_id="t03")
    assert found["source_size"].to_list() == [1, 2]
    assert found["pairs"].to_list() == [6, 3]
    assert all(math.isclose(v, e) for v, e in zip(found["value"], [0.78, 0.80], strict=True))
    assert all(math.isclose(c, 0.12) for c in found["chance"])


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
