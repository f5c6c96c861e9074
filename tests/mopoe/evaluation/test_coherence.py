"""Coherence against models and classifiers whose answers are known."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torch import nn
from torch.distributions import Normal, kl_divergence

from mopoe.data.container import Split
from mopoe.errors import DataError
from mopoe.evaluation import coherence
from mopoe.evaluation import coherence as module
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.coherence import (
    ClassScores,
    attribute_scores,
    average_precision,
    balanced_share,
    conditional_coherence,
    joint_coherence,
    targets_outside,
)
from mopoe.likelihoods import Normal as NormalLikelihood
from mopoe.model import MoPoE

CPU = torch.device("cpu")
ERRORS = (0.0, 0.1, 0.4, 1.0)


def conditional(case: Any, n: int = 1200, seed: int = 0) -> coherence.ConditionalCoherence:
    """Return the conditional coherence of a known case on its validation split."""
    return conditional_coherence(case.model, case.data.validation, case.classifiers, n, seed)


def test_conditional_coherence_is_the_known_one(known: Callable[..., Any]) -> None:
    """A decoder that errs below a quantile errs, given k experts, with probability Phi(sqrt(k) quantile).

    The fifth latent is N(0, 1/k) given a subset of k; errors 0 and 1 are exact.
    """
    case = known(ERRORS)
    found, _ = conditional(case).scores.pairs()
    normal = Normal(0.0, 1.0)
    for s, mask in enumerate(case.model.masks):
        for m, error in enumerate(ERRORS):
            if error in (0.0, 1.0):
                assert found[s, m] == 1 - error
                continue
            p = float(normal.cdf(mask.bit_count() ** 0.5 * normal.icdf(torch.tensor(error))))
            assert float(found[s, m]) == pytest.approx(1 - p, abs=4 * math.sqrt(p * (1 - p) / 1200))


def test_a_latent_is_a_sample_and_not_the_mean(known: Callable[..., Any]) -> None:
    """The posterior's mean would never be wrong; each subset draws its own noise, shared by all targets."""
    case = known((0.3, 0.3))
    correct = conditional(case).scores.correct_NSM
    assert torch.equal(correct[:, :, 0], correct[:, :, 1])
    for s, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(correct[:, s], correct[:, other])


def test_the_kl_is_that_of_every_subsets_posterior(known: Callable[..., Any]) -> None:
    """Experts at one place, k of them, have k times the precision."""
    case = known((0.0, 0.0, 0.0))
    kl = conditional(case, n=7).kl_NS
    mean = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    variance = torch.tensor([math.exp(-8.0)] * 4 + [1.0], dtype=torch.float64)
    for s, mask in enumerate(case.model.masks):
        q = Normal(mean, (variance / mask.bit_count()).sqrt())
        expected = kl_divergence(q, Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum()
        assert kl[:, s].tolist() == pytest.approx([float(expected)] * 7, rel=1e-5)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [((0.0, 0.0, 0.0), 1.0), ((0.0, 1.0), 0.0), ((1.0, 1.0), 1.0), ((0.0, 0.1, 0.4), 0.6), ((0.2, 0.7), 0.5)],
)
def test_joint_coherence_is_the_known_one(
    known: Callable[..., Any], errors: tuple[float, ...], expected: float
) -> None:
    """All modalities agree unless the shared fifth latent makes some of them err and others not."""
    case = known(errors, n=4)
    found, _ = joint_coherence(case.model, case.classifiers, 3000, 0).plain()
    assert found == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 3000))


def test_one_seed_gives_one_result(known: Callable[..., Any]) -> None:
    """The noise is the seed's: equal seeds agree sample by sample, others do not."""
    case = known((0.3, 0.4))
    a, b, c = conditional(case), conditional(case), conditional(case, seed=1)
    assert torch.equal(a.scores.correct_NSM, b.scores.correct_NSM)
    assert not torch.equal(a.scores.correct_NSM, c.scores.correct_NSM)
    joint = [joint_coherence(case.model, case.classifiers, 500, seed).plain() for seed in (0, 0, 1)]
    assert joint[0] == joint[1] != joint[2]


@pytest.mark.parametrize("rows", [1, 64, 4096])
def test_the_size_of_a_chunk_does_not_change_the_result(
    known: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """How many latents are decoded at a time is a matter of speed alone."""
    case = known((0.3, 0.4))
    before = conditional(case, n=600), joint_coherence(case.model, case.classifiers, 600, 0).plain()
    monkeypatch.setattr(coherence, "ROWS", rows)
    after = conditional(case, n=600), joint_coherence(case.model, case.classifiers, 600, 0).plain()
    assert torch.equal(before[0].scores.correct_NSM, after[0].scores.correct_NSM)
    assert torch.equal(before[0].kl_NS, after[0].kl_NS)
    assert before[0].diagnostics.active_S.tolist() == after[0].diagnostics.active_S.tolist()
    assert before[1] == after[1]


def test_more_samples_than_there_are_use_all_there_are(known: Callable[..., Any]) -> None:
    """Asking for 99 of 20 samples measures 20."""
    case = known((0.0, 0.0), n=20)
    assert conditional(case, n=99).scores.correct_NSM.shape == (20, 3, 2)


def test_labels_stay_with_their_samples(known: Callable[..., Any]) -> None:
    """A sample with a wrong label counts as wrong, and only that one."""
    case = known((0.0, 0.0), n=300)
    split = case.data.validation
    labels = split.labels.clone()
    labels[[3, 200]] = (labels[[3, 200]] + 1) % 4
    found = conditional_coherence(case.model, Split(split.x, labels), case.classifiers, 300, 0)
    assert (~found.scores.correct_NSM.all(2).all(1)).nonzero().flatten().tolist() == [3, 200]


def test_a_classifier_in_training_mode_is_an_error(known: Callable[..., Any]) -> None:
    """Dropout would lower every coherence in silence."""
    case = known((0.0, 0.0), n=4)
    networks = {"m0": nn.Identity().eval(), "m1": nn.Identity().train()}
    classifiers = replace(case.classifiers, networks=networks)
    expected = "^the classifier of 'm1' is in training mode, but coherence needs eval mode$"
    with pytest.raises(DataError, match=expected):
        conditional_coherence(case.model, case.data.validation, classifiers, 4, 0)
    with pytest.raises(DataError, match=expected):
        joint_coherence(case.model, classifiers, 4, 0)


def test_balanced_conditional_coherence_is_the_known_one(known: Callable[..., Any]) -> None:
    """Wrong labels for one class of four lower the balanced value by a quarter, however rare the class is."""
    case = known((0.0, 1.0), n=400)
    split = case.data.validation
    keep = (split.labels != 3) | (torch.arange(400) < 40)
    few = Split({name: x[keep] for name, x in split.x.items()}, split.labels[keep])
    shown = {name: torch.where(few.labels[:, None] == 3, x.roll(1, 1), x) for name, x in few.x.items()}
    found = conditional_coherence(case.model, Split(shown, few.labels), case.classifiers, 400, 0)
    plain, (balanced, _) = found.scores.pairs()[0], found.scores.balanced()
    assert plain[:, 0].tolist() == [1 - float((few.labels == 3).double().mean())] * 3
    assert balanced.tolist() == [[0.75, 0.0]] * 3


def test_balanced_joint_coherence_is_the_known_one(known: Callable[..., Any]) -> None:
    """Modality m1 shows class 0 for true class 1 too: agreement is 3/4, by class 1, 0 (or 1/2), 1 and 1."""

    class Confuse(nn.Module):
        """Logits of class 1 become those of class 0."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x[:, 0] + x[:, 1], 0 * x[:, 1], x[:, 2], x[:, 3]], 1)

    case = known((0.0, 0.0), n=4)
    classifiers = replace(case.classifiers, networks={"m0": nn.Identity().eval(), "m1": Confuse().eval()})
    found = joint_coherence(case.model, classifiers, 4000, 0)
    assert found.plain()[0] == pytest.approx(0.75, abs=0.03)
    value, error = found.balanced()
    by_m1 = float(found.agreed_N[found.predicted_MN[1] == 0].double().mean())
    assert value == pytest.approx((3 / 4 + (2 + by_m1) / 3) / 2)
    assert by_m1 == pytest.approx(0.5, abs=0.05)
    assert 0 < error < 0.01


def test_a_sample_that_is_not_a_number_agrees_with_nothing(known: Callable[..., Any]) -> None:
    """Its largest logit would be class 0: neither right where that is true, nor agreement."""
    case = known((0.0, 0.0), n=100)
    networks = dict.fromkeys(("m0", "m1"), Times(math.nan).eval())
    classifiers = replace(case.classifiers, networks=networks)
    split = case.data.validation
    found = conditional_coherence(case.model, split, classifiers, 100, 0)
    assert not found.scores.correct_NSM.any()
    assert joint_coherence(case.model, classifiers, 100, 0).plain()[0] == 0


class Times(nn.Module):
    """A classifier of samples that are logits already."""

    def __init__(self, factor: float, shift: float = 0.0) -> None:
        super().__init__()
        self.factor, self.shift = factor, shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scaled logits."""
        return self.factor * x + self.shift


@pytest.mark.parametrize("sizes", [(1,), (1, 3), (2, 3)])
def test_fewer_subsets_are_measured_as_among_all(known: Callable[..., Any], sizes: tuple[int, ...]) -> None:
    """A subset's noise, scores, KL and health do not depend on which others are measured."""
    case = known((0.3, 0.4, 0.2), n=50)
    split = case.data.validation
    whole, part = (conditional_coherence(case.model, split, case.classifiers, 50, 0, s) for s in ((), sizes))
    index = [s for s, mask in enumerate(whole.masks) if mask.bit_count() in sizes]
    assert part.masks == tuple(whole.masks[s] for s in index)
    assert torch.equal(part.scores.correct_NSM, whole.scores.correct_NSM[:, index])
    assert torch.equal(part.kl_NS, whole.kl_NS[:, index])
    assert torch.equal(part.diagnostics.active_S, whole.diagnostics.active_S[index])


def test_private_latents_stay_with_their_subset(
    modality: Callable[..., Any], known: Callable[..., Any]
) -> None:
    """Decoders that paint a class by the private latent alone: fewer subsets see the same draws."""
    split = known((0.0, 0.0, 0.0), n=40).data.validation

    def paint(z: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot((z[:, 1] > 0).long() + 2 * (z[:, 0] > 9).long(), 4).float()

    def encode(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(x), 2), torch.zeros(len(x), 2)

    parts = {name: modality(encode, paint, NormalLikelihood(0.5)) for name in split.x}
    model = MoPoE(parts, 1, style_dim=1)
    classifiers = Classifiers(
        networks=dict.fromkeys(split.x, nn.Identity().eval()), accuracy={}, hash="identity"
    )
    whole, part = (conditional_coherence(model, split, classifiers, 40, 0, s) for s in ((), (2, 3)))
    assert torch.equal(part.scores.correct_NSM, whole.scores.correct_NSM[:, 3:])
    assert not torch.equal(part.scores.correct_NSM, whole.scores.correct_NSM[:, :4])
    less = conditional_coherence(model, split, classifiers, 40, 0, own_targets=False)
    outside_SM = targets_outside(model.masks, 3)
    assert torch.equal(less.scores.correct_NSM, whole.scores.correct_NSM & outside_SM)


def test_without_own_targets_the_others_are_what_they_were(known: Callable[..., Any]) -> None:
    """Targets outside the source get the same scores, of classes and of attributes; the others get none."""
    case = known((0.3, 0.4, 0.2), n=50)
    split = case.data.validation
    rows = nn.functional.one_hot(split.labels, 4)
    for labels in (split.labels, rows):
        samples = Split(split.x, labels)
        whole, less = (
            conditional_coherence(case.model, samples, case.classifiers, 50, 0, own_targets=own)
            for own in (True, False)
        )
        outside_SM = targets_outside(whole.masks, 3)
        assert whole.measured_SM.all()
        assert torch.equal(less.measured_SM, outside_SM)
        for all_pairs, fewer in zip(whole.scores.pairs(), less.scores.pairs(), strict=True):
            assert torch.equal(all_pairs[outside_SM], fewer[outside_SM])
        assert whole.scores.mean_over(outside_SM) == less.scores.mean_over(outside_SM)
        assert torch.equal(whole.kl_NS, less.kl_NS)


def test_attributes_have_average_precision_and_agreement(known: Callable[..., Any]) -> None:
    """One-hot rows as attributes: perfect decoders give 1, the wrong class what ranking it first gives.

    A decoder that always errs puts 1 where another attribute is true: with four equally frequent, disjoint
    attributes its positives tie with half of the negatives. Jointly both targets agree on all four, or, if
    one errs, on two of four.
    """
    case = known((0.0, 1.0), n=400)
    split = case.data.validation
    rows = nn.functional.one_hot(split.labels, 4)
    classifiers = replace(case.classifiers, networks=dict.fromkeys(("m0", "m1"), Times(1.0, -0.5).eval()))
    found = conditional_coherence(case.model, Split(split.x, rows), classifiers, 400, 0).scores
    value, error = found.pairs()
    assert found.measure == "average_precision"
    assert value[:, 0].tolist() == [1.0] * 3
    assert error[:, 0].tolist() == [0.0] * 3
    # All positives are in the lower of two groups of scores, whose end is the whole: precision is prevalence.
    assert value[:, 1].tolist() == pytest.approx([0.25] * 3)
    joint = joint_coherence(case.model, classifiers, 50, 0, attributes=True)
    assert joint.plain()[0] == 0.5
    assert joint.balanced() is None
    agreed = joint_coherence(known((0.2, 0.2)).model, classifiers, 50, 0, attributes=True)
    assert agreed.plain() == (1.0, 0.0)


LABELS = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 4, 4])
CORRECT = torch.tensor([1, 1, 1, 1, 1, 1, 1, 0, 0, 0]).bool()


def test_shares_by_hand() -> None:
    """Seven of ten are right: all of class 0, half of class 1, none of class 4; class 2 does not occur."""
    found = ClassScores(CORRECT[:, None, None], LABELS)
    value, error = found.pairs()
    assert value.item() == pytest.approx(0.7)
    assert error.item() == pytest.approx(math.sqrt(0.7 * 0.3 / 10))
    value, error = found.balanced()
    assert value.item() == pytest.approx((1 + 0.5 + 0) / 3)
    assert error.item() == pytest.approx(math.sqrt(0.5 * 0.5 / 1) / 3)
    assert (found.chance, found.measure) == (0.6, "accuracy")


def test_the_error_of_a_mean_over_pairs_knows_that_they_share_samples() -> None:
    """Two pairs that are always right together are worth one; no pair at all gives NaN."""
    twice = ClassScores(CORRECT[:, None, None].expand(-1, 1, 2), LABELS)
    once = ClassScores(CORRECT[:, None, None], LABELS)
    assert twice.mean_over(torch.tensor([[True, True]])) == once.mean_over(torch.tensor([[True]]))
    assert once.mean_over(torch.tensor([[True]])) == pytest.approx((0.7, math.sqrt(0.21 * 10 / 9 / 10)))
    assert math.isnan(once.mean_over(torch.tensor([[False]]))[0])


def test_the_balanced_share_of_equal_classes_is_the_plain_one() -> None:
    """With as many samples of every class nothing is left to balance."""
    labels = torch.arange(5).repeat(8)
    correct = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) < 0.4
    assert balanced_share(correct, labels)[0].tolist() == pytest.approx(correct.double().mean(0).tolist())


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    data=st.data(),
)
def test_average_precision_is_scikit_learns(scores: list[int], data: st.DataObject) -> None:
    """With ties, with weights, and with samples that a resample leaves out."""
    n = len(scores)
    positive = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    weights = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    found = average_precision(
        torch.tensor(scores).float(), torch.tensor(positive), torch.tensor([[1] * n, weights]).double()
    )
    for value, w in zip(found.tolist(), ([1] * n, weights), strict=True):
        if not any(p and k for p, k in zip(positive, w, strict=True)):
            assert math.isnan(value)
            continue
        kept = np.repeat(np.arange(n), w)
        expected = average_precision_score(np.array(positive)[kept], np.array(scores)[kept])
        assert value == pytest.approx(expected)


def attributes(n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores [N, 2, 2, 4] that know more of the target 0, and labels; the attribute 3 never occurs."""
    rng = torch.Generator().manual_seed(1)
    labels = (torch.rand(n, 4, generator=rng) < torch.tensor([0.5, 0.2, 0.05, 0.0])).long()
    noise = torch.randn(n, 2, 2, 4, generator=rng)
    return labels[:, None, None] * torch.tensor([2.0, 0.5])[None, None, :, None] + noise, labels


def test_attributes_are_judged_by_their_mean_average_precision() -> None:
    """An attribute that never occurs is left out; chance is the mean share of those that have one."""
    scores, labels = attributes()
    found = attribute_scores(scores, labels, 0)
    value, _ = found.pairs()
    for s in range(2):
        for m in range(2):
            each = [average_precision_score(labels[:, a], scores[:, s, m, a]) for a in range(3)]
            assert value[s, m].item() == pytest.approx(sum(each) / 3)
    assert found.chance == pytest.approx(labels[:, :3].double().mean().item())
    assert (found.measure, found.balanced()) == ("average_precision", None)
    chosen = torch.tensor([[True, False], [False, True]])
    assert found.mean_over(chosen)[0] == pytest.approx(value[chosen].mean().item())


def test_the_bootstrap_is_as_wide_as_new_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its standard error is near the spread of the value over fresh data sets, and fixed by the seed."""
    monkeypatch.setattr(module, "RESAMPLES", 400)
    scores, labels = attributes(6000)
    scores, labels = scores[:, :1, :, :2], labels[:, :2]
    parts = [attribute_scores(scores[i : i + 150], labels[i : i + 150], 0) for i in range(0, 6000, 150)]
    spread = torch.stack([p.value_SM for p in parts]).std(0)
    errors = torch.stack([p.pairs()[1] for p in parts]).mean(0)
    assert (errors / spread).flatten().tolist() == pytest.approx([1.0, 1.0], abs=0.35)
    again = attribute_scores(scores[:150], labels[:150], 0)
    assert torch.equal(again.resampled_RSM, parts[0].resampled_RSM)


def test_an_attribute_may_be_missing_from_a_resample() -> None:
    """With one positive of twenty a third of the resamples has none; the others' mean stands in."""
    labels = torch.zeros(20, 2, dtype=torch.int64)
    labels[0, 0], labels[::2, 1] = 1, 1
    found = attribute_scores(torch.randn(20, 1, 1, 2, generator=torch.Generator().manual_seed(0)), labels, 0)
    assert found.resampled_RSM.isfinite().all()


def test_a_score_that_is_no_number_counts_as_the_lowest() -> None:
    """A model that diverged cannot gain by it."""
    scores, labels = attributes()
    scores[:, 0, 0, 0] = math.nan
    value, _ = attribute_scores(scores, labels, 0).pairs()
    each = [average_precision_score(labels[:, a], scores[:, 0, 0, a]) for a in (1, 2)]
    assert value[0, 0].item() == pytest.approx((sum(each) + labels[:, 0].double().mean().item()) / 3)
