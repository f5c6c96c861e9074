"""The front that is kept as trials end, against the front of all at once."""

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.search.front import Front
from sweep.search.outcome import Ended, replicate_name

NAMES = ("x", "y")
CORNER = {"x": -1.0, "y": -1.0}


def ended(name, x, y, status="completed"):
    """Return a trial that ended with two objectives."""
    return Ended(trial_id=name, status=status, objectives={"x": x, "y": y, "parameters": 9.0})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 4)), max_size=14))
def test_after_every_trial_the_front_is_that_of_all_at_once(trials):
    """Configs, exact ties and volume are moocore's for the means over seeds, though seeds move a config."""
    front, seeds = Front(NAMES, CORNER), {}
    for config, x, y in trials:
        mine = seeds.setdefault(f"t{config:04}", [])
        front.add(ended(replicate_name(f"t{config:04}", len(mine)), float(x), float(y)))
        mine.append((x, y))
        means = np.array([np.mean(found, axis=0) for found in seeds.values()])
        on = moocore.is_nondominated(means, maximise=True, keep_weakly=True)
        assert front.configs == {name for name, is_on in zip(seeds, on, strict=True) if is_on}
        assert front.volume == pytest.approx(moocore.hypervolume(means, ref=[-1, -1], maximise=True))


def test_only_completed_trials_count():
    """A trial that failed or was stopped is no point."""
    front = Front(NAMES, CORNER)
    for name, status in (("t0000", "failed"), ("t0001", "stopped"), ("t0002", "infeasible")):
        front.add(ended(name, 9.0, 9.0, status))
    assert (front.configs, front.volume) == (frozenset(), 0.0)
    front.add(ended("t0000-s1", 1.0, 1.0))
    assert (front.configs, front.volume) == ({"t0000"}, 4.0)
