"""Confidence intervals of coherence, from what the tables hold."""

import math

Z_95 = 1.959964
"""Quantile of the standard normal distribution that leaves 2.5 % above it."""


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of n samples (Wilson 1927).

    Unlike share +- 1.96 standard errors it stays within 0..1 and has a width also where all are right.

    >>> [[round(end, 3) for end in wilson_interval(*case)] for case in ((0.5, 100), (1, 10))]
    [[0.404, 0.596], [0.722, 1.0]]
    """
    shrink = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / shrink
    half = Z_95 / shrink * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def pair_interval(value: float, stderr: float, n: int, measure: str | None) -> tuple[float, float]:
    """Return the 95 % interval of a pair's coherence: Wilson's of an accuracy, else from the standard error.

    A measure of None, in tables of earlier releases, is an accuracy.
    """
    if measure in (None, "accuracy"):
        return wilson_interval(value, n)
    return max(0.0, value - Z_95 * stderr), min(1.0, value + Z_95 * stderr)
