"""Dominance, the front of a set of points, and the hypervolume they dominate (by moocore).

Everything here compares gains: objective values with the sign that makes larger better.
"""

from collections.abc import Mapping, Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mopoe.errors import ConfigError
from sweep.analysis.points import Points
from sweep.config.objectives import Objective, gains, names


def dominates(gains_a: ArrayLike, gains_b: ArrayLike) -> NDArray[np.bool_]:
    """Return whether a is at least as good as b in every objective and better in one.

    Args:
        gains_a: gains with the objectives on the last axis; the other axes broadcast.
        gains_b: those that they are compared with.

    >>> bool(dominates([0.6, 3.0], [0.5, 3.0])), bool(dominates([0.6, 3.0], [0.6, 3.0]))
    (True, False)
    """
    a, b = np.asarray(gains_a), np.asarray(gains_b)
    return np.asarray((a >= b).all(-1) & (a > b).any(-1), dtype=np.bool_)


def front_mask(points: Points) -> NDArray[np.bool_]:
    """Return whether no other point dominates a point, [N]; exact ties on the front all stay on it.

    >>> values = np.array([[0.8, -20.0], [0.5, -10.0], [0.4, -15.0]])
    >>> pair = Objective(name="x"), Objective(name="y")
    >>> front_mask(Points(trial_ids=("a", "b", "c"), values=values, objectives=pair))
    array([ True,  True, False])
    """
    if not points.trial_ids:
        return np.zeros(0, dtype=np.bool_)
    mask = moocore.is_nondominated(points.gains, maximise=True, keep_weakly=True)
    return np.asarray(mask, dtype=np.bool_)


def hypervolume(points: Points, reference: Mapping[str, float]) -> float:
    """Return the volume between the front and the reference point, in the product of the objectives' units.

    A point that is not better than the reference in every objective adds nothing; no points give 0.

    >>> pair = Objective(name="x"), Objective(name="y")
    >>> some = Points(trial_ids=("a", "b"), values=np.array([[0.8, -20.0], [0.5, -10.0]]), objectives=pair)
    >>> round(hypervolume(some, {"x": 0.0, "y": -30.0}), 6)
    13.0
    """
    if not points.trial_ids:
        return 0.0
    corner = gains([reference[name] for name in points.names], points.objectives)
    return float(moocore.hypervolume(points.gains, ref=corner, maximise=True))


def dominated(points: Points, others: Points) -> NDArray[np.bool_]:
    """Return whether one of the others dominates a point, [N].

    The share of a front that another dominates is its coverage (Zitzler and Thiele 1999, here without ties).

    >>> pair = Objective(name="x"), Objective(name="y")
    >>> some = Points(trial_ids=("a", "b"), values=np.array([[0.8, 1.0], [0.5, 3.0]]), objectives=pair)
    >>> dominated(some, Points(trial_ids=("c",), values=np.array([[0.6, 3.0]]), objectives=pair))
    array([False,  True])
    """
    front = others.gains[front_mask(others)]
    return np.asarray(dominates(front[None], points.gains[:, None]).any(-1), dtype=np.bool_)


def common_corner(
    one: Mapping[str, float], other: Mapping[str, float], objectives: Sequence[Objective]
) -> dict[str, float]:
    """Return the best corner that both reference points are at least as good as.

    >>> pair = Objective(name="x"), Objective(name="y", direction="minimize")
    >>> common_corner({"x": 0.1, "y": 9.0}, {"x": 0.2, "y": 10.0}, pair)
    {'x': 0.1, 'y': 10.0}
    """
    return {o.name: (min if o.maximize else max)(one[o.name], other[o.name]) for o in objectives}


def bound_text(objective: Objective, value: float) -> str:
    """Return a bound on an objective in words.

    >>> bound_text(Objective(name="seconds", direction="minimize"), 60.0)
    'seconds of at most 60'
    """
    return f"{objective.name} of at {'least' if objective.maximize else 'most'} {value:g}"


def best_above(points: Points, bounds: Mapping[str, float]) -> str:
    """Return the trial of the config that is best in the first objective without a bound.

    Args:
        points: the configs.
        bounds: the worst value accepted, by objective; if all have one, the first objective decides.

    Raises:
        ConfigError: no config keeps all bounds; the message names the best value of each.

    >>> values = np.array([[0.8, -20.0], [0.5, -10.0], [0.7, -15.0]])
    >>> pair = Objective(name="x"), Objective(name="y")
    >>> best_above(Points(trial_ids=("a", "b", "c"), values=values, objectives=pair), {"x": 0.6})
    'c'
    """
    at = {name: points.names.index(name) for name in bounds}
    worst = gains(list(bounds.values()), [points.objectives[i] for i in at.values()])
    rows = np.flatnonzero((points.gains[:, list(at.values())] >= worst).all(axis=1))
    if not rows.size:
        wanted = " and ".join(bound_text(points.objectives[i], bounds[name]) for name, i in at.items())
        tops = {name: int(np.argmax(points.gains[:, i])) for name, i in at.items() if points.trial_ids}
        best = [
            f"{name} {points.values[i, at[name]]:.5g} ({points.trial_ids[i]})" for name, i in tops.items()
        ]
        reached = f"; the best reached: {', '.join(best)}" if best else "; none has completed yet"
        raise ConfigError(f"no config reaches {wanted}{reached}")
    free = [i for i, name in enumerate(names(points.objectives)) if name not in bounds] or [0]
    return points.trial_ids[int(rows[np.argmax(points.gains[rows, free[0]])])]
