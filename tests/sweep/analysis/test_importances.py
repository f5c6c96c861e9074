from dataclasses import replace

import numpy as np
import optuna
import polars as pl
import pytest
from scipy.stats import binom

from sweep.analysis.importances import NEAR_FRONT, importances
from sweep.analysis.points import Points
from sweep.config.objectives import Objective

PAIR = Objective(name="x"), Objective(name="y", direction="minimize")
SPACE = {
    "beta": {"type": "log_uniform", "low": 0.01, "high": 100.0},
    "dim": {"type": "int", "low": 1, "high": 64},
}


def made(n: int, seed: int = 0) -> tuple[pl.DataFrame, Points]:
    """Make configs of which beta decides x, method decides y (to minimise), and noise decides nothing."""
    random = np.random.default_rng(seed)
    beta = 10 ** random.uniform(-2, 2, n)
    method = random.choice(["mopoe", "mvae", "mmvae"], n)
    configs = pl.DataFrame(
        {
            "p_beta": beta,
            "p_dim": random.integers(1, 65, n),
            "p_method": method,
            "p_noise": random.random(n),
            "p_same": 7.0,
            "p_rare": [float(k) if m == "mvae" else None for k, m in enumerate(method)],
        }
    )
    values = np.column_stack([-np.log(beta), 3.0 * (method != "mvae") + 0.1 * random.random(n)])
    ids = tuple(f"t{i}" for i in range(n))
    return configs, Points(trial_ids=ids, values=values, objectives=PAIR)


def test_what_decides_is_important_and_noise_is_not():
    """Beta matters for x and method for y, beyond chance; shares sum to one; a constant has no row."""
    found = importances(*made(150), SPACE)
    assert found["target"].unique(maintain_order=True).to_list() == ["x", "y", NEAR_FRONT]
    assert set(found["setting"]) == {"beta", "dim", "method", "noise", "rare"}
    for target, settings in (("x", ["beta"]), ("y", ["method", "rare"])):
        rows = found.filter(target=target)
        assert rows["importance"].sum() == pytest.approx(1)
        top = rows.sort("importance", descending=True)
        assert set(top["setting"][: len(settings)]) == set(settings)
        first = rows.row(by_predicate=pl.col("setting") == settings[0], named=True)
        assert first["importance"] > first["chance"] > 0
        noise = rows.row(by_predicate=pl.col("setting") == "noise", named=True)
        assert noise["importance"] < 0.1


def settings(n: int, random: np.random.Generator) -> pl.DataFrame:
    """Draw settings of every kind: logarithmic, whole, words, a simplex, and one that is often unset."""
    weights, method = random.dirichlet([1, 1, 1], n), random.choice(["mopoe", "mvae", "mmvae"], n)
    return pl.DataFrame(
        {
            "p_beta": 10 ** random.uniform(-2, 2, n),
            "p_dim": 2 ** random.integers(4, 8, n),
            "p_method": method,
            "p_w0": weights[:, 0],
            "p_w1": weights[:, 1],
            "p_w2": weights[:, 2],
            "p_rare": [random.random() if m == "mvae" else None for m in method],
        }
    )


def told(configs: pl.DataFrame, values: np.ndarray) -> pl.DataFrame:
    """Return the importances that exceed chance."""
    ids = tuple(f"t{i}" for i in range(len(values)))
    found = importances(configs, Points(trial_ids=ids, values=values, objectives=PAIR), SPACE)
    assert found["chance"].is_between(0, 1).all()
    return found.filter(pl.col("importance") > pl.col("chance"))


def named_in_noise(n: int, correlation: float, sweeps: int) -> int:
    """Return in how many sweeps of noise any setting is told from chance for any target."""
    covariance, count = [[1, correlation], [correlation, 1]], 0
    for seed in range(sweeps):
        random = np.random.default_rng([n, seed])
        configs = settings(n, random)
        count += told(configs, random.multivariate_normal([0, 0], covariance, n)).height > 0
    return count


def named_if_it_decides(n: int, setting: str, sweeps: int) -> int:
    """Return in how many sweeps a setting is told that decides x, but for a little noise; y is noise."""
    count = 0
    for seed in range(sweeps):
        random = np.random.default_rng([n, seed])
        configs = settings(n, random)
        worth = np.log(configs[f"p_{setting}"]) + 0.3 * random.normal(size=n)
        rows = told(configs, np.column_stack([worth, random.normal(size=n)]))
        count += rows.filter(target="x", setting=setting).height
    return count


def test_noise_names_nothing():
    """In no more of 40 sweeps of noise than one in twenty explains is any setting told from chance."""
    assert sum(named_in_noise(14, rho, 20) for rho in (0.0, -0.9)) <= binom.ppf(0.999, 40, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("n", [14, 30, 60])
@pytest.mark.parametrize("correlation", [0.0, 0.9, -0.9])
def test_at_most_one_in_twenty_sweeps_of_noise_names_anything(n, correlation):
    """Whatever the number of configs and the correlation of the objectives: in 400 sweeps of each."""
    assert named_in_noise(n, correlation, 400) <= binom.ppf(0.99, 400, 0.05)


def test_what_decides_is_named():
    """With 60 configs a setting that decides an objective is told in four of five sweeps."""
    for setting in ("beta", "dim"):
        assert named_if_it_decides(60, setting, 10) >= 8


@pytest.mark.slow
def test_the_configs_that_it_takes():
    """Where 30 configs are too few to tell an effect, as many as the card asks for tell it in about half."""
    asked = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        configs = settings(30, random)
        values = np.column_stack([effect(configs, random), random.normal(size=30)])
        points = Points(trial_ids=tuple(map(str, range(30))), values=values, objectives=PAIR)
        found = importances(configs, points, SPACE)
        if found.filter(pl.col("importance") > pl.col("chance")).is_empty():
            asked.append(found["needed"].min())
    n, count = round(np.median(asked)), 0
    for seed in range(60):
        random = np.random.default_rng(1000 + seed)
        configs = settings(n, random)
        rows = told(configs, np.column_stack([effect(configs, random), random.normal(size=n)]))
        count += rows.filter(target="x", setting="beta").height
    assert 20 <= count <= 50


def effect(configs: pl.DataFrame, random: np.random.Generator) -> np.ndarray:
    """Return objectives of which beta explains a little less than half of the variance."""
    return 0.7 * np.log10(configs["p_beta"].to_numpy()) + random.normal(size=configs.height)


@pytest.mark.parametrize("n", [14, 60, 200])
def test_values_are_those_of_optuna(n):
    """For being best in x they are those of `get_param_importances` on a study of the same trials."""
    random = np.random.default_rng(n)
    configs = settings(n, random).with_columns(p_layers=2 ** random.integers(0, 9, n))
    space, scales = SPACE | {"layers": {"type": "log_uniform"}}, {}
    for column in configs:
        low, high = column.drop_nulls().min(), column.drop_nulls().max()
        if column.dtype == pl.String:
            scale = optuna.distributions.CategoricalDistribution(sorted(set(column)))
        else:
            kind = "IntDistribution" if column.dtype.is_integer() else "FloatDistribution"
            log = column.name in {"p_beta", "p_layers"}
            scale = getattr(optuna.distributions, kind)(low, high, log=log)
        scales[column.name.removeprefix("p_")] = scale
    values = np.column_stack([random.normal(size=n) + np.log(configs["p_beta"]), random.normal(size=n)])
    study = optuna.create_study(direction="maximize")
    for row, x in zip(configs.iter_rows(named=True), values[:, 0], strict=True):
        given = {name: row[f"p_{name}"] for name in scales if row[f"p_{name}"] is not None}
        its = {name: scales[name] for name in given}
        study.add_trial(optuna.create_trial(params=given, distributions=its, value=x))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, 5 / n))
    expected = optuna.importance.get_param_importances(study, evaluator=evaluator)
    points = Points(trial_ids=tuple(map(str, range(n))), values=values, objectives=PAIR)
    found = importances(configs, points, space).filter(target="x")
    assert dict(found.select("setting", "importance").iter_rows()) == pytest.approx(expected, abs=1e-9)


def test_the_same_again():
    """Two calls agree."""
    configs, points = made(40)
    assert importances(configs, points, SPACE).equals(importances(configs, points, SPACE))


def test_too_little_to_say():
    """Fewer than ten configs, or settings that do not vary, give no rows."""
    assert importances(*made(9), SPACE).height == 0
    configs, points = made(30)
    assert importances(configs.select("p_same"), points, SPACE).height == 0
    assert importances(configs.select(pl.lit(1).alias("o_x").repeat_by(1)), points, SPACE).height == 0


def test_a_target_without_a_best_tenth_has_no_rows():
    """Where all configs are on the front, or fewer than a tenth differ from the worst, nothing is told."""
    configs, points = made(30)
    line = np.arange(30.0)
    for second, expected in ((line, {"x", "y"}), (line >= 2.0, {"x", NEAR_FRONT})):
        values = np.column_stack([line, second])
        some = replace(points, values=values)
        assert set(importances(configs, some, SPACE)["target"]) == expected


def test_a_single_objective_is_its_own_front():
    """With one objective nearness to the front is its rank, and the only target."""
    configs, points = made(30)
    one = replace(points, values=points.values[:, :1], objectives=PAIR[:1])
    assert set(importances(configs, one, {})["target"]) == {NEAR_FRONT}


def test_a_config_outside_of_a_log_range_is_no_error():
    """A single trial may have beta 0; the scale is then that of the values."""
    configs, points = made(30)
    beta = configs["p_beta"].to_list()
    found = importances(configs.with_columns(p_beta=pl.Series([0.0, *beta[1:]])), points, SPACE)
    assert "beta" in set(found["setting"])
