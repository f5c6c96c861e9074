"""Which trials go on at a rung: asynchronous successive halving with any number of objectives.

With one objective this is the stopping rule of ASHA (Li et al. 2020, A System for Massively Parallel
Hyperparameter Tuning): a newcomer goes on if it is among the best 1/eta of all that have come so far. With
several, trials are ordered by the rank of their front and, within a front, as an epsilon-net (Schmucker et
al. 2021, Multi-objective Asynchronous Successive Halving): each next point is the one farthest from those
before it, so that what goes on covers the front. Axes: D distinct vectors, N trials, O objectives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, ...]
Decision = Literal["continue", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was decided about a newcomer, and from what."""

    decision: Decision
    """Whether it goes on."""
    rank: int
    """Rank of its front: 0 if no trial at the rung dominates it."""
    ahead: int
    """Trials at the rung that come before it in the order."""
    compared_to: int
    """Trials at the rung, itself not counted."""


def decide(
    newcomer: str, recorded: Mapping[str, Sequence[float]], maximize: Sequence[bool], eta: float
) -> Verdict:
    """Return whether a trial goes on, given the objectives of all that have reached its rung, its own too.

    It goes on if fewer than N / eta of the N trials come before it. So the first to come always goes on, and
    a trial on the front does if the front is no larger than the share that goes on. A trial with an objective
    that is not finite comes after all others and never goes on. Exact ties share a place in the order:
    repeating every trial the same number of times changes nothing.

    >>> recorded = {"a": (0.5, -9.0), "b": (0.7, -8.0), "c": (0.4, -9.5)}
    >>> [decide(name, recorded, (True, True), eta=3).decision for name in recorded]
    ['stop', 'continue', 'stop']
    """
    ids = list(recorded)
    values_NO = np.array([recorded[name] for name in ids], dtype=np.float64)
    gain_NO = np.where(np.asarray(maximize), values_NO, -values_NO)
    rank_N, ahead_N = ordering(gain_NO)
    mine = ids.index(newcomer)
    good = bool(np.isfinite(gain_NO[mine]).all()) and ahead_N[mine] * eta < len(ids)
    return Verdict(
        decision="continue" if good else "stop",
        rank=int(rank_N[mine]),
        ahead=int(ahead_N[mine]),
        compared_to=len(ids) - 1,
    )


def ordering(gain_NO: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rank of each trial's front and the number of trials that come before it, both [N].

    Larger is better in every column. Distances within a front are between the objectives' ranks among all
    trials, scaled to 0..1: no unit and no monotone rescaling of an objective matters.

    >>> rank_N, ahead_N = ordering(np.array([[3.0, 3], [0, 1], [1, 0], [2, 2], [3, 3]]))
    >>> rank_N.tolist(), ahead_N.tolist()
    ([0, 2, 2, 1, 0], [0, 4, 3, 2, 0])
    """
    import moocore

    finite_N = np.isfinite(gain_NO).all(1)
    rank_N = np.zeros(len(gain_NO), dtype=np.int64)
    ahead_N = np.full(len(gain_NO), finite_N.sum(), dtype=np.int64)
    if finite_N.any():
        gain_NO = gain_NO[finite_N]
        levels_NO = np.stack([np.unique(gain, return_inverse=True)[1] for gain in gain_NO.T], axis=1)
        level_DO, twin_N, count_D = np.unique(levels_NO, axis=0, return_inverse=True, return_counts=True)
        # Of the levels, not of the values: two values may differ by less than another scale can show.
        rank_D = np.asarray(moocore.pareto_rank(level_DO.astype(np.float64), maximise=True))
        scaled_DO = level_DO / np.maximum(level_DO.max(0), 1)
        order: list[int] = []
        for rank in range(rank_D.max() + 1):
            (front,) = np.nonzero(rank_D == rank)
            order += front[epsilon_net(scaled_DO[front])].tolist()
        ahead_D = np.empty(len(order), dtype=np.int64)
        ahead_D[order] = np.cumsum(count_D[order]) - count_D[order]
        twin_N = twin_N.reshape(-1)  # NumPy 2.0 gives it another shape
        rank_N[finite_N], ahead_N[finite_N] = rank_D[twin_N], ahead_D[twin_N]
    rank_N[~finite_N] = rank_N.max(initial=-1, where=finite_N) + 1
    return rank_N, ahead_N


def epsilon_net(points_NO: NDArray[np.float64]) -> list[int]:
    """Return the order in which points cover their set: first the best balanced, then ever the farthest.

    The first has the largest sum, and each next one the largest distance to its nearest predecessor. Ties go
    to the larger sum, then to the larger first objective, and so on: never to the place in the list.

    >>> epsilon_net(np.array([[0.0, 1.0], [0.5, 0.6], [0.25, 0.75], [1.0, 0.0]]))
    [1, 3, 0, 2]
    """
    # From here on the place in the list is the order of preference.
    preferred = np.lexsort((*(-points_NO.T[::-1]), -points_NO.sum(1)))
    points_NO = points_NO[preferred]
    order = [0]
    distance_N = _squared(points_NO, 0)
    for _ in range(1, len(points_NO)):
        order.append(int(distance_N.argmax()))
        distance_N = np.minimum(distance_N, _squared(points_NO, order[-1]))
        distance_N[order] = -1
    return [int(i) for i in preferred[order]]


def _squared(points_NO: NDArray[np.float64], i: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = ((points_NO - points_NO[i]) ** 2).sum(1)
    return found
