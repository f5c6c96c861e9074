from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from trade_offs import trade

from sweep.analysis.checks import (
    Check,
    bounds_check,
    constant_baseline_check,
    constant_check,
    estimator_check,
    failure_check,
    judges_check,
    plateaus,
    posterior_check,
    resolution_check,
    run_checks,
    seeds_check,
    split_check,
    training_check,
)
from sweep.analysis.tradeoff import tradeoff
from sweep.store.read import open_store

NO_METRICS = pl.DataFrame(
    schema={
        "trial_id": pl.String,
        "metric": pl.String,
        "value": pl.Float64,
        "subset_label": pl.String,
        "subset_size": pl.Int32,
    }
)

UNEXPLAINED = pl.DataFrame(
    schema={
        "trial_id": pl.String,
        "attempt": pl.Int32,
        "epoch": pl.Int32,
        "target": pl.String,
        "value": pl.Float64,
    }
)


@pytest.fixture(scope="module")
def found(made_up_sweep):
    """Give the trade-off of the made-up sweep, whose front has betas 0.5, 1, 2.5, 5 and 8."""
    return tradeoff(open_store(made_up_sweep))


def searched(found, **space):
    """Return the trade-off with this search space."""
    return replace(found, manifest=replace(found.manifest, spec={"search_space": space}))


def test_a_front_at_a_bound_is_told_by_name(found):
    """Three of five betas within 2 % of the upper bound lie at it; two of five do not."""
    configs = found.configs.with_columns(p_beta=pl.Series([0.5, 1.0, 2.5, 7.9, 8.0, 7.9, 8.0]))
    space = {"type": "uniform", "low": 0.5, "high": 8.0}
    assert bounds_check(searched(replace(found, configs=configs), beta=space)).result == "pass"
    configs = configs.with_columns(p_beta=pl.Series([0.5, 1.0, 7.95, 7.9, 8.0, 1.0, 1.0]))
    check = bounds_check(searched(replace(found, configs=configs), beta=space))
    assert (check.check, check.result) == ("search space", "warn")
    assert check.sentence == (
        "Half of the front lies at the edge of the search space: beta at its high bound 8 (3 of 5). "
        "Widen it there."
    )


def test_a_bound_is_near_on_the_scale_that_was_searched(found):
    """On a logarithmic scale 0.0101 of 0.01 to 100 is at the bound, and 1 of 1 to 100 whole numbers is."""
    betas = [0.0101, 0.0102, 0.01, 1.0, 2.0, 1.0, 1.0]
    configs = found.configs.with_columns(
        p_beta=pl.Series(betas), p_latent_dim=pl.Series([1, 1, 1, 9, 9, 9, 9])
    )
    beta = {"type": "log_uniform", "low": 0.01, "high": 100.0}
    dim = {"type": "int", "low": 1, "high": 100, "log": True}
    made = searched(replace(found, configs=configs), beta=beta, latent_dim=dim, weights={"type": "simplex"})
    sentence = bounds_check(made).sentence
    assert "beta at its low bound 0.01 (3 of 5); latent_dim at its low bound 1 (3 of 5)" in sentence


def test_few_seeds(found):
    """Configs of the front with fewer than three seeds are counted."""
    assert seeds_check(found).sentence == (
        "5 of 5 configs of the front have fewer than 3 seeds: raise replicates.seeds."
    )
    enough = replace(found, configs=found.configs.with_columns(seeds=pl.lit(3)))
    assert seeds_check(enough).result == "pass"


@pytest.mark.parametrize(
    "values", [[0.0, -1.0, 2.5, 5.0, 8.0, 1.0, 4.0], ["a", "b", "c", "d", "e", "f", "g"]]
)
def test_values_that_are_not_of_the_space_are_left_out(found, values):
    """A folder of single trials has what --set gave them: beyond a log range, or words for numbers."""
    configs = found.configs.with_columns(p_beta=pl.Series(values))
    space = {"type": "log_uniform", "low": 0.5, "high": 8.0}
    assert bounds_check(searched(replace(found, configs=configs), beta=space)).result == "pass"


@pytest.mark.parametrize(("shared", "result"), [(0.0, "warn"), (40.0, "pass")])
def test_neighbours_closer_than_their_error(shared, result):
    """Values 3 apart with errors of 4 are told apart if the trials share nearly all of the noise."""
    random = np.random.default_rng(0)
    own = random.standard_normal((4, 1, 100)) * (1.0 if shared else 40.0)
    noise = own + shared * random.standard_normal(100)
    noise -= noise.mean(2, keepdims=True)
    values = np.stack([np.arange(0, 12, 3.0), -np.arange(0, 12, 3.0)], 1)[:, None]
    some = trade(values, error=4.0, samples=noise)
    check = resolution_check(some)
    assert check.result == result
    assert check.sentence == (
        f"Neighbours on the front can be told apart in {'none' if result == 'warn' else 3} of 3 pairs: a "
        "pair can if the 95 % interval of the difference itself (over held-out samples alone) excludes 0 in "
        "some objective."
    )


@pytest.mark.parametrize(
    ("steps", "apart", "result"),
    [
        ([(2.7, 2.7)], "none of 1 pair", "warn"),
        ([(2.8, 0.1)], "1 of 1 pair", "pass"),
        ([(0.1, 2.8), (2.7, 2.7)], "1 of 2 pairs", "pass"),
        ([(0.1, 2.8), (2.7, 2.7), (2.7, 0.1)], "1 of 3 pairs", "warn"),
    ],
)
def test_the_objective_that_differs_most_tells_neighbours_apart(steps, apart, result):
    """Independent values with errors of 1 differ if they are 1.96 x 2^0.5 = 2.77 apart in either."""
    places = np.cumsum([(0.0, 0.0), *steps], axis=0) * (1, -1)
    check = resolution_check(trade(places[:, None], error=1.0))
    assert (check.result, check.sentence.partition(": ")[0]) == (
        result,
        f"Neighbours on the front can be told apart in {apart}",
    )


def test_a_front_of_one_has_no_neighbours():
    """Nothing is said of its resolution."""
    check = resolution_check(trade([[[0.0, 3.0]], [[-1.0, 2.0]]], error=1.0))
    assert (check.result, check.sentence) == ("unknown", "This needs two configs on the front.")


def test_an_unknown_error_is_told():
    """Without standard errors nothing is said of the resolution."""
    check = resolution_check(trade([[[0.0, 3.0]], [[1.0, 2.0]]]))
    assert check.result == "unknown"
    assert check.sentence == "Standard errors of x and y are not known for all configs of the front."


def test_a_constant_objective(found):
    """An objective that is the same for all configs is named; of a single config nothing is known."""
    assert constant_check(found).result == "pass"
    values = found.points.values.copy()
    values[:, 1] = -1500.0
    flat = replace(found, points=replace(found.points, values=values))
    assert (
        constant_check(flat).sentence
        == "All configs have the same log likelihood, so it cannot tell them apart."
    )
    alone = replace(flat, configs=found.configs[:1], points=replace(found.points, values=values[:1]))
    assert constant_check(alone).result == "unknown"


def test_failures_with_their_reason():
    """More than a tenth of the trials that ended is too many; the most frequent reason is told."""
    errors = ["out of memory\nat line 3", "out of memory", "nan"]
    trials = pl.DataFrame(
        {"status": ["failed"] * 3 + ["completed"] * 20 + ["running"] * 9, "error": errors + [None] * 29}
    )
    check = failure_check(trials)
    assert check.result == "warn"
    assert check.sentence == "3 of 23 finished trials have failed: most often because out of memory."
    few = pl.concat([trials, trials.filter(status="completed")])
    assert failure_check(few).result == "pass"
    assert failure_check(trials.filter(status="completed")).sentence == "0 of 20 finished trials have failed."


def metrics(*rows) -> pl.DataFrame:
    """Make rows of trial, metric, value and subset."""
    rows = [(*row, row[-1].count("+") + 1) for row in rows]
    return pl.DataFrame(rows, schema=NO_METRICS.schema, orient="row")


def test_collapsed_posteriors():
    """Modalities that collapsed are named with their trial; without the measurement it is not known."""
    check = posterior_check(metrics(("t1", "collapsed", 1.0, "m0"), ("t1", "collapsed", 0.0, "m1")))
    assert check.result == "warn"
    assert (
        check.sentence == "The posterior has collapsed onto the prior for m0 of t1: lower beta or warm it up."
    )
    assert posterior_check(metrics(("t1", "collapsed", 0.0, "m1"))).result == "pass"
    assert posterior_check(NO_METRICS).result == "unknown"


def test_a_modality_that_stays_at_its_constant():
    """Told by modality with the trials and of how many; unmeasured is unknown.

    The retina once ended at 0.39 or, by seed alone, at 0.11; the dark sky is drawn by all with 0.09 to 0.24.
    """
    rows = [(f"t{n}", 0, 6, "m3", 0.39 if n % 2 else 0.11) for n in range(14)]
    rows += [(f"t{n}", 0, 6, "m2", 0.09 + 0.01 * n) for n in range(14)]
    rows += [("t0", 0, 6, "m0", 0.06), ("t1", 0, 6, "m0", -0.2), ("t2", 0, 6, "m0", float("nan"))]
    explained = pl.DataFrame(rows, schema=UNEXPLAINED.schema, orient="row")
    check = constant_baseline_check(explained)
    assert (check.result, check.sentence) == (
        "warn",
        (
            "m0 is hardly better than a constant prediction in 1 of 2 trials (t1); "
            "m3 is hardly better than a constant prediction in 7 of 14 trials "
            "(t0, t10, t12, t2, t4 and others): compare their likelihoods with care; "
            "more epochs, a lower beta or another likelihood may help."
        ),
    )
    assert constant_baseline_check(explained.filter(pl.col("value") >= 0.13)).result == "pass"
    assert constant_baseline_check(explained.filter(pl.col("value") <= 0.01)).result == "warn"
    assert constant_baseline_check(UNEXPLAINED).result == "unknown"


def test_a_trial_that_has_just_begun_is_not_behind():
    """It is compared with what others explained after as many epochs or fewer, in its last attempt."""
    rows = [("t0", 0, epoch, "m0", 0.1 * epoch) for epoch in range(1, 7)]
    rows += [("t1", 0, 1, "m0", 0.01), ("t1", 1, 1, "m0", 0.06)]
    explained = pl.DataFrame(rows, schema=UNEXPLAINED.schema, orient="row")
    assert plateaus(explained) == []
    late = pl.DataFrame([("t1", 1, 3, "m0", 0.06)], schema=UNEXPLAINED.schema, orient="row")
    assert plateaus(explained.vstack(late)) == [
        "m0 is hardly better than a constant prediction in 1 of 2 trials (t1)"
    ]


def test_a_loose_likelihood_estimate(found):
    """An effective sample size below two of any pick is told; that of a marginal is not the objective's."""
    check = estimator_check(metrics(("t1", "ess", 9.0, "a+b"), ("t2", "ess", 1.25, "a+b")), found)
    assert check.result == "warn"
    assert check.sentence == (
        "Log-likelihoods of picks rest on 1.2 effective importance samples: raise "
        "evaluation.importance_samples."
    )
    assert (
        estimator_check(metrics(("t1", "ess", 9.0, "a+b"), ("t1", "ess", 1.0, "a")), found).result == "pass"
    )
    assert estimator_check(NO_METRICS, found).result == "unknown"


@pytest.mark.parametrize(("lacks", "result"), [(15.9, "pass"), (16.1, "warn")])
def test_nats_that_an_estimate_lacks_are_compared_with_the_front(found, lacks, result):
    """The made-up front spans 160 nats, of which a tenth may be missing from a pick's log-likelihood."""
    ess, less = ("t1", "ess", 9.0, "a+b"), ("t1", "looseness", 0.5, "a+b")
    rows = metrics(ess, less, ("t2", "looseness", lacks, "a+b"), ("t2", "looseness", 99.0, "a"))
    check = estimator_check(rows, found)
    assert check.result == result
    about = "Log-likelihoods of picks rest on 9.0 effective importance samples"
    assert check.sentence == (
        f"{about} or more and are about 16 nats too low at most."
        if result == "pass"
        else f"{about} and are at least 16 nats too low, of the 160 that the front spans: raise "
        "evaluation.importance_samples."
    )
    # One config has no span, and nor has a sweep without this objective.
    one = replace(found, configs=found.configs[:1], on_front=found.on_front[:1])
    other = replace(found, configs=found.configs.drop("o_log_likelihood"))
    assert estimator_check(rows, one).result == estimator_check(rows, other).result == "pass"


def test_picks_chosen_on_the_test_split():
    """Measuring objectives on the test split is a worry; validation is the default."""
    assert split_check({"evaluation": {"split": "test"}}).result == "warn"
    assert "on the validation split" in split_check({}).sentence


@pytest.mark.parametrize(("rising", "result"), [(7, "warn"), (5, "warn"), (4, "pass"), (0, "pass")])
def test_unfinished_training(rising, result):
    """More than half of eight completed trials with -1000 at the end, which is -1010.1 or -1009.9 before."""
    ends = [1010.1] * rising + [1009.9] * (8 - rising) + [2000.0]  # the last trial still runs
    curves = pl.concat(
        pl.DataFrame({"trial_id": f"t{k}", "elbo": [-3000.0] * 8 + [-before, -1000.0]})
        for k, before in enumerate(ends)
    )
    status = ["completed"] * 8 + ["running"]
    trials = pl.DataFrame({"trial_id": [f"t{k}" for k in range(9)], "status": status})
    check = training_check(trials, curves)
    assert (check.check, check.result) == ("training", result)
    assert check.sentence == (
        f"{rising or 'None'} of 8 completed trials still raised the ELBO by more than 1 % in the last tenth "
        f"of the epochs{': raise fixed.epochs' * (result == 'warn')}."
    )
    short = training_check(trials, curves.group_by("trial_id").tail(9))
    assert (short.result, short.sentence) == (
        "unknown",
        "This needs a completed trial of ten epochs or more.",
    )


def test_poor_judges_of_coherence():
    """A classifier below 90 % on real samples is named; without classifiers nothing is known."""
    check = judges_check({"image": 0.97, "text": 0.62, "audio": 0.894})
    assert (check.check, check.result) == ("judges", "warn")
    assert check.sentence == (
        "The classifiers that judge coherence are right about few held-out labels: 62 % in text and 89 % in "
        "audio; low coherence there may be their fault."
    )
    assert judges_check({"image": 0.97, "text": 0.9}) == Check(
        "judges",
        "pass",
        "The classifiers that judge coherence are right about at least 90 % of held-out labels in every "
        "modality.",
    )
    assert judges_check({}).result == "unknown"


def test_all_checks_together(found):
    """Each check is there once, and ends as a sentence."""
    curves = pl.DataFrame(schema={"trial_id": pl.String, "elbo": pl.Float64})
    checks = run_checks(found, NO_METRICS, UNEXPLAINED, curves)
    names = [check.check for check in checks]
    unlabelled = replace(found, manifest=replace(found.manifest, n_classes=0))
    left = [check.check for check in run_checks(unlabelled, NO_METRICS, UNEXPLAINED, curves)]
    assert left == [name for name in names if name != "judges"]
    assert len(names) == len(set(names)) == 11
    assert all(check.sentence.endswith(".") for check in checks)
