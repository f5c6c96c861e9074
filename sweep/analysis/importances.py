"""Importance of the searched settings, for each objective and for being near the front.

Computed by Optuna's PED-ANOVA (Watanabe, Bansal and Hutter 2023), which compares the distribution of a
setting's values in the best configs with that in all configs.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import moocore
import numpy as np
import polars as pl

from sweep.analysis.points import Points
from sweep.store.layout import PARAMETER
from sweep.store.records import searched_by_logarithm

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FEWEST = 10
"""Fewest configs for importances."""

NEAR_FRONT = "near the front"
"""The target besides the objectives: the rank of the config's front."""

_TOP, _MOST_CONFIGS, _SHUFFLES = 5, 1000, 10
_COPY = "#"
_SCHEMA = {"target": pl.String, "setting": pl.String, "importance": pl.Float64, "chance": pl.Float64}


def importances(configs: pl.DataFrame, points: Points, search_space: Mapping[str, Any]) -> pl.DataFrame:
    """Return how important each searched setting is for being among the best 10 % (at least 5) of configs.

    The column `chance` is for a permutation test: the largest importance of ten random permutations of the
    setting's values among the configs.

    Args:
        configs: one row per config, with its settings; of more than 1,000 a random sample is used.
        points: the same configs as points.
        search_space: the section of the sweep's file, for the scale of a setting.

    Returns:
        Columns target (an objective, or NEAR_FRONT), setting, importance (0..1, summing to 1 over the
        settings) and chance. There are no rows with fewer than ten configs, nor of a target in which the
        best tenth does not differ from the rest.
    """
    random = np.random.default_rng(0)
    sample = np.sort(random.permutation(configs.height)[:_MOST_CONFIGS])
    given = configs[sample].select(pl.col(f"^{PARAMETER}.*$").name.map(lambda n: n.removeprefix(PARAMETER)))
    scales = {n: _distribution(c, search_space.get(n, {})) for n, c in zip(given.columns, given, strict=True)}
    varying = given.select(n for n, scale in scales.items() if not scale.single())
    if configs.height < FEWEST or not varying.width:
        return pl.DataFrame(schema=_SCHEMA)
    shuffled = [
        column[random.permutation(len(sample))].alias(f"{column.name}{_COPY}{k}")
        for column in varying
        for k in range(_SHUFFLES)
    ]
    table = varying.with_columns(shuffled)
    gains = points.gains[sample]
    targets = dict(zip(points.names, gains.T, strict=True)) if len(points.names) > 1 else {}
    targets |= {NEAR_FRONT: -moocore.pareto_rank(gains, maximise=True).astype(float)}
    top, rows = max(0.1, _TOP / len(sample)), []
    for target, worth in targets.items():
        if np.quantile(worth, 1 - top, method="lower") == worth.min():
            continue
        shares = _evaluate(table, worth, scales, top)
        total = sum(shares[n] for n in varying.columns) or 1.0
        rows += [
            (target, n, shares[n] / total, max(shares[f"{n}{_COPY}{k}"] for k in range(_SHUFFLES)) / total)
            for n in varying.columns
        ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _evaluate(
    table: pl.DataFrame, worth: Sequence[float], scales: Mapping[str, "BaseDistribution"], top: float
) -> dict[str, float]:
    """Return the importance of each column for a high worth, 0..1 and summing to 1."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    optuna.logging.set_verbosity(before)
    for row, value in zip(table.iter_rows(named=True), worth, strict=True):
        params = {n: v for n, v in row.items() if v is not None}
        its = {n: scales[n.split(_COPY)[0]] for n in params}
        study.add_trial(optuna.create_trial(params=params, distributions=its, value=value))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=top)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _distribution(values: pl.Series, written: Mapping[str, Any]) -> "BaseDistribution":
    """Return the range of a setting's values, on the scale on which it was searched."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    present = values.drop_nulls()
    if present.dtype == pl.String or not len(present):
        return CategoricalDistribution(present.unique().sort().to_list() or [""])
    low, high = min(present), max(present)
    # A single trial may lie outside the range that was searched.
    log = low > 0 and searched_by_logarithm(written)
    kind = IntDistribution if present.dtype.is_integer() else FloatDistribution
    return kind(low, high, log=log)
