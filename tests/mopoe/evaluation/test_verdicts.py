"""Shares, class-balanced shares and average precisions by hand, by scikit-learn and by resampling."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from mopoe.evaluation import coherence as module
from mopoe.evaluation.coherence import ClassVerdicts, average_precision, balanced_share, judge_attributes

LABELS = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 4, 4])
CORRECT = torch.tensor([1, 1, 1, 1, 1, 1, 1, 0, 0, 0]).bool()


def test_shares_by_hand() -> None:
    """Seven of ten are right: all of class 0, half of class 1, none of class 4; class 2 does not occur."""
    found = ClassVerdicts(CORRECT[:, None, None], LABELS)
    value, error = found.pairs()
    assert value.item() == pytest.approx(0.7)
    assert error.item() == pytest.approx(math.sqrt(0.7 * 0.3 / 10))
    value, error = found.balanced()
    assert value.item() == pytest.approx((1 + 0.5 + 0) / 3)
    assert error.item() == pytest.approx(math.sqrt(0.5 * 0.5 / 1) / 3)
    assert (found.chance, found.measure) == (0.6, "accuracy")


def test_the_error_of_a_mean_over_pairs_knows_that_they_share_samples() -> None:
    """Two pairs that are always right together are worth one; no pair at all gives NaN."""
    twice = ClassVerdicts(CORRECT[:, None, None].expand(-1, 1, 2), LABELS)
    once = ClassVerdicts(CORRECT[:, None, None], LABELS)
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
    found = judge_attributes(scores, labels, 0)
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
    parts = [judge_attributes(scores[i : i + 150], labels[i : i + 150], 0) for i in range(0, 6000, 150)]
    spread = torch.stack([p.value_SM for p in parts]).std(0)
    errors = torch.stack([p.pairs()[1] for p in parts]).mean(0)
    assert (errors / spread).flatten().tolist() == pytest.approx([1.0, 1.0], abs=0.35)
    again = judge_attributes(scores[:150], labels[:150], 0)
    assert torch.equal(again.resampled_RSM, parts[0].resampled_RSM)


def test_an_attribute_may_be_missing_from_a_resample() -> None:
    """With one positive of twenty a third of the resamples has none; the others' mean stands in."""
    labels = torch.zeros(20, 2, dtype=torch.int64)
    labels[0, 0], labels[::2, 1] = 1, 1
    found = judge_attributes(torch.randn(20, 1, 1, 2, generator=torch.Generator().manual_seed(0)), labels, 0)
    assert found.resampled_RSM.isfinite().all()


def test_a_score_that_is_no_number_counts_as_the_lowest() -> None:
    """A model that diverged cannot gain by it."""
    scores, labels = attributes()
    scores[:, 0, 0, 0] = math.nan
    value, _ = judge_attributes(scores, labels, 0).pairs()
    each = [average_precision_score(labels[:, a], scores[:, 0, 0, a]) for a in (1, 2)]
    assert value[0, 0].item() == pytest.approx((sum(each) + labels[:, 0].double().mean().item()) / 3)
