"""Trials' records in a line each, for tests of what comes next."""

import json
from datetime import UTC, datetime

from sweep.search.state import SweepState
from sweep.search.trial import SuggestedTrial, split_name
from sweep.store.records import TrialRecord

NAMES = ("conditional_coherence", "log_likelihood")
START = datetime(2026, 1, 2, tzinfo=UTC)


def record(name, x=0.0, y=0.0, status="completed", suggestion=None, **more):
    """Return the record of a trial that ended at a point of two objectives, or otherwise."""
    config, seed = split_name(name)
    measured = dict(zip(NAMES, (x, y), strict=True)) if status != "failed" else {}
    given = {
        "attempt": 0,
        "epochs": 2,
        "epochs_max": 2,
        "started_at": START,
        "ended_at": None if status == "running" else START,
        "config_json": "{}",
        "objectives": measured,
    } | more
    return TrialRecord(
        trial_id=name,
        config_id=config,
        seed=seed,
        status=status,
        suggestion_json=json.dumps(suggestion or {}),
        **given,
    )


def state_of(spec, ended=(), running=(), cut_off=()):
    """Return the state of a sweep with these records of ended trials, and the names of others."""
    state = SweepState.resumed(spec, [*ended, *(record(name, status="running") for name in cut_off)])
    for name in running:
        state.begin(SuggestedTrial(trial_id=name, attempt=0, suggestion={}))
    return state
