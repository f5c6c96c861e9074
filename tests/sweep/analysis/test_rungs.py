from itertools import combinations

import numpy as np
import polars as pl
import pytest

from sweep.analysis.summaries import rank_agreement
from sweep.config.objectives import Objective

TWO = (Objective(name="x"), Objective(name="y", maximize=False))


def tau_b(one, other) -> float:
    """Return Kendall's tau-b by counting pairs."""
    signs = [
        (np.sign(one[i] - one[j]), np.sign(other[i] - other[j])) for i, j in combinations(range(len(one)), 2)
    ]
    a, b = np.array(signs).T
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def front_rank(values) -> np.ndarray:
    """Return how many fronts of points to minimise lie before each point's, by taking fronts away."""
    rank, left = np.zeros(len(values)), list(range(len(values)))
    while left:
        front = [
            i
            for i in left
            if not any((values[j] <= values[i]).all() and (values[j] < values[i]).any() for j in left)
        ]
        left = [i for i in left if i not in front]
        rank[left] += 1
    return rank


def make(early, late, at=(1,), full=3):
    """Return epochs and usable trials of values to maximise and to minimise, evaluated at some epochs."""
    names = [f"t{i}" for i in range(len(late))]
    usable = pl.DataFrame({"trial_id": names, "epochs_max": full, "o_x": late[:, 0], "o_y": late[:, 1]})
    rows = [
        (name, e, *(row if e in at else (None, None)))
        for name, row, last in zip(names, early.tolist(), late.tolist(), strict=True)
        for e in range(1, full + 1)
        for row in [last if e == full else row]
    ]
    return pl.DataFrame(rows, schema=["trial_id", "epoch", "o_x", "o_y"], orient="row"), usable


def test_agreement_is_that_of_counted_pairs():
    """Tau-b of each objective and of the front's rank, with ties, and the share of the front that is kept."""
    random = np.random.default_rng(3)
    late = random.integers(0, 15, 30)[:, None] + np.stack([np.zeros(30), random.integers(0, 6, 30)], axis=1)
    early = late + random.integers(-5, 6, (30, 2))
    epochs, usable = make(early, late)
    found = rank_agreement(epochs, usable, TWO, eta=3)
    assert found.select("epoch", "trials").rows() == [(1, 30)]
    assert found["x"][0] == pytest.approx(tau_b(early[:, 0], late[:, 0]))
    assert found["y"][0] == pytest.approx(tau_b(early[:, 1], late[:, 1]))
    first, last = front_rank(early * [-1, 1]), front_rank(late * [-1, 1])
    assert found["front"][0] == pytest.approx(tau_b(first, last))
    kept = [(first < first[i]).sum() < 30 / 3 for i in np.flatnonzero(last == 0)]
    assert 0 < np.mean(kept) < 1
    assert found["kept"][0] == pytest.approx(np.mean(kept))


def test_the_same_order_and_its_opposite():
    """An epoch in the final order agrees wholly, one in the opposite order not at all."""
    late = np.array([[float(i), 10.0 - i] for i in range(6)])
    epochs, usable = make(late / 2, late, at=(1, 2))
    found = rank_agreement(epochs, usable, TWO, eta=2)
    assert [row[:2] for row in found.rows()] == [(1, 6), (2, 6)]
    assert found.select(pl.exclude("epoch", "trials")).to_numpy() == pytest.approx(1.0)
    epochs, usable = make(-late, late)
    assert rank_agreement(epochs, usable, TWO, eta=2).row(0)[2:] == pytest.approx((-1, -1, -1, 0))


@pytest.mark.parametrize(("place", "kept"), [(2, 1.0), (3, 0.0)])
def test_a_rung_keeps_those_whom_fewer_than_its_share_precede(place, kept):
    """Of six trials half go on: the later best is kept from the third place, and lost from the fourth."""
    order = [*range(1, place + 1), 0, *range(place + 1, 6)]
    early = np.array([[-float(order.index(i)), float(order.index(i))] for i in range(6)])
    late = np.array([[-float(i), float(i)] for i in range(6)])
    assert rank_agreement(*make(early, late), TWO, eta=2)["kept"].to_list() == [kept]


def test_ties_alone_have_no_order():
    """Where all trials have one value, or all are on one front, tau is null."""
    late = np.array([[float(i), float(i)] for i in range(6)])
    early = np.column_stack([np.zeros(6), late[:, 1]])
    found = rank_agreement(*make(early, late), TWO, eta=3)
    assert found.select("x", "front").rows() == [(None, None)]
    assert found["y"][0] == pytest.approx(1.0)


def test_too_few_trials_or_evaluations():
    """Four trials, other budgets, or evaluations after the last epoch alone give no rows."""
    late = np.array([[float(i), 10.0 - i] for i in range(6)])
    epochs, usable = make(late, late)
    assert rank_agreement(*make(late[:4], late[:4]), TWO, eta=3).height == 0
    assert rank_agreement(*make(late, late, at=()), TWO, eta=3).height == 0
    longer = usable.with_columns(epochs_max=pl.Series([3, 3, 3, 3, 3, 9]))
    assert rank_agreement(epochs, longer, TWO, eta=3).height == 0
    assert rank_agreement(epochs.drop("o_x", "o_y"), usable, TWO, eta=3).height == 0
    assert rank_agreement(epochs, usable.clear(), TWO, eta=3).height == 0
