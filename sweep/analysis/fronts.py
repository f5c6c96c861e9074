"""The front of a set of points, and the hypervolume they dominate; both by moocore."""

from collections.abc import Mapping

import moocore
import numpy as np
from numpy.typing import NDArray

from mopoe.errors import ConfigError
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


def dominated(points: Points, others: Points) -> NDArray[np.bool_]:
    """Return whether one of the others is at least as good as a point in every objective and better in one.

    The share of a front that another dominates is its coverage (Zitzler and Thiele 1999, here without ties).

    >>> same = {"names": ("x", "y"), "maximize": (True, True)}
    >>> some = Points(trial_ids=("a", "b"), values=np.array([[0.8, 1.0], [0.5, 3.0]]), **same)
    >>> dominated(some, Points(trial_ids=("c",), values=np.array([[0.6, 3.0]]), **same))
    array([False,  True])
    """
    signs = np.where(points.maximize, 1.0, -1.0)
    mine = (points.values * signs)[:, None]
    theirs = (others.values[front_mask(others)] * signs)[None]
    return np.asarray(((theirs >= mine).all(-1) & (theirs > mine).any(-1)).any(-1), dtype=np.bool_)


def common_corner(
    one: Mapping[str, float], other: Mapping[str, float], maximize: Mapping[str, bool]
) -> dict[str, float]:
    """Return the corner that both reference points are at least as good as.

    >>> common_corner({"x": 0.1, "y": -9.0}, {"x": 0.2, "y": -10.0}, {"x": True, "y": True})
    {'x': 0.1, 'y': -10.0}
    """
    return {n: (min if up else max)(one[n], other[n]) for n, up in maximize.items()}


def best_above(points: Points, least: Mapping[str, float]) -> str:
    """Return the trial whose config is best in the first objective without a bound, among those above all.

    Args:
        points: the configs.
        least: the smallest value accepted, by objective; if all have one, the first objective decides.

    Raises:
        ConfigError: no config reaches all bounds; the message names the best value of each.

    >>> values = np.array([[0.8, -20.0], [0.5, -10.0], [0.7, -15.0]])
    >>> some = Points(trial_ids=("a", "b", "c"), values=values, names=("x", "y"), maximize=(True, True))
    >>> best_above(some, {"x": 0.6})
    'c'
    """
    column = {name: points.values[:, i] for i, name in enumerate(points.names)}
    rows = np.flatnonzero(np.all([column[name] >= value for name, value in least.items()], axis=0))
    if not rows.size:
        wanted = " and ".join(f"{name} of at least {value:g}" for name, value in least.items())
        tops = {name: int(np.argmax(column[name])) for name in least} if points.trial_ids else {}
        best = [f"{name} {column[name][i]:.5g} ({points.trial_ids[i]})" for name, i in tops.items()]
        reached = f"; the best reached: {', '.join(best)}" if best else "; none has completed yet"
        raise ConfigError(f"no config reaches {wanted}{reached}")
    free = [i for i, name in enumerate(points.names) if name not in least] or [0]
    gains = points.values[rows, free[0]] * (1.0 if points.maximize[free[0]] else -1.0)
    return points.trial_ids[int(rows[np.argmax(gains)])]
