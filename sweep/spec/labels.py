"""Mixture weights by subset label: `m0+m1` instead of the place in a list of 2^M - 1 numbers."""

import difflib
from collections.abc import Mapping, Sequence

from mopoe.errors import ConfigError
from mopoe.subsets import subset_label, subset_masks


def subset_position(label: object, modalities: Sequence[str]) -> int:
    """Return the place of a subset among the 2^M - 1, in the order of `subset_masks`; any order of names.

    Raises:
        ConfigError: there is no such subset; the message has the nearest.

    >>> subset_position("m2+m0", ["m0", "m1", "m2"])
    4
    """
    masks = subset_masks(len(modalities))
    names = str(label).replace(" ", "").split("+")
    if len(set(names)) == len(names) and set(names) <= set(modalities):
        return masks.index(sum(1 << modalities.index(name) for name in names))
    labels = [subset_label(mask, modalities) for mask in masks]
    (near,) = difflib.get_close_matches(str(label), labels, n=1, cutoff=0.0)
    raise ConfigError(
        f"there is no subset {label!r}; did you mean {near!r}? modalities: {', '.join(modalities)}"
    )


def weights_by_label(
    given: Mapping[str, float] | Sequence[str], modalities: Sequence[str]
) -> tuple[float, ...]:
    """Return 2^M - 1 weights from those of some subsets, or from a list of subsets of equal weight.

    Raises:
        ConfigError: there is no such subset, or it stands twice.

    >>> weights_by_label({"m0": 0.25, "m0+m1": 0.75}, ["m0", "m1"])
    (0.25, 0.0, 0.75)
    """
    pairs = given.items() if isinstance(given, Mapping) else [(label, 1 / len(given)) for label in given]
    found = [0.0] * (2 ** len(modalities) - 1)
    seen: dict[int, object] = {}
    for label, weight in pairs:
        at = subset_position(label, modalities)
        if at in seen:
            raise ConfigError(f"subset {label!r} is there twice (as {seen[at]!r}); keep one")
        seen[at] = label
        found[at] = weight
    return tuple(found)
