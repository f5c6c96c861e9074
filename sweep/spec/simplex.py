"""A simplex as a cube: n weights become n - 1 numbers of the unit interval by stick breaking, and back.

Optuna has no distribution for a simplex; uniform numbers of the cube give the uniform one.
"""

import math
from collections.abc import Sequence


def simplex_from_cube(u: Sequence[float]) -> tuple[float, ...]:
    """Return the n weights that n - 1 numbers of [0, 1] stand for; uniform numbers give uniform weights.

    A stick of length 1 is broken n - 1 times: where k weights are to be had, the first takes the share
    1 - u^(1/(k-1)) of what is left.

    >>> simplex_from_cube([0.25, 0.5])
    (0.5, 0.25, 0.25)
    """
    weights = []
    rest = 1.0
    for remaining, x in zip(range(len(u), 0, -1), u, strict=True):
        kept = x ** (1 / remaining)
        weights.append(rest * (1 - kept))
        rest *= kept
    return (*weights, rest)


def cube_from_simplex(w: Sequence[float]) -> tuple[float, ...]:
    """Return the n - 1 numbers of [0, 1] that stand for n weights: the inverse of `simplex_from_cube`.

    Where nothing of the stick is left every number stands for the same weights, and 0.5 is returned.

    >>> cube_from_simplex([0.5, 0.25, 0.25])
    (0.25, 0.5)
    """
    rests = [math.fsum(w[i:]) for i in range(len(w))]
    return tuple(
        (rests[i] / rests[i - 1]) ** (len(w) - i) if rests[i - 1] > 0 else 0.5 for i in range(1, len(w))
    )
