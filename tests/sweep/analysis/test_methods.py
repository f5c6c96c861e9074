import json
import math
from dataclasses import replace

import polars as pl

from sweep.analysis.summaries import by_method
from sweep.analysis.tradeoff import tradeoff
from sweep.store.read import open_store


def test_each_method_has_its_own_front_and_volume(made_up_sweep):
    """Two methods and a config that names none: fronts and hypervolumes by hand."""
    found = tradeoff(open_store(made_up_sweep))
    method = {"c0": "mvae", "c1": "mopoe", "c2": "mopoe", "c3": "mopoe", "c5": "mvae", "c6": "mopoe"}
    texts = [json.dumps({"method": method[c]} if c in method else {}) for c in found.configs["config_id"]]
    rows = by_method(replace(found, configs=found.configs.with_columns(config_json=pl.Series(texts))))
    assert dict(rows.select("config_id", "method").iter_rows()) == method
    assert rows["method"].to_list() == ["mopoe"] * 4 + ["mvae"] * 2
    assert set(rows.filter("on_own_front")["config_id"]) == {"c0", "c1", "c2", "c3"}
    assert set(rows.filter("on_front")["config_id"]) == {"c0", "c1", "c2", "c3"}
    volumes = dict(rows.select("method", "own_hypervolume").unique().iter_rows())
    assert math.isclose(volumes["mvae"], 0.42 * 220)
    assert math.isclose(volumes["mopoe"], 0.55 * 210 + 0.17 * 188 + 0.06 * 130)


def test_configs_that_name_no_method(made_up_sweep):
    """Without the setting in the stored configs there are no rows, but the columns."""
    rows = by_method(tradeoff(open_store(made_up_sweep)))
    assert rows.height == 0
    assert {"method", "trial_id"} <= set(rows.columns)
