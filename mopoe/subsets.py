"""The non-empty subsets of M modalities: order, bit masks, labels and mixture weights.

Subsets are ordered by size and then lexicographically, the full set last, as in the released MoPoE code. A
subset is stored as an integer `subset_mask` (bit m is modality m) and shown as a `subset_label` ("m0+m2").
"""

import math
from collections.abc import Sequence
from itertools import combinations

from mopoe.errors import ConfigError


def subset_masks(n_modalities: int) -> tuple[int, ...]:
    """Return the bit masks of all 2^M - 1 non-empty subsets, by size and then lexicographically.

    >>> subset_masks(3)
    (1, 2, 4, 3, 5, 6, 7)
    """
    if n_modalities < 1:
        raise ConfigError(f"the number of modalities is {n_modalities}, but must be at least 1")
    return tuple(
        sum(1 << m for m in chosen)
        for size in range(1, n_modalities + 1)
        for chosen in combinations(range(n_modalities), size)
    )


def subset_members(mask: int) -> tuple[int, ...]:
    """Return the indices of the modalities in a subset, ascending.

    >>> subset_members(5)
    (0, 2)
    """
    return tuple(m for m in range(mask.bit_length()) if mask >> m & 1)


def subset_label(mask: int, names: Sequence[str]) -> str:
    """Return a subset's readable label.

    >>> subset_label(5, ["m0", "m1", "m2"])
    'm0+m2'
    """
    return "+".join(names[m] for m in subset_members(mask))


def mixture_weights(weights: Sequence[float] | None, n_modalities: int) -> tuple[float, ...]:
    """Return one mixture weight per subset, in the order of `subset_masks`, summing to one.

    Args:
        weights: None for the uniform mixture of the MoPoE paper; M numbers, one weight per subset size, which
            the subsets of that size share equally; or 2^M - 1 numbers, one per subset.
        n_modalities: the number of modalities M.

    Raises:
        ConfigError: a weight is negative or not finite, their sum is not one, or their number is wrong.

    >>> mixture_weights([0.5, 0.5], 2)
    (0.25, 0.25, 0.5)
    """
    masks = subset_masks(n_modalities)
    if weights is None:
        return (1.0 / len(masks),) * len(masks)
    if len(weights) not in (n_modalities, len(masks)):
        raise ConfigError(
            f"subset_weights has {len(weights)} numbers, but must have {n_modalities} (one per subset size) "
            f"or {len(masks)} (one per subset) for {n_modalities} modalities"
        )
    check_simplex(weights)
    if len(weights) == len(masks):
        shares = [float(w) for w in weights]
    else:
        shares = [weights[mask.bit_count() - 1] / math.comb(n_modalities, mask.bit_count()) for mask in masks]
    total = math.fsum(shares)
    return tuple(w / total for w in shares)


def path_weights(position: float, n_modalities: int) -> tuple[float, ...]:
    """Return the mixture weights at a position on the path from a mixture to a product of experts.

    Args:
        position: -1 for all weight on the single modalities, 0 for the uniform mixture, 1 for all weight on
            the full set; the weights in between are interpolated linearly.
        n_modalities: the number of modalities M.

    >>> path_weights(-1, 2), path_weights(0.25, 2)
    ((0.5, 0.5, 0.0), (0.25, 0.25, 0.5))
    """
    masks = subset_masks(n_modalities)
    if position < 0:
        end = [(mask.bit_count() == 1) / n_modalities for mask in masks]
    else:
        end = [float(mask == masks[-1]) for mask in masks]
    share = abs(position)
    return tuple((1 - share) / len(masks) + share * w for w in end)


def check_simplex(weights: Sequence[float]) -> None:
    """Raise ConfigError unless the weights are finite, not negative and sum to one (to 1e-6)."""
    bad = next((w for w in weights if not (math.isfinite(w) and w >= 0)), None)
    if bad is not None:
        raise ConfigError(f"subset_weights contains {bad}, but every weight must be a number of at least 0")
    total = math.fsum(weights)
    if abs(total - 1) > 1e-6:
        raise ConfigError(f"subset_weights sums to {total:.6g}, but must sum to 1")
