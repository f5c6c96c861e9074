"""What is measured, and how much of it: impossible settings are refused, rungs measure less."""

from typing import Any

import pytest

from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig, RungConfig


@pytest.mark.parametrize(
    ("name", "bad", "must"),
    [
        ("coherence_samples", 0, "between 1 and 1,000,000"),
        ("joint_samples", 10**10, "between 1 and 1,000,000"),
        ("joint_samples", 0, "between 1 and 1,000,000"),
        ("likelihood_samples", 0, "between 1 and 1,000,000"),
        ("importance_samples", 0, "between 1 and 1,000,000"),
        ("every", -1, "between 0 and 1,000,000"),
        ("pictures", -1, "between 0 and 1,000"),
        ("seed", -1, "between 0 and 9,223,372,036,854,775,807"),
        ("split", "valid", "one of train, validation, test"),
        ("precision", "float16", "one of float32, bfloat16"),
        ("subset_sizes", (1, 0), "a list of whole numbers of at least 1"),
        (
            "extras",
            ("is",),
            "a list of some of representation, frechet, conditional_likelihood, mixture_prior, fid",
        ),
    ],
)
def test_impossible_evaluations_are_refused_with_a_sentence(name: str, bad: Any, must: str) -> None:
    """The evaluation's settings are checked like the trial's."""
    with pytest.raises(ConfigError) as error:
        EvaluationConfig(**{name: bad})
    shown = list(bad) if isinstance(bad, tuple) else bad
    assert str(error.value) == f"{name} is {shown}, but must be {must}"


def test_a_rung_measures_at_most_what_the_end_does() -> None:
    """The smaller of both amounts each, the rung's sizes of subsets, no extras and no pictures."""
    config = EvaluationConfig(
        coherence_samples=50,
        likelihood_samples=99,
        every=2,
        seed=3,
        split="test",
        extras=("frechet",),
        at_rungs=RungConfig(likelihood_samples=7, subset_sizes=(1, 5)),
    )
    found = config.for_rung()
    assert (found.coherence_samples, found.likelihood_samples) == (50, 7)
    assert (found.joint_samples, found.importance_samples) == (200, 31)
    assert (found.subset_sizes, found.extras, found.pictures) == ((1, 5), (), 0)
    assert (found.every, found.seed, found.split) == (2, 3, "test")
    assert EvaluationConfig(subset_sizes=(2,)).for_rung().subset_sizes == (2,)
    with pytest.raises(ConfigError, match=r"^joint_samples is 0, but must be between 1 and 1,000,000$"):
        RungConfig(joint_samples=0)
