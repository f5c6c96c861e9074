"""Parameters of a search space, and mixture weights by subset label."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mopoe.errors import ConfigError
from mopoe.subsets import subset_label, subset_masks
from sweep.config.parameters import (
    Choice,
    Int,
    LogUniform,
    Simplex,
    Uniform,
    middle,
    subset_places,
    weights_by_label,
)

NAMES = ("image", "text", "sketch")


@given(st.permutations(range(7)))
def test_every_label_is_found_in_any_order_of_its_names(order):
    """The place is that of the mask, however the modalities are written."""
    labels = [subset_label(subset_masks(3)[i], NAMES) for i in order]
    assert subset_places(labels, NAMES) == tuple(order)
    assert subset_places([" + ".join(reversed(label.split("+"))) for label in labels], NAMES) == tuple(order)


@pytest.mark.parametrize("label", ["imge", "text+text", "", "text+", 3])
def test_a_label_of_no_subset_names_the_nearest(label):
    """Also an empty one, one with a name twice, and a number."""
    with pytest.raises(ConfigError) as caught:
        subset_places([label], NAMES)
    assert str(caught.value).startswith(f"there is no subset {label!r}; did you mean '")
    assert str(caught.value).endswith("'? The modalities are image, text, sketch")


def test_weights_are_in_their_places():
    """A mapping gives the weights, a list equal ones, and all others are 0."""
    assert weights_by_label({"text": 0.25, "sketch+image": 0.75}, NAMES) == (0, 0.25, 0, 0, 0.75, 0, 0)
    assert weights_by_label(["text", "image"], NAMES) == (0.5, 0.5, 0, 0, 0, 0, 0)


def test_a_subset_stands_once():
    """Two spellings of one subset are refused."""
    with pytest.raises(ConfigError, match=r"^subset 'b\+a' appears twice \(as 'a\+b'\); keep one$"):
        weights_by_label({"a+b": 0.5, "b+a": 0.5}, ("a", "b"))


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        (Uniform(low=1, high=4), 2.5),
        (LogUniform(low=0.25, high=4), 1.0),
        (LogUniform(low=1e-200, high=1e-180), 1e-190),
        (Int(low=8, high=11), 9),
        (Int(low=2, high=11, step=3), 5),
        (Int(low=8, high=128, log=True), 32),
        (Choice(values=("none", "full")), "none"),
        (Simplex(over="size"), (1 / 3, 1 / 3, 1 / 3)),
        (Simplex(over="subset"), (1 / 7,) * 7),
    ],
)
def test_middle_of_a_parameter(parameter, value):
    """The geometric mean on log scales, the mean elsewhere, the first choice, equal weights."""
    found = middle(parameter, NAMES)
    assert found == pytest.approx(value) if isinstance(value, float) else found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        (Uniform, {"low": 4, "high": 1}, "low is 4.0, but must be below high (1.0); swap them?"),
        (
            Uniform,
            {"low": 2, "high": 2},
            "low and high are both 2.0, but must differ; put a constant under `fixed`",
        ),
        (LogUniform, {"low": 4, "high": 1}, "low is 4.0, but must be below high (1.0); swap them?"),
        (Int, {"low": 4, "high": 1}, "low is 4, but must be below high (1); swap them?"),
        (
            Int,
            {"low": 2, "high": 2},
            "low and high are both 2, but must differ; put a constant under `fixed`",
        ),
        (Int, {"low": 0, "high": 8, "log": True}, "low is 0, but must be at least 1 with log: true"),
        (Int, {"low": 1, "high": 8, "log": True, "step": 2}, "step is 2, but must be 1 with log: true"),
        (
            Int,
            {"low": 8, "high": 64, "step": 10},
            "high is 64, but must be low plus a multiple of step; near: 58 and 68",
        ),
    ],
)
def test_an_impossible_parameter_is_refused(kind, keys, message):
    """Also when built in Python, the error has the sentence that a file gets."""
    with pytest.raises(ValidationError) as caught:
        kind(**keys)
    assert [error["msg"] for error in caught.value.errors()] == [message]


def test_choices_of_numbers_and_words_are_text_in_a_table():
    """As an option of a network may have, whose column has one type."""
    mixed = Choice(values=("auto", 1, 0.5))
    assert [mixed.encode(value) for value in mixed.values] == ['"auto"', "1", "0.5"]
    assert [Choice(values=(1, 0.5)).encode(value) for value in (1, 0.5)] == [1, 0.5]
