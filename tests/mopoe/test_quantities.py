"""Quantities by name: what each is the mean of, by hand, and which names there are."""

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import get_args

import pytest

from mopoe.errors import ConfigError
from mopoe.evaluation_config import FinalMetric
from mopoe.quantities import KINDS, OF_TRIAL, check_name, final_metric, measured, sizes_of, with_quantities
from mopoe.reports import METRICS, OBJECTIVES, Evaluation, PairCoherence, SampleValues, SubsetMetric

NAMES = ("a", "b", "c")
MASKS = range(1, 8)
PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def value(mask: int, m: int) -> float:
    """Return a number that tells every subset and target apart."""
    return mask + (m + 1) / 10


def metric(name: str, mask: int, m: int | None = None, **more: object) -> SubsetMetric:
    """Return a metric of a subset, or of a target given it, whose standard error is a tenth of the value."""
    target = None if m is None else NAMES[m]
    found = value(mask, -1 if m is None else m)
    given = {"value": found, "stderr": found / 10, "n": 5} | more
    return SubsetMetric(subset_mask=mask, metric=name, target=target, **given)  # type: ignore[arg-type]


METRICS_OF_ALL = (
    *(metric("kl", mask) for mask in MASKS),
    *(metric("ess", mask) for mask in MASKS),
    *(metric("log_likelihood", mask) for mask in MASKS),
    *(metric("frechet", mask, m, stderr=None) for mask in (0, *MASKS) for m in range(3)),
    metric("mmd", 1, 1),
    *(metric("log_likelihood_conditional", 1, m) for m in (None, 1, 2)),
    *(metric("nll", 7, m) for m in range(3)),
    metric("joint_coherence_balanced", 0),
)
FOUND = Evaluation(
    split="validation",
    objectives={"conditional_coherence": 0.5, "joint_coherence": 0.4, "log_likelihood": -9.0},
    stderr={"conditional_coherence": 0.1, "joint_coherence": 0.2, "log_likelihood": 0.3},
    subset_metrics=METRICS_OF_ALL,
    pair_coherence=tuple(
        PairCoherence(source_mask=mask, target=NAMES[m], value=value(mask, m), stderr=0.01, n=5, chance=0.1)
        for mask in MASKS
        for m in range(3)
    ),
    pictures=(),
    seconds=1.0,
    n_parameters=1234,
)
OUTSIDE = [(mask, m) for mask in MASKS for m in range(3) if not mask >> m & 1]


def mean(pairs: list[tuple[int, int]]) -> float:
    """Return the mean of these pairs' numbers."""
    return fmean(value(*pair) for pair in pairs)


@pytest.mark.parametrize(
    ("name", "expected", "error"),
    [
        ("log_likelihood", -9.0, 0.3),
        ("log_likelihood.a.c", value(5, -1), value(5, -1) / 10),
        ("log_likelihood.2", fmean([3, 5, 6]), fmean([3, 5, 6]) / 10),
        ("log_likelihood_conditional", mean([(1, 1), (1, 2)]), mean([(1, 1), (1, 2)]) / 10),
        ("log_likelihood_conditional.a:c", value(1, 2), value(1, 2) / 10),
        ("coherence", mean(OUTSIDE), 0.01),
        ("coherence:b", mean([(mask, m) for mask, m in OUTSIDE if m == 1]), 0.01),
        ("coherence.1", mean([(mask, m) for mask, m in OUTSIDE if mask.bit_count() == 1]), 0.01),
        ("coherence.2:a", value(6, 0), 0.01),
        ("coherence.c.a:b", value(5, 1), 0.01),
        ("coherence.a:a", value(1, 0), 0.01),
        ("frechet", mean(OUTSIDE), None),
        ("frechet.prior", mean([(0, 0), (0, 1), (0, 2)]), None),
        ("frechet.prior:c", value(0, 2), None),
        ("mmd.a:b", value(1, 1), value(1, 1) / 10),
        ("nll", mean([(7, 0), (7, 1), (7, 2)]), mean([(7, 0), (7, 1), (7, 2)]) / 10),
        ("nll:b", value(7, 1), value(7, 1) / 10),
        ("kl", fmean(MASKS), fmean(MASKS) / 10),
        ("kl.3", 7.0, 0.7),
        ("ess", 7.0, 0.7),
        ("ess.1", fmean([1, 2, 4]), fmean([1, 2, 4]) / 10),
        ("joint_coherence_balanced", 0.0, 0.0),
        ("parameters", 1234.0, None),
        ("seconds", 30.0, None),
        ("epoch_seconds", 7.5, None),
    ],
)
def test_a_quantity_is_the_mean_of_what_its_name_leaves_open(
    name: str, expected: float, error: float | None
) -> None:
    """By hand; one value keeps its standard error, that of a mean of values is at most the mean of theirs."""
    check_name(name, NAMES)
    found = measured(name, FOUND, NAMES, epoch=4, seconds=30.0)
    assert found is not None
    assert found.value == pytest.approx(expected)
    assert found.stderr == (None if error is None else pytest.approx(error))


def test_the_standard_error_of_a_mean_is_that_over_samples() -> None:
    """Where values by sample are known: of the mean over all pairs, and of no part of it."""
    by_sample = SampleValues(metric="log_likelihood_conditional", values=(1.0, 2.0, 4.0, 5.0))
    evaluation = replace(FOUND, sample_values=(by_sample,))
    of_all = measured("log_likelihood_conditional", evaluation, NAMES, epoch=4, seconds=30.0)
    assert of_all is not None
    assert of_all.value == pytest.approx(mean([(1, 1), (1, 2)]))
    assert of_all.stderr == pytest.approx(math.sqrt((4 + 1 + 1 + 4) / 3 / 4))
    one = measured("log_likelihood_conditional.a:c", evaluation, NAMES, epoch=4, seconds=30.0)
    assert one is not None
    assert one.stderr == pytest.approx(value(1, 2) / 10)


def test_what_an_evaluation_has_not_measured_is_absent() -> None:
    """A final metric before the last epoch, for one; what failed is NaN with its reason."""
    names = ("representation", "fid", "kl", "frechet:a")
    failed = metric("fid", 0, value=math.nan, stderr=None, n=0, error="no weights")
    some = replace(FOUND, subset_metrics=(failed, metric("kl", 3)))
    found = with_quantities(some, names, NAMES, 1, 1.0)
    assert set(found.objectives) == {*FOUND.objectives, "fid", "kl"}
    assert math.isnan(found.objectives["fid"])
    assert found.faults == {"fid": "no weights"}
    assert found.objectives["kl"] == 3.0
    assert set(found.stderr) == {*FOUND.stderr, "kl"}
    assert found.subset_metrics is some.subset_metrics


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cohernce:a", "unknown quantity 'cohernce:a'; did you mean 'coherence'? possible: conditional_"),
        ("coherence:d", "'coherence:d' names no target; possible: a, b, c"),
        ("coherence.d", "'coherence.d' names no subset; possible: a, b, c, 1, 2, 3"),
        ("coherence.4", "'coherence.4' names no subset; possible: a, b, c, 1, 2, 3"),
        ("coherence.prior", "'coherence.prior' names no subset; possible: a, b, c, 1, 2, 3"),
        (
            "frechet.a.prior",
            "'frechet.a.prior' names no subset; did you mean 'prior'? possible: a, b, c, 1, 2, 3, prior",
        ),
        ("kl:a", "'kl:a' names a target, but kl is of no single one; leave out :a"),
        ("nll.a", "'nll.a' names a subset, but nll is of no single subset; leave out .a"),
        ("kl.", "unknown quantity 'kl.'; did you mean 'kl'? possible: "),
        ("coherence:", "unknown quantity 'coherence:'; did you mean 'coherence'? possible: "),
    ],
)
def test_a_name_of_nothing_is_refused(name: str, message: str) -> None:
    """With what is possible in its place."""
    with pytest.raises(ConfigError) as caught:
        check_name(name, NAMES)
    assert str(caught.value).startswith(message)


def test_every_recorded_metric_is_a_quantity_but_three() -> None:
    """Mixture weights and scales have no better values; pictures are no number. All stand in the docs."""
    parameters = {"mixture_weight", "likelihood_scale", "pictures"}
    assert set(KINDS) == ({*METRICS} | {*OBJECTIVES} | {*OF_TRIAL}) - parameters
    assert {kind.final for kind in KINDS.values()} == {None, *get_args(FinalMetric)}
    text = PAGE.read_text(encoding="utf-8")
    objectives = text[text.index("## `objectives`") : text.index("## `search_space`")]
    assert [name for name in KINDS if name not in objectives] == []
    assert final_metric("ess") is None
    assert final_metric("ess.a") == "conditional_likelihood"
    assert sizes_of("coherence.2", NAMES) == {2}
