"""What a sampler remembers of a long sweep, so that its suggestions stay cheap.

Optuna's model-based samplers look at every trial for every suggestion. Once there are more than they can
afford, the better half of the completed ones stays whole and every second one of the rest goes: the front and
all that comes near it are kept, and the rest of the space is remembered ever more coarsely with age.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

AFFORDED = {"tpe": 1000, "gp": 200}
"""Trials that a sampler looks at by its name; the others cost next to nothing."""


def thinned(trials: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
    """Return, in their order, the better half of the completed trials and every second one of the rest.

    Those that meet their constraints come first, then those of a lower front rank, all objectives maximised;
    of equals the newer ones. Failed trials tell a sampler nothing and go.
    """
    import moocore
    from optuna.trial import TrialState

    trials = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    done = [i for i, t in enumerate(trials) if t.state == TrialState.COMPLETE]
    better = set[int]()
    if done:
        rank = moocore.pareto_rank(np.array([trials[i].values for i in done]), maximise=True)
        missed = [sum(max(0.0, excess) for excess in trials[i].constraints.values()) for i in done]
        order = np.lexsort((-np.arange(len(done)), rank, np.array(missed)))
        better = {done[i] for i in order[: (len(done) + 1) // 2]}
    rest = [i for i in range(len(trials)) if i not in better]
    return [trials[i] for i in sorted(better | set(rest[1::2]))]
