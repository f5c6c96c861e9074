"""Coherence of models whose coherence is known."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from mopoe.data.container import Split
from mopoe.errors import DataError
from mopoe.evaluation import coherence
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.coherence import conditional_coherence, joint_coherence, targets_outside
from mopoe.likelihoods import Normal as NormalLikelihood
from mopoe.model import MoPoE

CPU = torch.device("cpu")
ERRORS = (0.0, 0.1, 0.4, 1.0)


def conditional(case: Any, n: int = 1200, seed: int = 0) -> coherence.Conditional:
    """Return the conditional coherence of a known case on its validation split."""
    return conditional_coherence(case.model, case.data.validation, case.classifiers, n, seed, CPU)


def test_conditional_coherence_is_the_known_one(known: Callable[..., Any]) -> None:
    """A decoder that errs below a quantile errs, given k experts, with probability Phi(sqrt(k) quantile).

    The fifth latent is N(0, 1/k) given a subset of k; errors 0 and 1 are exact.
    """
    case = known(ERRORS)
    found, _ = conditional(case).verdicts.pairs()
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
    correct = conditional(case).verdicts.correct_NSM
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
    found, _ = joint_coherence(case.model, case.classifiers, 3000, 0, CPU).plain()
    assert found == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 3000))


def test_one_seed_gives_one_result(known: Callable[..., Any]) -> None:
    """The noise is the seed's: equal seeds agree sample by sample, others do not."""
    case = known((0.3, 0.4))
    a, b, c = conditional(case), conditional(case), conditional(case, seed=1)
    assert torch.equal(a.verdicts.correct_NSM, b.verdicts.correct_NSM)
    assert not torch.equal(a.verdicts.correct_NSM, c.verdicts.correct_NSM)
    joint = [joint_coherence(case.model, case.classifiers, 500, seed, CPU).plain() for seed in (0, 0, 1)]
    assert joint[0] == joint[1] != joint[2]


@pytest.mark.parametrize("rows", [1, 64, 4096])
def test_the_size_of_a_chunk_does_not_change_the_result(
    known: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """How many latents are decoded at a time is a matter of speed alone."""
    case = known((0.3, 0.4))
    before = conditional(case, n=600), joint_coherence(case.model, case.classifiers, 600, 0, CPU).plain()
    monkeypatch.setattr(coherence, "ROWS", rows)
    after = conditional(case, n=600), joint_coherence(case.model, case.classifiers, 600, 0, CPU).plain()
    assert torch.equal(before[0].verdicts.correct_NSM, after[0].verdicts.correct_NSM)
    assert torch.equal(before[0].kl_NS, after[0].kl_NS)
    assert before[0].health.active_S.tolist() == after[0].health.active_S.tolist()
    assert before[1] == after[1]


def test_more_samples_than_there_are_use_all_there_are(known: Callable[..., Any]) -> None:
    """Asking for 99 of 20 samples measures 20."""
    case = known((0.0, 0.0), n=20)
    assert conditional(case, n=99).verdicts.correct_NSM.shape == (20, 3, 2)


def test_labels_stay_with_their_samples(known: Callable[..., Any]) -> None:
    """A sample with a wrong label counts as wrong, and only that one."""
    case = known((0.0, 0.0), n=300)
    split = case.data.validation
    labels = split.labels.clone()
    labels[[3, 200]] = (labels[[3, 200]] + 1) % 4
    found = conditional_coherence(case.model, Split(split.x, labels), case.classifiers, 300, 0, CPU)
    assert (~found.verdicts.correct_NSM.all(2).all(1)).nonzero().flatten().tolist() == [3, 200]


def test_a_classifier_in_training_mode_is_an_error(known: Callable[..., Any]) -> None:
    """Dropout would lower every coherence in silence."""
    case = known((0.0, 0.0), n=4)
    networks = {"m0": nn.Identity().eval(), "m1": nn.Identity().train()}
    classifiers = replace(case.classifiers, networks=networks)
    expected = "^the classifier of 'm1' is in training mode, but coherence needs eval mode$"
    with pytest.raises(DataError, match=expected):
        conditional_coherence(case.model, case.data.validation, classifiers, 4, 0, CPU)
    with pytest.raises(DataError, match=expected):
        joint_coherence(case.model, classifiers, 4, 0, CPU)


def test_balanced_conditional_coherence_is_the_known_one(known: Callable[..., Any]) -> None:
    """Wrong labels for one class of four lower the balanced value by a quarter, however rare the class is."""
    case = known((0.0, 1.0), n=400)
    split = case.data.validation
    keep = (split.labels != 3) | (torch.arange(400) < 40)
    few = Split({name: x[keep] for name, x in split.x.items()}, split.labels[keep])
    shown = {name: torch.where(few.labels[:, None] == 3, x.roll(1, 1), x) for name, x in few.x.items()}
    found = conditional_coherence(case.model, Split(shown, few.labels), case.classifiers, 400, 0, CPU)
    plain, (balanced, _) = found.verdicts.pairs()[0], found.verdicts.balanced()
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
    found = joint_coherence(case.model, classifiers, 4000, 0, CPU)
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
    found = conditional_coherence(case.model, split, classifiers, 100, 0, CPU)
    assert not found.verdicts.correct_NSM.any()
    assert joint_coherence(case.model, classifiers, 100, 0, CPU).plain()[0] == 0


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
    """A subset's noise, verdicts, KL and health do not depend on which others are measured."""
    case = known((0.3, 0.4, 0.2), n=50)
    split = case.data.validation
    whole, part = (
        conditional_coherence(case.model, split, case.classifiers, 50, 0, CPU, s) for s in ((), sizes)
    )
    index = [s for s, mask in enumerate(whole.masks) if mask.bit_count() in sizes]
    assert part.masks == tuple(whole.masks[s] for s in index)
    assert torch.equal(part.verdicts.correct_NSM, whole.verdicts.correct_NSM[:, index])
    assert torch.equal(part.kl_NS, whole.kl_NS[:, index])
    assert torch.equal(part.health.active_S, whole.health.active_S[index])


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
    judges = Classifiers(networks=dict.fromkeys(split.x, nn.Identity().eval()), accuracy={}, hash="identity")
    whole, part = (conditional_coherence(model, split, judges, 40, 0, CPU, s) for s in ((), (2, 3)))
    assert torch.equal(part.verdicts.correct_NSM, whole.verdicts.correct_NSM[:, 3:])
    assert not torch.equal(part.verdicts.correct_NSM, whole.verdicts.correct_NSM[:, :4])
    less = conditional_coherence(model, split, judges, 40, 0, CPU, own_targets=False)
    outside_SM = targets_outside(model.masks, 3)
    assert torch.equal(less.verdicts.correct_NSM, whole.verdicts.correct_NSM & outside_SM)


def test_without_own_targets_the_others_are_what_they_were(known: Callable[..., Any]) -> None:
    """Targets outside the source get the same verdicts, of classes and of attributes; the others get none."""
    case = known((0.3, 0.4, 0.2), n=50)
    split = case.data.validation
    rows = nn.functional.one_hot(split.labels, 4)
    for labels in (split.labels, rows):
        samples = Split(split.x, labels)
        whole, less = (
            conditional_coherence(case.model, samples, case.classifiers, 50, 0, CPU, own_targets=own)
            for own in (True, False)
        )
        outside_SM = targets_outside(whole.masks, 3)
        assert whole.measured_SM.all()
        assert torch.equal(less.measured_SM, outside_SM)
        for all_pairs, fewer in zip(whole.verdicts.pairs(), less.verdicts.pairs(), strict=True):
            assert torch.equal(all_pairs[outside_SM], fewer[outside_SM])
        assert whole.verdicts.mean_over(outside_SM) == less.verdicts.mean_over(outside_SM)
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
    found = conditional_coherence(case.model, Split(split.x, rows), classifiers, 400, 0, CPU).verdicts
    value, error = found.pairs()
    assert found.measure == "average_precision"
    assert value[:, 0].tolist() == [1.0] * 3
    assert error[:, 0].tolist() == [0.0] * 3
    # All positives are in the lower of two groups of scores, whose end is the whole: precision is prevalence.
    assert value[:, 1].tolist() == pytest.approx([0.25] * 3)
    joint = joint_coherence(case.model, classifiers, 50, 0, CPU, attributes=True)
    assert joint.plain()[0] == 0.5
    assert joint.balanced() is None
    agreed = joint_coherence(known((0.2, 0.2)).model, classifiers, 50, 0, CPU, attributes=True)
    assert agreed.plain() == (1.0, 0.0)
