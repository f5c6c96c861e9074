"""What a trial's reports mean for its record, and how a sweep stands. Decisions only: no Ray, no files."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import fmean
from typing import Any

import numpy as np

from mopoe.config import TrialConfig
from sweep.analysis.points import Points
from sweep.spec import SweepSpec
from sweep.store.records import Status, TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A trial in its final state."""

    trial_id: str
    """The trial."""
    status: Status
    """How it ended."""
    objectives: Mapping[str, float]
    """What was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a sweep stands, for people."""

    total: int
    """Trials in all, replicates included, by what is known now."""
    done: int
    """Trials that completed."""
    running: int
    """Trials that run now."""
    failed: int
    """Trials that failed."""
    front_size: int
    """Configs on the front."""
    hypervolume: float
    """Volume between the front and the reference point."""
    epochs_left: int
    """Epochs still to train."""
    epochs_here: int
    """Epochs trained by this run."""


def objective_values(result: Mapping[str, Any] | None, objectives: Sequence[str]) -> tuple[float, ...] | None:
    """Return the objectives of a trial's last report in order, or None unless all are finite numbers.

    >>> objective_values({"epoch": 3, "objectives": {"a": 0.5, "b": 2}}, ["b", "a"])
    (2.0, 0.5)
    """
    result = result or {}
    measured = result.get("objectives") or {}
    # Ray hands a searcher the last report with its inner mappings flattened.
    found = (measured.get(name, result.get(f"objectives/{name}", math.nan)) for name in objectives)
    values = tuple(map(float, found))
    return values if all(map(math.isfinite, values)) else None


def replicate_name(config_name: str, replicate: int) -> str:
    """Return the name of a config's trial: t0007 for its own seed, t0007-s1 for the next."""
    return f"{config_name}-s{replicate}" if replicate else config_name


def split_name(trial_id: str) -> tuple[str, int]:
    """Return the config and the replicate of a trial: the inverse of `replicate_name`.

    >>> split_name("t0007-s1"), split_name("t0007")
    (('t0007', 1), ('t0007', 0))
    """
    config_name, _, replicate = trial_id.partition("-s")
    return config_name, int(replicate or 0)


def completed_points(ended: Sequence[Ended], objectives: tuple[str, ...]) -> Points:
    """Return the configs with completed trials in the space of the objectives, all maximised.

    A config's objectives are the means over its completed seeds.
    """
    configs: dict[str, list[Ended]] = {}
    for trial in sorted(ended, key=lambda trial: split_name(trial.trial_id)):
        if trial.status == "completed":
            configs.setdefault(split_name(trial.trial_id)[0], []).append(trial)
    means = [[fmean(t.objectives[name] for t in seeds) for name in objectives] for seeds in configs.values()]
    return Points(
        trial_ids=tuple(seeds[0].trial_id for seeds in configs.values()),
        values=np.array(means, dtype=np.float64).reshape(-1, len(objectives)),
        names=objectives,
        maximize=(True,) * len(objectives),
    )


def suggested_config(spec: SweepSpec, suggested: Mapping[str, Any]) -> TrialConfig:
    """Return the settings of a suggested trial; its replicate is added to the seed.

    Raises:
        ConfigError: the suggestion is impossible.
    """
    config = spec.trial_config(spec.space.settings(suggested["suggestion"]))
    return replace(config, seed=config.seed + split_name(suggested["trial_id"])[1])


def start_record(spec: SweepSpec, suggested: Mapping[str, Any], now: datetime) -> TrialRecord:
    """Return the record of a suggested trial that starts now."""
    config = suggested_config(spec, suggested)
    return TrialRecord(
        trial_id=suggested["trial_id"],
        config_id=config.config_id,
        seed=config.seed,
        status="running",
        epochs=0,
        epochs_max=config.epochs,
        started_at=now,
        config_json=config.to_json(),
        suggestion_json=json.dumps(suggested["suggestion"]),
        parameters=spec.space.columns(config.to_dict()),
    )


def end_record(
    started: TrialRecord, last: Mapping[str, Any], objectives: tuple[str, ...], now: datetime
) -> TrialRecord:
    """Return the final record of a trial from the last that it reported.

    It completed if it reached its full budget with finite objectives; otherwise it failed, with the reason.
    """
    epochs = int(last.get("epoch", 0))
    error = last.get("failure")
    if error is None and epochs < started.epochs_max:
        error = f"it ended after {epochs} of {started.epochs_max} epochs without saying why"
    if error is None and objective_values(last, objectives) is None:
        measured = last.get("objectives") or {}
        bad = [name for name in objectives if not math.isfinite(measured.get(name, math.nan))]
        error = f"{', '.join(bad)} is not a finite number"
    return replace(
        started,
        status="completed" if error is None else "failed",
        error=error,
        epochs=epochs,
        ended_at=now,
        seconds=(now - started.started_at).total_seconds(),
        device=last.get("device"),
        host=last.get("host"),
        objectives=dict(last.get("objectives") or {}),
        stderr=dict(last.get("stderr") or {}),
    )
