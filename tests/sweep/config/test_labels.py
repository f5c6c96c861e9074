"""Mixture weights by subset label."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopoe.errors import ConfigError
from mopoe.subsets import subset_label, subset_masks
from sweep.config.parameters import subset_position, weights_by_label

NAMES = ("image", "text", "sketch")


@given(st.permutations(range(7)))
def test_every_label_is_found_in_any_order_of_its_names(order):
    """The place is that of the mask, however the modalities are written."""
    for i in order:
        label = subset_label(subset_masks(3)[i], NAMES)
        assert subset_position(label, NAMES) == i
        assert subset_position(" + ".join(reversed(label.split("+"))), NAMES) == i


@pytest.mark.parametrize("label", ["imge", "text+text", "", "text+", 3])
def test_a_label_of_no_subset_names_the_nearest(label):
    """Also an empty one, one with a name twice, and a number."""
    with pytest.raises(ConfigError) as caught:
        subset_position(label, NAMES)
    assert str(caught.value).startswith(f"there is no subset {label!r}; did you mean '")
    assert str(caught.value).endswith("'? modalities: image, text, sketch")


def test_weights_are_in_their_places():
    """A mapping gives the weights, a list equal ones, and all others are 0."""
    assert weights_by_label({"text": 0.25, "sketch+image": 0.75}, NAMES) == (0, 0.25, 0, 0, 0.75, 0, 0)
    assert weights_by_label(["text", "image"], NAMES) == (0.5, 0.5, 0, 0, 0, 0, 0)


def test_a_subset_stands_once():
    """Two spellings of one subset are refused."""
    with pytest.raises(ConfigError, match=r"^subset 'b\+a' is there twice \(as 'a\+b'\); keep one$"):
        weights_by_label({"a+b": 0.5, "b+a": 0.5}, ("a", "b"))
