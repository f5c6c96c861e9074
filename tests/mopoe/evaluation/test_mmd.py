"""The squared MMD against a double loop, moments and repeated draws; its error against a plain jackknife."""

import math
from itertools import product
from statistics import fmean

import numpy as np
import pytest
import torch
from torch import Tensor

from mopoe.errors import DataError
from mopoe.evaluation import mmd as module
from mopoe.evaluation.mmd import squared_mmd


def features(n: int, d: int, seed: int) -> Tensor:
    """Return correlated features [n, d] away from the origin."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=rng) @ torch.randn(d, d, generator=rng) / d + seed


def by_loops(real: Tensor, generated: Tensor) -> float:
    """Return the mean over all pairs of different samples, one kernel value at a time."""
    x, y = real.double().numpy(), generated.double().numpy()
    n, d = x.shape

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / d + 1) ** 3

    terms = [
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i])
        for i, j in product(range(n), range(n))
        if i != j
    ]
    return fmean(terms)


@pytest.mark.parametrize("d", [1, 3, 20])
@pytest.mark.parametrize("block", [4, 1000])
def test_it_is_the_mean_over_pairs(monkeypatch: pytest.MonkeyPatch, d: int, block: int) -> None:
    """In blocks or at once, with fewer samples than features or more."""
    monkeypatch.setattr(module, "BLOCK", block)
    a, b = features(11, d, 1), features(11, d, 2)
    assert squared_mmd(a, b)[0] == pytest.approx(by_loops(a, b), rel=1e-9)


def test_its_error_is_the_jackknifes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By leaving out each sample and its generated one in turn."""
    monkeypatch.setattr(module, "BLOCK", 5)
    n, (a, b) = 12, (features(12, 4, 1), features(12, 4, 2))
    left = np.array([by_loops(*(s[torch.arange(n) != i] for s in (a, b))) for i in range(n)])
    expected = math.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
    assert squared_mmd(a, b)[1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "pairs",
    [list(product([0.0, 1.0], [0.0, 2.0])), [(0.0, 0.0), (1.0, 2.0)]],
    ids=["independent", "generated from the sample"],
)
def test_it_has_no_bias_at_three_samples(pairs: list[tuple[float, float]]) -> None:
    """The mean over every possible draw is the squared MMD of the distributions, which moments give.

    (x y + 1)^3 is the inner product of (1, sqrt(3) x, sqrt(3) x^2, x^3), whose means are known.
    """
    found = [
        squared_mmd(*(torch.tensor(draw)[:, m : m + 1] for m in (0, 1)))[0]
        for draw in product(pairs, repeat=3)
    ]
    x, y = [0.0, 1.0], [0.0, 2.0]
    moments = [fmean(b**p for b in y) - fmean(a**p for a in x) for p in (1, 2, 3)]
    assert fmean(found) == pytest.approx(sum(w * m**2 for w, m in zip((3, 3, 1), moments, strict=True)))


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_its_error_is_the_spread_of_repeated_draws(shift: float) -> None:
    """Gaussians in two dimensions, 60 samples: the mean is the closed form, and the error the spread.

    Of equal distributions the U-statistic is degenerate, and the jackknife's error too large by sqrt(2).
    """
    rng = torch.Generator().manual_seed(0)
    draws = [torch.randn(2, 60, 2, generator=rng) for _ in range(400)]
    found = [squared_mmd(x, y + torch.tensor([shift, 0.0])) for x, y in draws]
    values, errors = (np.array(part) for part in zip(*found, strict=True))
    spread = values.std(ddof=1)
    m1, m2, m3 = shift, shift**2, shift**3 + 3 * shift
    # Means of x1, x1^2, x1^3 and x1 x2^2 differ by these; (x . y / 2 + 1)^3 weighs tensors of moments so.
    expected = 3 / 2 * m1**2 + 3 / 4 * m2**2 + (m3**2 + 3 * m1**2) / 8
    assert values.mean() == pytest.approx(expected, abs=4 * spread / 20)
    high = 1.2 if shift else 1.8
    assert 0.85 < math.sqrt(float((errors**2).mean())) / spread < high


def test_two_samples_have_no_error_and_one_no_value() -> None:
    """Of one there is no pair."""
    assert squared_mmd(torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1)) == (26.0, None)
    with pytest.raises(DataError, match=r"^an MMD needs at least 2 samples, not 1$"):
        squared_mmd(torch.zeros(1, 3), torch.zeros(1, 3))
