"""Order, labels and weights of subsets."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopoe.errors import ConfigError
from mopoe.subsets import check_simplex, mixture_weights, subset_label, subset_masks, subset_members


def test_order_is_by_size_then_lexicographic() -> None:
    """Three modalities give singletons, pairs, then all, each group in lexicographic order."""
    members = [subset_members(mask) for mask in subset_masks(3)]
    assert members == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


@pytest.mark.parametrize("m", range(1, 8))
def test_every_subset_occurs_once(m: int) -> None:
    """The masks are all numbers from 1 to 2^M - 1, in the order of `itertools.combinations`."""
    masks = subset_masks(m)
    assert sorted(masks) == list(range(1, 2**m))
    expected = [c for size in range(1, m + 1) for c in combinations(range(m), size)]
    assert [subset_members(mask) for mask in masks] == expected


def test_no_modality_is_an_error() -> None:
    """Zero modalities have no subsets, and the message says so."""
    with pytest.raises(ConfigError, match=r"^the number of modalities is 0, but must be at least 1$"):
        subset_masks(0)


def test_labels_name_members_in_order() -> None:
    """A label joins the members' names with plus signs."""
    assert [subset_label(mask, ["a", "b", "c"]) for mask in (1, 4, 6, 7)] == ["a", "c", "b+c", "a+b+c"]


def test_uniform_weights() -> None:
    """Without weights every one of 31 subsets counts 1/31."""
    assert mixture_weights(None, 5) == (1 / 31,) * 31


def test_weights_by_size_are_shared_by_the_subsets_of_a_size() -> None:
    """Five weights by size are split over 5, 10, 10, 5 and 1 subsets."""
    weights = mixture_weights((0.1, 0.2, 0.3, 0.15, 0.25), 5)
    expected = [0.02] * 5 + [0.02] * 10 + [0.03] * 10 + [0.03] * 5 + [0.25]
    assert weights == pytest.approx(expected, abs=1e-15)


def test_weights_by_subset_are_kept() -> None:
    """Seven weights for three modalities stand as they are."""
    weights = (0.0, 0.1, 0.2, 0.0, 0.3, 0.4, 0.0)
    assert mixture_weights(weights, 3) == pytest.approx(weights, abs=1e-15)


def test_one_modality_has_one_weight() -> None:
    """For M = 1 the weight by size and by subset are the same single 1."""
    assert mixture_weights(None, 1) == mixture_weights((1.0,), 1) == (1.0,)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda w: sum(w) > 0.01))
def test_weights_by_size_keep_each_size_share(raw: list[float]) -> None:
    """Whatever the simplex point, the subsets of a size together get that size's weight."""
    shares = [w / math.fsum(raw) for w in raw]
    weights = mixture_weights(shares, 4)
    assert math.fsum(weights) == pytest.approx(1, abs=1e-12)
    for size in range(1, 5):
        group = [w for w, mask in zip(weights, subset_masks(4), strict=True) if mask.bit_count() == size]
        assert math.fsum(group) == pytest.approx(shares[size - 1], abs=1e-12)
        assert max(group) == min(group)


def test_a_wrong_number_of_weights_says_which_would_fit() -> None:
    """Four weights fit neither 3 sizes nor 7 subsets."""
    expected = (
        r"^subset_weights has 4 numbers, but must have 3 \(one per subset size\) or 7 \(one per subset\) "
        "for 3 modalities$"
    )
    with pytest.raises(ConfigError, match=expected):
        mixture_weights((0.25,) * 4, 3)


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_impossible_weights_are_named(bad: float) -> None:
    """A negative or non-finite weight is rejected before the sum is looked at."""
    with pytest.raises(ConfigError, match=rf"^subset_weights contains {bad}, but every weight must be"):
        check_simplex((0.5, bad, 0.6))


def test_a_wrong_sum_is_named() -> None:
    """Weights must sum to one within a millionth."""
    with pytest.raises(ConfigError, match=r"^subset_weights sums to 0.9, but must sum to 1$"):
        check_simplex((0.5, 0.4))
    check_simplex((0.5, 0.5 + 9e-7))
    with pytest.raises(ConfigError, match="must sum to 1"):
        check_simplex((0.5, 0.5 + 2e-6))
