"""The evaluation's records: which there are, and that each number is what its name says."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from mopoe.data.container import Split
from mopoe.evaluation.coherence import conditional_coherence, joint_coherence, targets_outside
from mopoe.evaluation.evaluate import Evaluator
from mopoe.evaluation.final_metrics import largest_log_likelihood
from mopoe.evaluation.log_likelihood import LogLikelihood, joint_log_likelihood
from mopoe.evaluation_config import EvaluationConfig, IntermediateConfig
from mopoe.reports import METRICS, OBJECTIVES, Evaluation
from mopoe.subsets import subset_masks, subset_members

CPU = torch.device("cpu")
ERRORS = (0.0, 0.1, 0.25, 0.4, 0.5)
CONFIG = EvaluationConfig(
    coherence_samples=300, joint_samples=400, likelihood_samples=20, importance_samples=31, pictures=0, seed=3
)


@pytest.fixture(scope="module")
def case(known: Callable[..., Any]) -> Any:
    """Five modalities with known errors."""
    return known(ERRORS)


@pytest.fixture(scope="module")
def measured(case: Any) -> Evaluation:
    """Its evaluation on 300 validation samples."""
    return Evaluator(case.data, case.classifiers, CONFIG, epochs=1).measure(case.model)


@pytest.fixture(scope="module")
def correct(case: Any) -> torch.Tensor:
    """Who was right: float64 [N, S, M]."""
    split = case.data.validation
    return conditional_coherence(case.model, split, case.classifiers, 300, 3).scores.correct_NSM.double()


def test_targets_outside_a_subset() -> None:
    """True where the modality is not in the subset; never for the full set."""
    found = targets_outside(subset_masks(5), 5).tolist()
    for mask, row in zip(subset_masks(5), found, strict=True):
        assert [m for m, outside in enumerate(row) if not outside] == list(subset_members(mask))
    assert found[-1] == [False] * 5


def test_every_subset_and_pair_has_its_records(measured: Evaluation, case: Any) -> None:
    """31 subsets with all metrics, `coherence` but for the full set; 31 x 5 pairs; and those of the prior."""
    found = [(m.subset_mask, m.metric, m.target) for m in measured.subset_metrics]
    plain = ("kl", "coherence", "coherence_all", "active_units", "idle_latents", "non_finite")
    expected = {(mask, metric, None) for mask in range(1, 32) for metric in plain} - {(31, "coherence", None)}
    expected |= {(mask, "coherence_balanced", f"m{m}") for mask in range(1, 32) for m in range(5)}
    expected |= {(1 << m, "collapsed", None) for m in range(5)}
    expected |= {(31, metric, f"m{m}") for metric in ("nll", "explained") for m in range(5)}
    expected |= {(31, "ess", None), (0, "joint_coherence", None), (0, "joint_coherence_balanced", None)}
    assert set(found) == expected
    assert len(found) == len(expected)
    assert {metric for _, metric, _ in found} <= set(METRICS)
    assert measured.classifiers == "known"
    assert measured.n_parameters == sum(p.numel() for p in case.model.parameters())
    pairs = [(p.source_mask, p.target) for p in measured.pair_coherence]
    assert len(pairs) == 155
    assert set(pairs) == {(mask, f"m{m}") for mask in range(1, 32) for m in range(5)}


def test_pairs_are_shares_with_binomial_errors(
    measured: Evaluation, correct: torch.Tensor, case: Any
) -> None:
    """Value, standard error, number and chance of each pair follow from who was right."""
    most = float(torch.bincount(case.data.validation.labels[:300]).max()) / 300
    for p in measured.pair_coherence:
        hits = correct[:, case.model.masks.index(p.source_mask), int(p.target[1])]
        share = float(hits.mean())
        assert p.value == pytest.approx(share)
        assert p.stderr == pytest.approx(math.sqrt(share * (1 - share) / 300))
        assert (p.n, p.chance) == (300, most)
    by_pair = {(p.source_mask, p.target): p.value for p in measured.pair_coherence}
    assert by_pair[1, "m0"] == 1.0
    assert by_pair[1, "m2"] == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / 300))


def test_objectives_are_those_measured_alone(measured: Evaluation, correct: torch.Tensor, case: Any) -> None:
    """Conditional coherence is the mean over pairs with the target outside, the others their functions'."""
    assert set(measured.objectives) == set(measured.stderr) == set(OBJECTIVES)
    outside = [p.value for p in measured.pair_coherence if not p.source_mask >> int(p.target[1]) & 1]
    assert len(outside) == 75
    assert measured.objectives["conditional_coherence"] == pytest.approx(sum(outside) / 75)
    joint, _ = joint_coherence(case.model, case.classifiers, 400, 3).plain()
    assert measured.objectives["joint_coherence"] == joint
    assert measured.stderr["joint_coherence"] == pytest.approx(math.sqrt(joint * (1 - joint) / 400))
    log_p = joint_log_likelihood(case.model, case.data.validation, 20, 31, 3)
    assert measured.objectives["log_likelihood"] == pytest.approx(float(log_p.mean()))
    assert measured.stderr["log_likelihood"] == pytest.approx(float(log_p.std()) / math.sqrt(20))
    # Targets of one sample share their luck, so the error is over samples and not over pairs.
    pairs = [(s, m) for s, mask in enumerate(case.model.masks) for m in range(5) if not mask >> m & 1]
    per_sample = torch.stack([correct[:, s, m] for s, m in pairs]).mean(0)
    assert measured.stderr["conditional_coherence"] == pytest.approx(float(per_sample.std()) / math.sqrt(300))


def test_subset_metrics_are_means_over_samples(
    measured: Evaluation, correct: torch.Tensor, case: Any
) -> None:
    """`coherence` leaves out targets inside the subset, `coherence_all` does not; `kl` is the posterior's."""
    split = case.data.validation
    kl = conditional_coherence(case.model, split, case.classifiers, 300, 3).kl_NS.double()
    for metric in measured.subset_metrics:
        if metric.metric not in ("kl", "coherence", "coherence_all"):
            continue
        s = case.model.masks.index(metric.subset_mask)
        inside = subset_members(metric.subset_mask)
        values = {
            "kl": kl[:, s],
            "coherence_all": correct[:, s].mean(1),
            "coherence": correct[:, s][:, [m for m in range(5) if m not in inside]].mean(1),
        }[metric.metric]
        assert metric.value == pytest.approx(float(values.mean()))
        assert metric.stderr == pytest.approx(float(values.std()) / math.sqrt(300), abs=1e-12)
        assert metric.n == 300


def test_the_split_is_the_one_asked_for(case: Any) -> None:
    """On the test split, 600 samples are all there are, and the records say so."""
    config = EvaluationConfig(
        split="test",
        coherence_samples=9999,
        joint_samples=1,
        likelihood_samples=1,
        importance_samples=1,
        pictures=0,
    )
    found = Evaluator(case.data, case.classifiers, config, epochs=1).measure(case.model)
    assert found.split == "test"
    assert {p.n for p in found.pair_coherence} == {600}
    assert math.isnan(found.stderr["log_likelihood"])
    assert found.pictures == ()


@pytest.mark.parametrize(
    ("every", "also", "due"),
    [
        (0, (), [5]),
        (1, (), [1, 2, 3, 4, 5]),
        (2, (), [2, 4, 5]),
        (9, (), [5]),
        (0, (1, 3, 9), [1, 3, 5]),
        (2, (1, 2), [1, 2, 4, 5]),
    ],
)
def test_due_epochs(
    case: Any, monkeypatch: pytest.MonkeyPatch, every: int, also: tuple[int, ...], due: list[int]
) -> None:
    """Every so many epochs, at those asked for, and after the last, which alone is measured in full."""
    evaluator = Evaluator(case.data, case.classifiers, EvaluationConfig(every=every), epochs=5, also=also)
    asked: list[str] = []
    monkeypatch.setattr(evaluator, "measure", lambda _, what: asked.append(what) or "measured")
    found = [epoch for epoch in range(1, 6) if evaluator(case.model, epoch) is not None]
    assert found == due
    assert asked == ["all" if epoch == 5 else "rung" for epoch in due]


def test_one_modality_has_no_conditional_coherence(known: Callable[..., Any]) -> None:
    """With nothing outside the only subset the objective is NaN, and the rest is measured."""
    case = known((0.0,), n=10)
    config = EvaluationConfig(
        coherence_samples=10, joint_samples=5, likelihood_samples=5, importance_samples=2, pictures=0
    )
    found = Evaluator(case.data, case.classifiers, config, epochs=1).measure(case.model)
    assert math.isnan(found.objectives["conditional_coherence"])
    assert found.objectives["joint_coherence"] == 1.0
    assert not any(m.metric == "coherence" for m in found.subset_metrics)


def test_objectives_keep_their_names_and_their_draws_at_rungs(case: Any) -> None:
    """A rung measures the first of the samples that the end measures, with the same noise."""
    evaluator = Evaluator(case.data, case.classifiers, CONFIG, epochs=1)
    rung, again = evaluator.measure(case.model, "rung"), evaluator.measure(case.model, "rung")
    assert set(rung.objectives) == set(OBJECTIVES)
    assert (rung.objectives, rung.subset_metrics) == (again.objectives, again.subset_metrics)
    split, r = case.data.validation, CONFIG.intermediate
    first = conditional_coherence(case.model, split, case.classifiers, r.coherence_samples, 3)
    whole = conditional_coherence(case.model, split, case.classifiers, 300, 3)
    assert torch.equal(first.scores.correct_NSM, whole.scores.correct_NSM[: r.coherence_samples])
    assert {p.n for p in rung.pair_coherence} == {r.coherence_samples}
    # Only what the objective reads is decoded: targets that were not observed.
    pairs = {(p.source_mask, int(p.target[1])): p.value for p in rung.pair_coherence}
    assert set(pairs) == {(mask, m) for mask in range(1, 32) for m in range(5) if not mask >> m & 1}
    assert rung.objectives["conditional_coherence"] == pytest.approx(sum(pairs.values()) / 75)
    assert not any(metric.metric == "coherence_all" for metric in rung.subset_metrics)
    balanced = [m for m in rung.subset_metrics if m.metric == "coherence_balanced"]
    assert {(m.subset_mask, int(m.target[1])) for m in balanced} == set(pairs)
    log_p = joint_log_likelihood(case.model, split, 20, 31, 3)
    assert rung.objectives["log_likelihood"] == pytest.approx(float(log_p.mean()))


def test_a_rung_of_single_modalities_is_the_mean_over_their_pairs(case: Any) -> None:
    """The objective then says how well a lone modality generates the others."""
    config = replace(CONFIG, intermediate=IntermediateConfig(coherence_samples=100, subset_sizes=(1,)))
    found = Evaluator(case.data, case.classifiers, config, epochs=1).measure(case.model, "rung")
    assert {p.source_mask for p in found.pair_coherence} == {1, 2, 4, 8, 16}
    outside = [p.value for p in found.pair_coherence if p.source_mask != 1 << int(p.target[1])]
    assert found.objectives["conditional_coherence"] == pytest.approx(sum(outside) / 20)


def test_balanced_values_are_stored_with_every_pair(measured: Evaluation, case: Any) -> None:
    """By subset and target in the long form, with an error; the prior's under mask 0."""
    split = case.data.validation
    found = conditional_coherence(case.model, split, case.classifiers, 300, 3)
    value_SM, error_SM = found.scores.balanced()
    for metric in measured.subset_metrics:
        if metric.metric == "coherence_balanced":
            s, m = found.masks.index(metric.subset_mask), int(metric.target[1])
            assert (metric.value, metric.stderr) == (float(value_SM[s, m]), float(error_SM[s, m]))
    joint = joint_coherence(case.model, case.classifiers, 400, 3)
    prior = {m.metric: m for m in measured.subset_metrics if m.subset_mask == 0}
    assert (prior["joint_coherence"].value, prior["joint_coherence"].n) == (joint.plain()[0], 400)
    assert (prior["joint_coherence_balanced"].value, prior["joint_coherence_balanced"].stderr) == (
        joint.balanced()
    )


def test_samples_with_attributes_are_evaluated(case: Any) -> None:
    """The same records without classes: average precision, no balanced values, pictures without labels."""
    split = case.data.validation
    rows = torch.nn.functional.one_hot(split.labels, 4)
    data = replace(case.data, validation=Split(split.x, rows))
    found = Evaluator(data, case.classifiers, replace(CONFIG, pictures=0), epochs=1).measure(case.model)
    assert {p.measure for p in found.pair_coherence} == {"average_precision"}
    assert {p.chance for p in found.pair_coherence} == {0.25}
    outside = [p.value for p in found.pair_coherence if not p.source_mask >> int(p.target[1]) & 1]
    assert found.objectives["conditional_coherence"] == pytest.approx(sum(outside) / 75)
    assert found.stderr["conditional_coherence"] > 0
    assert not any("balanced" in m.metric for m in found.subset_metrics)


def test_a_likelihood_that_is_not_allowed_is_no_number(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate above what the likelihoods allow is NaN with the reason; one at it is kept."""
    most = largest_log_likelihood(case.model, case.data, case.model.masks[-1])
    assert math.isfinite(most)
    for value, kept in ((most, True), (most + 1, False)):
        ones = torch.ones(20).double()
        estimate = LogLikelihood(value * ones, ones, ones)
        monkeypatch.setattr("mopoe.evaluation.evaluate.log_likelihood", lambda *_, found=estimate: found)
        found = Evaluator(case.data, case.classifiers, CONFIG, epochs=1).measure(case.model)
        assert (found.objectives["log_likelihood"] == pytest.approx(value)) is kept
        assert math.isnan(found.objectives["log_likelihood"]) is not kept
        assert ("log_likelihood" in found.faults) is not kept
    assert found.faults["log_likelihood"].startswith(
        f"log_likelihood would be {most + 1:.6g}, but the likelihoods allow {most:.6g} at most"
    )


def test_pictures_that_cannot_be_drawn_cost_no_number(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluation has no pictures, and says why."""
    monkeypatch.setattr("mopoe.evaluation.evaluate.draw_pictures", lambda *_: 1 / 0)
    found = Evaluator(case.data, case.classifiers, replace(CONFIG, pictures=2), epochs=1).measure(case.model)
    (failed,) = [m for m in found.subset_metrics if m.error]
    assert (failed.metric, found.pictures) == ("pictures", ())
    assert failed.error is not None
    assert failed.error.startswith("ZeroDivisionError: division by zero")
    assert all(map(math.isfinite, found.objectives.values()))
