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
from mopoe.evaluation.coherence import conditional_coherence, joint_coherence

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
    found = conditional(case).coherence_SM()
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
    correct = conditional(case).correct_NSM
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
    found = joint_coherence(case.model, case.classifiers, 3000, 0, CPU)
    assert found == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 3000))


def test_one_seed_gives_one_result(known: Callable[..., Any]) -> None:
    """The noise is the seed's: equal seeds agree sample by sample, others do not."""
    case = known((0.3, 0.4))
    a, b, c = conditional(case), conditional(case), conditional(case, seed=1)
    assert torch.equal(a.correct_NSM, b.correct_NSM)
    assert not torch.equal(a.correct_NSM, c.correct_NSM)
    joint = [joint_coherence(case.model, case.classifiers, 500, seed, CPU) for seed in (0, 0, 1)]
    assert joint[0] == joint[1] != joint[2]


@pytest.mark.parametrize("rows", [1, 64, 4096])
def test_the_size_of_a_chunk_does_not_change_the_result(
    known: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """How many latents are decoded at a time is a matter of speed alone."""
    case = known((0.3, 0.4))
    before = conditional(case, n=600), joint_coherence(case.model, case.classifiers, 600, 0, CPU)
    monkeypatch.setattr(coherence, "ROWS", rows)
    after = conditional(case, n=600), joint_coherence(case.model, case.classifiers, 600, 0, CPU)
    assert torch.equal(before[0].correct_NSM, after[0].correct_NSM)
    assert before[1] == after[1]


def test_more_samples_than_there_are_use_all_there_are(known: Callable[..., Any]) -> None:
    """Asking for 99 of 20 samples measures 20."""
    case = known((0.0, 0.0), n=20)
    assert conditional(case, n=99).correct_NSM.shape == (20, 3, 2)


def test_labels_stay_with_their_samples(known: Callable[..., Any]) -> None:
    """A sample with a wrong label counts as wrong, and only that one."""
    case = known((0.0, 0.0), n=300)
    split = case.data.validation
    labels = split.labels.clone()
    labels[[3, 200]] = (labels[[3, 200]] + 1) % 4
    found = conditional_coherence(case.model, Split(split.x, labels), case.classifiers, 300, 0, CPU)
    assert (~found.correct_NSM.all(2).all(1)).nonzero().flatten().tolist() == [3, 200]


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
