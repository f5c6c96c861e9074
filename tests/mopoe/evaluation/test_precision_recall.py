"""Precision and recall of generators that are known to miss, or to invent, modes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mopoe.errors import DataError
from mopoe.evaluation.precision_recall import curve, precision_recall


def modes(n: int, which: range, seed: int) -> Tensor:
    """Return n samples close to some of ten distant points, equally many of each."""
    rng = torch.Generator().manual_seed(seed)
    centres = 100 * torch.randn(10, 4, generator=torch.Generator().manual_seed(9))
    return centres[which.start + torch.arange(n) % len(which)] + 0.1 * torch.randn(n, 4, generator=rng)


def test_a_perfect_generator_has_both_and_a_wrong_one_neither() -> None:
    """With one cluster a mode, equal histograms give 1 and disjoint ones 0."""
    same = precision_recall(modes(200, range(10), 0), modes(200, range(10), 1), clusters=10, runs=3)
    assert min(same.precision, same.recall) == pytest.approx(1.0, abs=1e-4)
    other = precision_recall(modes(200, range(5), 0), modes(200, range(5, 10), 1), clusters=10, runs=3)
    assert (other.precision, other.recall, other.mean) == pytest.approx((0, 0, 0), abs=1e-6)


def test_missing_and_invented_modes_are_told_apart() -> None:
    """Half of the real modes: full precision, low recall; twice as many as real: the other way round."""
    all_, half = modes(200, range(10), 0), modes(200, range(5), 1)
    missing = precision_recall(all_, half, clusters=10, runs=3)
    invented = precision_recall(half, all_, clusters=10, runs=3)
    assert (missing.precision, invented.recall) == pytest.approx((0.99, 0.99), abs=0.02)
    assert (missing.recall, invented.precision) == pytest.approx((0.5, 0.5), abs=0.02)
    assert missing.mean == pytest.approx(invented.mean, abs=1e-3)


def test_the_curve_is_its_definition() -> None:
    """Against plain loops over clusters, at every angle."""
    real, generated = np.array([0.2, 0.5, 0.3, 0.0]), np.array([0.4, 0.1, 0.25, 0.25])
    precision, recall = curve(real, generated, 11)
    for t, angle in enumerate(np.linspace(1e-6, np.pi / 2 - 1e-6, 11)):
        slope = np.tan(angle)
        assert precision[t] == pytest.approx(
            sum(min(slope * r, g) for r, g in zip(real, generated, strict=True))
        )
        assert recall[t] == pytest.approx(
            sum(min(r, g / slope) for r, g in zip(real, generated, strict=True))
        )


def test_one_seed_gives_one_result_and_the_larger_set_is_cut() -> None:
    """Clusterings differ by seed alone."""
    real, generated = modes(100, range(10), 0), modes(80, range(8), 1)
    a = precision_recall(real, generated, clusters=4, runs=2)
    assert a == precision_recall(real[:80], generated, clusters=4, runs=2)
    assert a.recall <= 1


def test_too_few_samples_are_refused() -> None:
    """Before they are clustered."""
    with pytest.raises(DataError, match=r"^5 real and 5 generated samples are too few for 20 clusters$"):
        precision_recall(torch.zeros(5, 2), torch.zeros(9, 2))
