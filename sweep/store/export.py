"""A store for other programs: CSV files, and the folder that DeepCAVE reads as a data-frame run.

DeepCAVE's format: https://automl.github.io/DeepCAVE/main/converters/dataframe.html
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from sweep.store.files import write_atomically
from sweep.store.layout import OBJECTIVE, PARAMETER
from sweep.store.read import Store
from sweep.store.records import searched_by_logarithm
from sweep.store.schema import TABLES

_STATUS = {"completed": "success", "stopped": "aborted", "failed": "crashed", "infeasible": "not_evaluated"}
# DeepCAVE reads with pandas, which does not read these words as text.
_WORDS = {"true": "yes", "false": "no", "null": "none"}


def export_csv(store: Store, out: Path) -> list[Path]:
    """Write one CSV file per table and return their paths; lists are joined by spaces, images omitted."""
    paths = [out / f"{table}.csv" for table in TABLES]
    for path in paths:
        lists = cs.list().cast(pl.List(pl.String)).list.join(" ")
        rows = store.table(path.stem).select(pl.exclude(pl.Binary)).with_columns(lists)
        write_atomically(path, rows.collect().write_csv)
    return paths


def export_deepcave(store: Store, out: Path) -> int:
    """Write `trials.csv` and `configspace.csv` and return the number of ended trials that they omit.

    DeepCAVE needs a value of every parameter: a trial that lacks one is omitted, as are running trials. A
    parameter with a single value was not searched. Each weight of a simplex is a parameter of its own.
    """
    ended = store.latest_trials().filter(pl.col("status") != "running").sort("started_at").collect()
    varied = [n for n in ended.columns if n.startswith(PARAMETER) and ended[n].drop_nulls().n_unique() > 1]
    texts = [name for name in varied if ended[name].dtype == pl.String]
    whole = ended.drop_nulls(varied).with_columns(pl.col(texts).replace(_WORDS))
    measured = {}
    for objective in store.manifest.objectives:
        if (name := OBJECTIVE + objective.name) in whole.columns:
            word = re.sub(r"\W", "_", objective.name)  # all that DeepCAVE reads as a name
            measured[name] = f"metric:{word} {bounds(whole[name])} ({objective.direction})"
    trials = whole.select(
        "config_id",
        pl.col(varied).name.map(_bare),
        *(pl.col(name).alias(alias) for name, alias in measured.items()),
        pl.col("status").replace_strict(_STATUS),
        pl.col("started_at").dt.epoch("ms").truediv(1000).alias("start_time"),
        pl.col("ended_at").dt.epoch("ms").truediv(1000).alias("end_time"),
        pl.col("epochs").alias("budget"),
        "seed",
        "trial_id",
    )
    space = store.manifest.spec.get("search_space", {})
    rows = [parameter(whole[n], _of(space, _bare(n))) for n in varied if whole.height]
    write_atomically(out / "trials.csv", trials.write_csv)
    write_atomically(out / "configspace.csv", pl.DataFrame(rows, infer_schema_length=None).write_csv)
    return ended.height - whole.height


def bounds(values: pl.Series) -> str:
    """Return the integers that bracket the finite ones of some values, in DeepCAVE's notation.

    >>> bounds(pl.Series([0.2, 0.7, math.nan, None]))
    '[0; 1]'
    """
    finite = [value for value in values if value is not None and math.isfinite(value)] or [0.0]
    low = math.floor(min(finite))
    return f"[{low}; {max(math.ceil(max(finite)), low + 1)}]"


def parameter(values: pl.Series, space: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of `configspace.csv`: the bounds of the search space, widened to hold all values.

    Args:
        values: the searched values, at least one, none null.
        space: the parameter in the search space, the whole simplex for one of its weights; or empty.
    """
    row: dict[str, Any] = {"name": _bare(values.name), "log": False, "ordered": False}
    if values.dtype == pl.String:
        items = dict(enumerate(values.unique().sort()))
        return row | {"type": "categorical", "default": items[0]} | {f"item_{i}": x for i, x in items.items()}
    simplex = space.get("type") == "simplex"
    low = min(*values, 0.0 if simplex else space.get("low", values[0]))
    high = max(*values, 1.0 if simplex else space.get("high", values[0]))
    log = low > 0 and searched_by_logarithm(space)
    row |= {"lower": low, "upper": high, "default": values[0], "log": log, "distribution": "uniform"}
    if values.dtype.is_integer():
        return row | {"type": "integer"}
    # DeepCAVE rounds bounds to 13 places and then rejects a value equal to a bound.
    return row | {
        "type": "float",
        "lower": math.floor(low * 1e12) / 1e12,
        "upper": math.ceil(high * 1e12) / 1e12,
    }


def _bare(column: str) -> str:
    return column.removeprefix(PARAMETER)


def _of(space: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return dict(space.get(name) or space.get(name.rpartition("_")[0]) or {})
