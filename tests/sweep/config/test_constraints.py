"""Limits on what a trial measured."""

import math

import pytest
from spec_texts import SHORT

from sweep.config.constraints import limit


@pytest.mark.parametrize(
    ("text", "value", "excess"),
    [
        ("<= 20e6", 20e6, 0.0),
        ("<=20e6", 30e6, 0.5),
        (" >= 0.1 ", 0.05, 0.5),
        (">= 0.1", 0.2, -1.0),
        (">= -7000", -7700.0, 0.1),
        (">= 0", -3.0, 3.0),
        ("<= 5", math.nan, math.inf),
        ("<= 5", math.inf, math.inf),
    ],
)
def test_the_excess_is_a_share_of_the_bound(text, value, excess):
    """It is above 0 exactly if the limit is missed, whatever the unit; not a number misses every limit."""
    assert limit("x", text).excess({"x": value}) == pytest.approx(excess)


def test_what_was_not_measured_misses_the_limit():
    """A trial cannot be feasible without the number."""
    assert limit("x", "<= 1").excess({}) == math.inf
    assert limit("x", "<= 1").sentence({}) == "x is nan, but must be at most 1"
    assert limit("x", ">= 0.1").sentence({"x": 0.05}) == "x is 0.05, but must be at least 0.1"


@pytest.mark.parametrize("text", ["", "5", "<= 1e999", "<= five", "<= nan", "<= inf", "== 5", "<= 5 6"])
def test_another_text_is_no_limit(refusal, text):
    """Only the two comparisons with a finite number are."""
    assert refusal(f"{SHORT}constraints: {{seconds: '{text}'}}\n") == (
        f'x.yaml:6: constraints: seconds is {text!r}, but must be a limit such as "<= 20e6" or ">= 0.1"'
    )
