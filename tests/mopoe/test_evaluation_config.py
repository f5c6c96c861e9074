"""What is measured, and how much of it: impossible settings are refused, rungs measure less."""

from typing import Any

import pytest

from mopoe.errors import ConfigError
from mopoe.evaluation_config import EvaluationConfig, IntermediateConfig

COUNT = "but must be a whole number between 1 and 1,000,000"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"coherence_samples": 0}, f"coherence_samples is 0, {COUNT}"),
        ({"joint_samples": 10**10}, f"joint_samples is 10000000000, {COUNT}"),
        ({"likelihood_samples": 2.0}, f"likelihood_samples is 2.0, {COUNT}"),
        ({"importance_samples": True}, f"importance_samples is true, {COUNT}"),
        ({"every": -1}, "every is -1, but must be a whole number between 0 and 1,000,000"),
        ({"pictures": 1001}, "pictures is 1001, but must be a whole number between 0 and 1,000"),
        ({"seed": -1}, "seed is -1, but must be a whole number between 0 and 2^63 - 1"),
        (
            {"split": "valid"},
            "split is 'valid'; did you mean 'validation'? possible: train, validation, test",
        ),
        (
            {"precision": "float16"},
            "precision is 'float16'; did you mean 'bfloat16'? possible: float32, bfloat16",
        ),
        ({"own_targets": 1}, "own_targets is 1, but must be true or false"),
        ({"subset_sizes": (1, 0)}, "subset_sizes: entry 2 is 0, but must be a whole number of at least 1"),
        (
            {"final_metrics": ("is",)},
            (
                "final_metrics: entry 1 is 'is'; possible: representation, frechet, conditional_likelihood, "
                "mixture_prior, fid"
            ),
        ),
        ({"intermediate": {"joint_samples": 0}}, f"intermediate: joint_samples is 0, {COUNT}"),
        ({"intermediate": 3}, "intermediate is 3, but must be a mapping of keys to values"),
        ({"inception_weights": 3}, "inception_weights is 3, but must be a word (a number or date in quotes)"),
    ],
)
def test_impossible_evaluations_are_refused_with_a_sentence(settings: Any, sentence: str) -> None:
    """The evaluation's settings are checked like the trial's, those for rungs too."""
    with pytest.raises(ConfigError) as error:
        EvaluationConfig(**settings)
    assert str(error.value) == sentence


def test_a_rung_measures_at_most_what_the_end_does() -> None:
    """The smaller of both amounts each, the intermediate subset sizes, no final metrics, no pictures."""
    config = EvaluationConfig(
        coherence_samples=50,
        likelihood_samples=99,
        every=2,
        seed=3,
        split="test",
        final_metrics=("frechet",),
        intermediate=IntermediateConfig(likelihood_samples=7, subset_sizes=(1, 5)),
    )
    found = config.for_rung()
    assert (found.coherence_samples, found.likelihood_samples) == (50, 7)
    assert (found.joint_samples, found.importance_samples) == (200, 31)
    assert (found.subset_sizes, found.final_metrics, found.pictures) == ((1, 5), (), 0)
    assert (found.every, found.seed, found.split) == (2, 3, "test")
    assert EvaluationConfig(subset_sizes=(2,)).for_rung().subset_sizes == (2,)
    with pytest.raises(ConfigError, match=rf"^joint_samples is 0, {COUNT}$"):
        IntermediateConfig(joint_samples=0)
