"""Whose weights stay when trials end."""

import pytest

from sweep.running.recorder import kept_trials
from sweep.search.outcome import Ended
from sweep.spec.sweep_spec import load_spec


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("front", {"t0000", "t0000-s1", "t0002"}),
        ("all", {"t0000", "t0000-s1", "t0001", "t0002"}),
        ("none", set()),
    ],
)
def test_weights_are_kept_by_config(sweep_file, keep, kept):
    """All completed seeds of a config on the front stay, or of every config, or none; no failed one."""
    points = {"t0000": (2, 0), "t0000-s1": (0, 2), "t0001": (0.9, 0.9), "t0002": (0, 3)}
    names = ("conditional_coherence", "log_likelihood")
    ended = [
        Ended(trial_id=t, status="completed", objectives=dict(zip(names, p, strict=True)))
        for t, p in points.items()
    ]
    ended.append(Ended(trial_id="t0002-s1", status="failed", objectives={}))
    assert kept_trials(load_spec(sweep_file, [f"keep={keep}"]), ended) == kept
