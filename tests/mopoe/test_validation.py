"""One annotation is the check of a setting, the words about it and its documentation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, FiniteFloat, StrictBool

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig, IntermediateConfig
from mopoe.validation import allowed, fields_of, wrong


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (Annotated[int, Field(ge=1)], "a whole number of at least 1"),
        (Annotated[int, Field(ge=0, le=2**32 - 1)], "a whole number between 0 and 2^32 - 1"),
        (Annotated[float, Field(ge=-0.5, le=1e4)], "a number between -0.5 and 10,000.0"),
        (FiniteFloat, "a finite number"),
        (StrictBool, "true or false"),
        (str, "a word"),
        (Literal["a", "b"], "one of a, b"),
        (Literal["auto"] | FiniteFloat | None, "auto, or a finite number, or null"),
        (tuple[str, ...], "a list of words"),
        (tuple[int, int], "a list of 2 whole numbers"),
        (tuple[Literal["a", "b"], ...], "a list of some of a, b"),
        (tuple[Any, ...], "a list of values"),
        (list[int], "a list of whole numbers"),
        (Path, "of the type Path"),
        (BaseModel, "a mapping of keys to values"),
        (Mapping[str, int], "a mapping of names to whole numbers"),
        (tuple[Mapping[str, Any], ...], "a list of mappings of names to values"),
        (Annotated[tuple[int, ...] | None, Field(description="none or more")], "none or more"),
    ],
)
def test_an_annotation_in_words(hint: object, words: str) -> None:
    """As they stand in messages after `must be`, and in the documentation."""
    assert allowed(hint) == words


@pytest.mark.parametrize(
    ("hint", "found", "form"),
    [
        (tuple[str, ...], "age, sex", "[age,sex]"),
        (tuple[str, ...] | None, "age", "[age]"),
        (list[str], "[age,sex", "[age,sex]"),
        (fields_of(TrialConfig)["subset_weights"], "0.3,0.7", "[0.3,0.7]"),
        (fields_of(TrialConfig)["likelihood_weights"], "1,2", "[1,2]"),
        (fields_of(TrialConfig)["likelihood_weights"], "none_", None),
        (tuple[int, ...], 3, None),
        (str, "a,b", None),
    ],
)
def test_a_text_that_is_no_list_is_told_its_form(hint: object, found: object, form: str | None) -> None:
    """Where only a list is possible, or the text has a comma; written without spaces, as a shell takes it."""
    told = wrong("x", found, hint)
    assert told.partition("; a list is written as ")[2] == (form or "")
    assert told.startswith(f"x is {found!r}, but must be ")


@pytest.mark.parametrize("kind", [TrialConfig, EvaluationConfig, IntermediateConfig])
def test_nothing_is_converted(kind: type) -> None:
    """No setting takes a text for a number, a number for true, or a fraction for a whole number."""
    for name, info in fields_of(kind).items():
        default = info.get_default()
        for bad in {bool: (1, "true"), int: ("1", True, 1.0), float: ("1", True)}.get(type(default), ()):
            with pytest.raises(ConfigError, match=rf"^{name} is "):
                kind(**{name: bad})


def test_whole_numbers_become_numbers_and_lists_tuples() -> None:
    """In lists, too; so that equal settings are equal configs."""
    config = TrialConfig(beta=2, style_weights=[1, 2])
    assert (config.beta, config.style_weights) == (2.0, (1.0, 2.0))
    assert {type(number) for number in (config.beta, *(config.style_weights or ()))} == {float}
