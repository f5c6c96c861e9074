"""What the tables know of earlier trials: of this sweep, to go on, and of others, to learn from."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mopoe.config import TrialConfig
from mopoe.errors import ConfigError
from sweep.config.objectives import Objective
from sweep.config.sweep_spec import SweepSpec
from sweep.search.halving import Vector
from sweep.search.trial import ConfigResult, is_whole, split_name
from sweep.store.layout import OBJECTIVE
from sweep.store.read import Store, open_store
from sweep.store.records import TrialRecord


def trial_records(store: Store) -> list[TrialRecord]:
    """Return the record of every trial's last attempt, by name."""
    return [TrialRecord.from_row(row) for row in store.latest_trials().collect().iter_rows(named=True)]


def added_configs(store: Store) -> set[str]:
    """Return the configs that `sweep add` asked for."""
    return {split_name(name)[0] for name in store.events().filter(kind="add").collect()["trial_id"]}


def recorded_curves(store: Store, spec: SweepSpec) -> dict[str, dict[int, float]]:
    """Return the objective by trial and epoch; empty if there are several, of which Optuna shows none."""
    vectors = recorded_vectors(store, spec.objectives) if len(spec.objectives) == 1 else {}
    return {name: {epoch: value for epoch, (value,) in by.items()} for name, by in vectors.items()}


def recorded_vectors(store: Store, objectives: Sequence[Objective]) -> dict[str, dict[int, Vector]]:
    """Return the objectives of every evaluated epoch by trial and epoch, of each trial's last attempt."""
    epochs = store.epochs().sort("attempt").collect()
    columns = [OBJECTIVE + o.name for o in objectives]
    vectors: dict[str, dict[int, Vector]] = defaultdict(dict)
    if set(columns) <= set(epochs.columns):
        for trial_id, epoch, *vector in epochs.select("trial_id", "epoch", *columns).drop_nulls().iter_rows():
            vectors[trial_id][epoch] = tuple(vector)
    return vectors


def warm_start(root: Path, spec: SweepSpec) -> tuple[list[ConfigResult], str]:
    """Return the trials of another results folder that this sweep's sampler can learn from, and a sentence.

    Those are trials of full budget on the same data and evaluation, with the same constants (but the seed),
    with settings inside this search space and all of this sweep's objectives.

    Raises:
        StoreError: the folder holds no results.
    """
    store = open_store(root)
    done = [record for record in trial_records(store) if record.status in ("completed", "infeasible")]
    there, here = store.manifest.spec, spec.plain()
    other = next((key for key in ("data", "evaluation") if there.get(key) != here[key]), None)
    if other is not None:
        unfit = f"none of the {len(done)} trials of {root} can be used, because its {other} differs"
        return [], f"warm start: {unfit}"
    fit = [config for record in done if (config := _as_config(record, spec)) is not None]
    return fit, f"warm start: {len(fit)} of the {len(done)} trials of {root} fit this sweep"


def _as_config(record: TrialRecord, spec: SweepSpec) -> ConfigResult | None:
    """Return a trial of another sweep as a config of this one, or None if it does not fit."""
    settings = json.loads(record.config_json)
    try:
        suggestion = spec.space.suggestion(settings)
        wanted = spec.trial_config({**spec.space.settings(suggestion), "seed": settings["seed"]})
        # A searched parameter that does not exist beside this trial's choices is a constant, too.
        searched = spec.space.active(settings)
        same = _constants(wanted, searched) == _constants(TrialConfig.from_dict(settings), searched)
    except ConfigError:
        return None
    if not same or not is_whole(record, spec.objectives):
        return None
    return ConfigResult(
        name=record.trial_id, suggestion=suggestion, status="completed", measured=record.measured
    )


def _constants(config: TrialConfig, searched: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name not in searched}
