"""The front that is kept as trials end, against the front of all at once."""

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_records import NAMES

from sweep.config.objectives import Objective
from sweep.search.front import Front

OBJECTIVES = [Objective(name=name) for name in NAMES]
CORNER = dict.fromkeys(NAMES, -1.0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 4)), max_size=14))
def test_after_every_trial_the_front_is_that_of_all_at_once(trials):
    """Configs, exact ties and volume are moocore's for the means over seeds, which move or end a config."""
    front, seeds = Front(OBJECTIVES, CORNER), {}
    for config, x, y in trials:
        mine = seeds.setdefault(f"t{config:04}", [])
        mine.append((x, y))
        gone = len(mine) == 4  # a seed of it was stopped early
        front.place(f"t{config:04}", None if gone else tuple(map(float, np.mean(mine, axis=0))))
        if gone:
            del seeds[f"t{config:04}"]
        means = np.array([np.mean(found, axis=0) for found in seeds.values()]).reshape(-1, 2)
        on = moocore.is_nondominated(means, maximise=True, keep_weakly=True) if len(means) else []
        assert front.configs == {name for name, is_on in zip(seeds, on, strict=True) if is_on}
        volume = moocore.hypervolume(means, ref=[-1, -1], maximise=True) if len(means) else 0.0
        assert front.volume == pytest.approx(volume)
