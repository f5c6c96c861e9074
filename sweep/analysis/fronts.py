"""The front of a set of points, and the hypervolume they dominate; both by moocore."""

from collections.abc import Mapping

import moocore
import numpy as np
from numpy.typing import NDArray

from sweep.analysis.points import Points


def front_mask(points: Points) -> NDArray[np.bool_]:
    """Return whether no other point dominates a point, [N]; exact ties on the front all stay on it.

    >>> values = np.array([[0.8, -20.0], [0.5, -10.0], [0.4, -15.0]])
    >>> front_mask(Points(trial_ids=("a", "b", "c"), values=values, names=("x", "y"), maximize=(True, True)))
    array([ True,  True, False])
    """
    if not points.trial_ids:
        return np.zeros(0, dtype=np.bool_)
    found = moocore.is_nondominated(points.values, maximise=list(points.maximize), keep_weakly=True)
    return np.asarray(found, dtype=np.bool_)


def hypervolume(points: Points, reference: Mapping[str, float]) -> float:
    """Return the volume between the front and the reference point, in the product of the objectives' units.

    A point that is not better than the reference in every objective adds nothing; no points give 0.

    >>> values = np.array([[0.8, -20.0], [0.5, -10.0]])
    >>> pair = Points(trial_ids=("a", "b"), values=values, names=("x", "y"), maximize=(True, True))
    >>> round(hypervolume(pair, {"x": 0.0, "y": -30.0}), 6)
    13.0
    """
    if not points.trial_ids:
        return 0.0
    corner = [reference[name] for name in points.names]
    return float(moocore.hypervolume(points.values, ref=corner, maximise=list(points.maximize)))
