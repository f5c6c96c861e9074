from dataclasses import replace

import numpy as np
import optuna
import polars as pl
import pytest

from sweep.analysis import importances as module
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
        assert top["importance"][0] > 5 * top["chance"][0]
        noise = rows.row(by_predicate=pl.col("setting") == "noise", named=True)
        assert noise["importance"] < 0.1


def test_chance_is_the_largest_of_the_shuffles(monkeypatch):
    """And not the smallest or their mean: what is above it is above all ten."""
    configs, points = made(60)
    configs = configs.select("p_beta", "p_dim")
    true, seen = module._evaluate, []

    def spy(*arguments):
        seen.append(true(*arguments))
        return seen[-1]

    monkeypatch.setattr(module, "_evaluate", spy)
    rows = importances(configs, points, SPACE)
    for found, target in zip(seen, ("x", "y", NEAR_FRONT), strict=True):
        whole = found["beta"] + found["dim"]
        for setting in ("beta", "dim"):
            shuffles = [value for name, value in found.items() if name.startswith(f"{setting}#")]
            assert len(shuffles) == 10
            assert min(shuffles) < max(shuffles)
            (row,) = rows.filter(target=target, setting=setting).iter_rows(named=True)
            assert row["chance"] == pytest.approx(max(shuffles) / whole)


def test_values_are_those_of_optuna():
    """For being best in x they are those of `get_param_importances` on a study of the same trials."""
    configs, points = made(60)
    configs = configs.select("p_beta", "p_method")
    names = sorted(set(configs["p_method"]))
    scales = {
        "beta": optuna.distributions.FloatDistribution(
            min(configs["p_beta"]), max(configs["p_beta"]), log=True
        ),
        "method": optuna.distributions.CategoricalDistribution(names),
    }
    study = optuna.create_study(direction="maximize")
    for (beta, method), x in zip(configs.iter_rows(), points.values[:, 0], strict=True):
        given = {"beta": beta, "method": method}
        study.add_trial(optuna.create_trial(params=given, distributions=scales, value=x))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.1)
    expected = optuna.importance.get_param_importances(study, evaluator=evaluator)
    found = importances(configs, points, SPACE).filter(target="x")
    assert dict(found.select("setting", "importance").iter_rows()) == pytest.approx(expected)


def test_the_same_again_and_in_silence(capfd):
    """Two calls agree, nothing is written, and how much Optuna tells is left as it was."""
    before = optuna.logging.get_verbosity()
    configs, points = made(40)
    assert importances(configs, points, SPACE).equals(importances(configs, points, SPACE))
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


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
