"""Which trials go on at a rung: asynchronous successive halving with any number of objectives.

With one objective this is the stopping rule of ASHA (Li et al. 2020, A System for Massively Parallel
Hyperparameter Tuning): a newcomer goes on if it is among the best 1/eta of all that have come so far. With
several, trials are ordered by the rank of their front and, within a front, as an epsilon-net (Schmucker et
al. 2021, Multi-objective Asynchronous Successive Halving): each next point is the one farthest from those
before it, so that what goes on covers the front. Axes: D distinct vectors, N trials, O objectives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, ...]
Decision = Literal["continue", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RungDecision:
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
) -> RungDecision:
    """Return whether a trial goes on, given the objectives of all that have reached its rung, its own too.

    It goes on if fewer than N / eta of the N trials come before it. So the first to come always goes on, and
    a trial on the front does if the front is no larger than the share that goes on. A trial with an objective
    that is not finite comes after all others and never goes on. Exact ties share a place in the order:
    repeating every trial the same number of times changes nothing.

    >>> recorded = {"a": (0.5, -9.0), "b": (0.7, -8.0), "c": (0.4, -9.5)}
    >>> [decide(name, recorded, (True, True), eta=3).decision for name in recorded]
    ['stop', 'continue', 'stop']
    """
    gain_NO = np.array(list(recorded.values()), dtype=np.float64)
    gain_NO = np.where(np.asarray(maximize), gain_NO, -gain_NO)
    finite_N = np.asarray(np.isfinite(gain_NO).all(1), dtype=np.bool_)
    mine = list(recorded).index(newcomer)
    finite = bool(finite_N[mine])
    kept_NO = gain_NO[finite_N]
    rank, ahead = place(kept_NO, int(finite_N[:mine].sum())) if finite else _behind(kept_NO)
    good = finite and ahead * eta < len(gain_NO)
    return RungDecision(
        decision="continue" if good else "stop", rank=rank, ahead=ahead, compared_to=len(gain_NO) - 1
    )


def place(gain_NO: NDArray[np.float64], mine: int) -> tuple[int, int]:
    """Return the rank of one trial's front and the number of trials that come before it.

    Larger is better in every column. Distances within a front are between the objectives' ranks among all
    trials, scaled to 0..1: no unit and no monotone rescaling of an objective matters.

    >>> gain_NO = np.array([[3.0, 3], [0, 1], [1, 0], [2, 2], [3, 3]])
    >>> [place(gain_NO, mine) for mine in range(5)]
    [(0, 0), (2, 4), (2, 3), (1, 2), (0, 0)]
    """
    # Of the levels, not of the values: two values may differ by less than another scale can show.
    levels_NO = np.stack([np.unique(gain, return_inverse=True)[1] for gain in gain_NO.T], axis=1)
    rank_N = _ranks(levels_NO)
    front_NO = levels_NO[rank_N == rank_N[mine]]
    level_DO, count_D = np.unique(front_NO, axis=0, return_counts=True)
    me = int((level_DO == levels_NO[mine]).all(1).argmax())
    before = epsilon_net(level_DO / np.maximum(levels_NO.max(0), 1), until=me)[:-1]
    return int(rank_N[mine]), int((rank_N < rank_N[mine]).sum() + count_D[before].sum())


def _behind(gain_NO: NDArray[np.float64]) -> tuple[int, int]:
    """Return the place behind all of these trials."""
    return (int(_ranks(gain_NO).max()) + 1, len(gain_NO)) if len(gain_NO) else (0, 0)


def _ranks(gain_NO: NDArray[Any]) -> NDArray[np.int64]:
    import moocore

    return np.asarray(moocore.pareto_rank(gain_NO.astype(np.float64), maximise=True))


def epsilon_net(points_NO: NDArray[np.float64], until: int | None = None) -> list[int]:
    """Return the greedy farthest-point order of points, starting from the largest sum.

    Each next point has the largest distance to its nearest predecessor; with `until` the order ends with that
    point. Ties go to the larger sum, then to the larger first objective, and so on: never to the place in the
    list.

    >>> epsilon_net(np.array([[0.0, 1.0], [0.5, 0.6], [0.25, 0.75], [1.0, 0.0]]))
    [1, 3, 0, 2]
    """
    # From here on the place in the list is the order of preference.
    preferred = np.lexsort((*(-points_NO.T[::-1]), -points_NO.sum(1)))
    points_ON = np.ascontiguousarray(points_NO[preferred].T)
    distance_N = np.full(len(preferred), np.inf)
    order: list[int] = []
    for _ in preferred:
        order.append(int(distance_N.argmax()))
        if preferred[order[-1]] == until:
            break
        apart_ON = points_ON - points_ON[:, order[-1:]]
        np.minimum(distance_N, np.einsum("on,on->n", apart_ON, apart_ON), out=distance_N)
        distance_N[order[-1]] = -1
    return [int(i) for i in preferred[order]]
