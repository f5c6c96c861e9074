"""What an earlier sweep knows that this one can use: its trials of full budget, from its Parquet tables."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from sweep.analysis.points import row_measured
from sweep.config.objectives import names
from sweep.config.sweep_spec import SweepSpec
from sweep.search.outcome import objective_values
from sweep.search.study import KnownConfig
from sweep.store.read import open_store


def warm_trials(root: Path, spec: SweepSpec) -> tuple[list[KnownConfig], str]:
    """Return the trials of another results folder that this sweep's sampler can learn from, and a sentence.

    Those are trials of full budget on the same data and evaluation, with the same constants (but the seed),
    with settings inside this search space and all of this sweep's objectives.

    Raises:
        StoreError: the folder holds no results.
    """
    store = open_store(root)
    rows = store.latest_trials().collect()
    rows = rows.filter(rows["status"].is_in(["completed", "infeasible"]))
    there, here = store.manifest.spec, spec.plain()
    other = next((key for key in ("data", "evaluation") if there.get(key) != here[key]), None)
    if other is not None:
        return [], f"warm start: none of the {rows.height} trials of {root} fits, as its {other} is another"
    found = [past for row in rows.iter_rows(named=True) if (past := _past(row, spec)) is not None]
    return found, f"warm start: {len(found)} of the {rows.height} trials of {root} fit this sweep"


def _past(row: dict[str, Any], spec: SweepSpec) -> KnownConfig | None:
    settings = json.loads(row["config_json"])
    try:
        suggestion = spec.space.suggestion(settings)
        wanted = spec.trial_config({**spec.space.settings(suggestion), "seed": settings["seed"]})
        # A searched parameter that does not exist beside this trial's choices is a constant, too.
        searched = spec.space.active(settings)
        same = _constants(wanted, searched) == _constants(TrialConfig.from_dict(settings), searched)
    except ConfigError:
        return None
    measured = row_measured(row)
    if not same or objective_values({"objectives": measured}, names(spec.objectives)) is None:
        return None
    return KnownConfig(name=row["trial_id"], suggestion=suggestion, status="completed", measured=measured)


def _constants(config: TrialConfig, searched: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name not in searched}
