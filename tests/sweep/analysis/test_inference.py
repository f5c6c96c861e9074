"""Intervals and paired errors against textbook formulas."""

import math

import numpy as np
import polars as pl
import pytest

from sweep.analysis import inference
from sweep.analysis.inference import infer
from sweep.analysis.points import by_config, points, usable_trials
from sweep.config.objectives import Objective

TWO = (Objective(name="log_likelihood"), Objective(name="loss", direction="minimize"))


def made(values_CS, by_sample=None, error=0.5, draws=1000, second_CS=None, *, folds=False):
    """Return configs and what is known of them.

    Args:
        values_CS: the first objective by config and seed.
        by_sample: its values by sample, [config, seed, N], instead.
        error: the standard error of a trial.
        draws: from the posterior.
        second_CS: the second objective; by default the first one's negative.
        folds: whether a config's values are of folds.
    """
    if by_sample is not None:
        values_CS = by_sample.mean(2)
    config, seed = (a.ravel() for a in np.indices(values_CS.shape))
    names = [f"t{c:03}-{s}" for c, s in zip(config, seed, strict=True)]
    frame = pl.DataFrame({"trial_id": names, "config_id": [f"c{c:03}" for c in config], "seed": seed})
    frame = frame.with_columns(
        pl.lit("completed").alias("status"),
        *(pl.lit(error, dtype=pl.Float64).alias(f"se_{o.name}") for o in TWO),
        o_log_likelihood=pl.Series(values_CS.ravel()),
        o_loss=pl.Series((-values_CS if second_CS is None else second_CS).ravel()),
    )
    samples = None
    if by_sample is not None:
        rows = by_sample.reshape(len(names), -1)
        parts = [
            pl.DataFrame({"trial_id": names, "metric": o.name, "values": (o.sign * rows).tolist()})
            for o in TWO
        ]
        samples = pl.concat(parts)
    usable = usable_trials(frame, TWO)
    return infer(usable, by_config(usable, TWO), TWO, samples, draws=draws, folds=folds)


def test_single_seeds_have_intervals_over_samples_alone():
    """1.96 standard errors, and no posterior; an unknown error has no interval."""
    configs, found = made(np.array([[1.0], [2.0]]))
    assert found.posterior is None
    assert configs["ci_log_likelihood"].to_list() == pytest.approx([1.96 * 0.5] * 2, rel=1e-3)
    for unknown in (None, math.nan):
        assert made(np.array([[1.0], [2.0]]), error=unknown)[0]["ci_loss"].to_list() == [None, None]


def test_the_error_of_a_difference_is_paired():
    """Two trials on the same samples differ by far less than their standard errors imply."""
    random = np.random.default_rng(0)
    rows = 50 * random.standard_normal(100) + random.standard_normal((3, 1, 100))
    configs, found = made(None, rows)
    paired = (rows[0, 0] - rows[1, 0]).std(ddof=1) / 10
    assert found.difference_error(0, 1) == pytest.approx([paired, paired], rel=1e-3)
    alone = rows[0, 0].std(ddof=1) / 10
    assert paired < alone / 10
    assert configs["ci_log_likelihood"][0] == pytest.approx(1.96 * alone, rel=1e-3)
    assert found.unpaired == ()


def test_without_values_by_sample_errors_count_as_independent():
    """The error of a difference is that of two independent numbers, and the objectives are named."""
    _, found = made(np.array([[1.0], [2.0]]))
    assert found.difference_error(0, 1) == pytest.approx([0.5 * math.sqrt(2)] * 2)
    assert found.unpaired == ("log_likelihood", "loss")


@pytest.mark.parametrize(
    ("name", "correlation"),
    [("conditional_coherence", 1), ("log_likelihood_conditional", 1), ("joint_coherence", 0)],
)
def test_objectives_of_the_same_held_out_samples_move_together(name, correlation):
    """Those that are measured on prior draws, or on nobody knows what, move alone."""
    rows = np.random.default_rng(0).standard_normal((2, 20))
    frame, objectives = {"trial_id": ["a", "b"], "config_id": ["a", "b"], "seed": [0, 0]}, []
    for objective in (Objective(name="log_likelihood"), Objective(name=name)):
        objectives.append(objective)
        frame |= {f"o_{objective.name}": rows.mean(1), f"se_{objective.name}": [0.5, 0.5]}
    usable = usable_trials(pl.DataFrame(frame | {"status": ["completed"] * 2}), objectives)
    lists = [
        pl.DataFrame({"trial_id": ["a", "b"], "metric": o.name, "values": rows.tolist()}) for o in objectives
    ]
    _, found = infer(usable, by_config(usable, objectives), objectives, pl.concat(lists))
    one_K, other_K = found.factors_COK[0]
    cosine = one_K @ other_K / np.linalg.norm(one_K) / np.linalg.norm(other_K)
    assert cosine == pytest.approx(correlation, abs=1e-9)


def test_values_by_sample_that_some_trials_lack_do_not_count():
    """An evaluation of another size, or an older file, makes the objective an unpaired one."""
    rows = np.random.default_rng(0).standard_normal((3, 1, 20))
    usable = usable_trials(
        pl.DataFrame(
            {
                "trial_id": ["a", "b"],
                "config_id": ["a", "b"],
                "seed": [0, 0],
                "status": ["completed"] * 2,
                "o_log_likelihood": [1.0, 2.0],
                "se_log_likelihood": [0.5, 0.5],
            }
        ),
        TWO[:1],
    )
    for lists in ([rows[0, 0].tolist()], [rows[0, 0].tolist(), rows[1, 0][:9].tolist()]):
        samples = pl.DataFrame(
            {"trial_id": ["a", "b"][: len(lists)], "metric": "log_likelihood", "values": lists}
        )
        assert infer(usable, by_config(usable, TWO[:1]), TWO[:1], samples)[1].unpaired == ("log_likelihood",)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_hold_the_true_mean(seeds):
    """95 % of them do, where one standard error over two seeds holds half (Student's t with one degree)."""
    random, held, naive = np.random.default_rng(100 + seeds), [], []
    for _ in range(12):
        true = random.standard_normal((20, 1))
        values, other = true + 0.5 * random.standard_normal((2, 20, seeds))
        configs, _ = made(values, error=0.0, draws=250, second_CS=other)
        missed = np.abs(values.mean(1) - true[:, 0])
        held.append(missed <= configs["ci_log_likelihood"].to_numpy())
        naive.append(missed <= configs["se_log_likelihood"].to_numpy())
    assert np.mean(held) == pytest.approx(0.95, abs=0.045)  # 240 cases have a standard error of 0.014
    assert np.mean(naive) < 0.7


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_over_folds_hold_the_true_mean(paired):
    """95 % of them or more: a fold has samples of its own, whose noise is in the spread between folds, too.

    Half of the variance of a fold's value is that of its samples; the other half, that between folds.
    """
    random, configs, folds, n = np.random.default_rng(0), 100, 5, 40
    truth = 10 * random.standard_normal((configs, 1, 1))
    values = truth + random.standard_normal((configs, folds, 1))
    values = values + math.sqrt(n) * random.standard_normal((configs, folds, n))
    given = (None, values) if paired else (values.mean(2),)
    found, _ = made(*given, error=1.0, draws=250, folds=True)
    misses = (
        np.abs(found["o_log_likelihood"].to_numpy() - truth[:, 0, 0]) > found["ci_log_likelihood"].to_numpy()
    )
    assert misses.mean() < 0.05 + 2 * 0.022  # the standard error of a share of 100
    exact = 1.96 * math.sqrt(2 / folds)
    assert exact < found["ci_log_likelihood"].mean() < 1.1 * math.sqrt(1.5) * exact


def test_a_sweep_of_many_configs_has_probabilities_for_the_best(monkeypatch):
    """Beyond the limit only configs on fronts of low rank are drawn; the others have no interval."""
    monkeypatch.setattr(inference, "MOST_CONFIGS", 10)
    values = np.arange(30.0)[:, None] + 0.01 * np.arange(3)
    frame, found = made(values)
    assert len(found.rows) == 10 == frame["ci_loss"].is_not_null().sum()
    assert points(frame, TWO).gains[found.rows, 0].min() >= points(frame, TWO).gains[:, 0].max() - 10
    assert np.isnan(found.difference_error(0, 29)).all()
