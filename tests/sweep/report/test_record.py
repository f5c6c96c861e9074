"""The cards of what went wrong, and of what is needed to repeat a sweep, from a made-up one."""

import pytest

from sweep.report.record import failure_card, provenance_card
from sweep.report.view import view
from sweep.store.read import open_store


@pytest.fixture(scope="module")
def seen(made_up_sweep):
    """Give the view of the made-up sweep."""
    return view(open_store(made_up_sweep))


def test_failure_card_lists_failed_and_stopped(seen):
    """Failed and stopped trials are listed with reasons; a trial that a retry saved is not."""
    card = failure_card(seen)
    assert card.finding == "1 of 11 trials failed: the loss is nan at step 5 (1 trial)."
    assert card.table.rows() == [
        ("failed", "t08", 0, 1, "the loss is nan at step 5"),
        ("stopped", "t09", 0, 5, "rung 5: last of 3"),
    ]


def test_provenance_card(seen):
    """Sweep, time, data, revision, seeds, classifiers, versions and the spec are told."""
    card = provenance_card(seen)
    assert card.finding == (
        "Sweep digits-20260102 began at 2026-01-02T03:04:05+00:00 on the data set digits, from revision "
        "abc1234; seeds of its trials: 0, 1. Held-out accuracy of the classifiers that judge coherence: "
        "m0 0.970, m1 0.970, m2 0.970."
    )
    assert card.table.rows() == [("mopoe-sweep", "0.1.0"), ("torch", "2.9.0")]
    assert "search_space:\n  beta:\n    type: log_uniform\n    low: 0.5\n" in card.figure_html
