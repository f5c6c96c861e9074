"""A trial of a sweep: its name, its suggestion, what it reports, and how it ended. Pure: no Ray, no files."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from statistics import fmean
from typing import Any, Self, TypeVar

from mopoe.config import TrialConfig
from sweep.config.constraints import Limit
from sweep.config.objectives import Objective
from sweep.config.space import Suggestion
from sweep.config.sweep_spec import SweepSpec
from sweep.store.records import Status, TrialRecord, measured_values

Curve = Mapping[int, float]
"""The first objective by the epoch after which it was measured."""
_Key = TypeVar("_Key", str, int)


def config_name(number: int) -> str:
    """Return the name of a sweep's config by its number, which is also that of its first trial.

    >>> config_name(7)
    't0007'
    """
    return f"t{number:04}"


def config_number(name: str) -> int:
    """Return the number of a config by its name; -1 for a name that no sweep gives."""
    return int(name[1:]) if re.fullmatch(r"t\d+", name) else -1


def replicate_name(config: str, replicate: int) -> str:
    """Return the name of a config's trial: t0007 for its own seed, t0007-s1 for the next."""
    return f"{config}-s{replicate}" if replicate else config


def split_name(trial_id: str) -> tuple[str, int]:
    """Return the config and the replicate of a trial: the inverse of `replicate_name`.

    >>> split_name("t0007-s1"), split_name("t0007")
    (('t0007', 1), ('t0007', 0))
    """
    config, _, replicate = trial_id.partition("-s")
    return config, int(replicate or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestedTrial:
    """A trial that is to run: what Ray Tune carries, as a dict, from the searcher to the worker and back."""

    trial_id: str
    """Its name."""
    attempt: int
    """Counts the starts of the trial, from 0."""
    suggestion: Suggestion
    """The sampler's parameters."""

    @classmethod
    def from_ray(cls, config: Mapping[str, Any]) -> Self:
        """Return the trial from what Ray calls its config."""
        return cls(**{f.name: config[f.name] for f in fields(cls)})

    def to_ray(self) -> dict[str, Any]:
        """Return what Ray calls the trial's config."""
        return asdict(self)

    def config(self, spec: SweepSpec) -> TrialConfig:
        """Return the trial's settings; its replicate is added to the seed.

        Raises:
            ConfigError: the suggestion is impossible.
        """
        config = spec.trial_config(spec.space.settings(self.suggestion))
        return replace(config, seed=config.seed + split_name(self.trial_id)[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """What a worker tells the driver about its trial; None is what it does not say."""

    epoch: int | None = None
    """Epochs finished."""
    seconds: float | None = None
    """Time of all epochs and evaluations so far."""
    objectives: Mapping[str, float] | None = None
    """Measured value by name, if the epoch was evaluated."""
    stderr: Mapping[str, float] | None = None
    """Standard error over held-out samples, by name."""
    n_parameters: int | None = None
    """Trained parameters of the model."""
    faults: Mapping[str, str] | None = None
    """Why a value could not be measured, by name."""
    device: str | None = None
    """The device trained on."""
    host: str | None = None
    """The machine trained on."""
    saved: bool | None = None
    """Whether a checkpoint and all reports up to this epoch are written."""
    rows: Sequence[Mapping[str, Any]] | None = None
    """What the epochs table holds of each epoch since the report before, if the driver logs that."""
    stopped: str | None = None
    """Why the scheduler stopped it."""
    failure: str | None = None
    """Why it failed, as one line."""
    traceback: str | None = None
    """The end of Python's traceback, if it raised."""

    @classmethod
    def from_ray(cls, result: Mapping[str, Any]) -> Self:
        """Return the report in Ray's result, which has flat keys for searchers and schedulers.

        >>> TrialReport.from_ray({"epoch": 2, "objectives/a": 0.5, "done": False}).objectives
        {'a': 0.5}
        """
        told = {f.name: result[f.name] for f in fields(cls) if f.name in result}
        for name in ("objectives", "stderr", "faults"):
            flat = {k.removeprefix(f"{name}/"): v for k, v in result.items() if k.startswith(f"{name}/")}
            told |= {name: flat} if flat else {}
        return cls(**told)

    def to_ray(self) -> dict[str, Any]:
        """Return what it says as the result that Ray carries."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def followed_by(self, later: Self) -> Self:
        """Return both together; where both speak, the later report counts."""
        return replace(self, **later.to_ray())

    @property
    def measured(self) -> dict[str, float]:
        """Return all that was measured, by the names that objectives and constraints have."""
        return measured_values(self.objectives or {}, self.n_parameters, self.seconds)

    def values(self, objectives: Sequence[Objective]) -> tuple[float, ...]:
        """Return the objectives' values in order; NaN where one was not measured."""
        measured = self.objectives or {}
        return tuple(float(measured.get(o.name, math.nan)) for o in objectives)


def is_whole(record: TrialRecord, objectives: Sequence[Objective]) -> bool:
    """Return whether a trial measured every objective as a finite number."""
    return all(math.isfinite(record.objectives.get(o.name, math.nan)) for o in objectives)


def final_status(
    last: TrialReport, epochs_max: int, objectives: Sequence[Objective], limits: Sequence[Limit] = ()
) -> tuple[Status, str | None]:
    """Return how a trial ended, from all that it reported, and why if it did not complete.

    It completed if it reached its full budget with finite objectives within all limits. What the scheduler
    stopped did not fail if its objectives were finite up to then.
    """
    if last.failure is not None:
        return "failed", last.failure
    epochs = last.epoch or 0
    if epochs < epochs_max and last.stopped is None:
        return "failed", f"it ended after {epochs} of {epochs_max} epochs for an unknown reason"
    if epochs < epochs_max:  # what was stopped lacks what only later epochs measure
        objectives = [o for o in objectives if o.name in (last.objectives or {})]
    values = zip(objectives, last.values(objectives), strict=True)
    if unknown := [o.name for o, value in values if not math.isfinite(value)]:
        why = (last.faults or {}).get(unknown[0])
        return "failed", why or f"{', '.join(unknown)} is not a finite number"
    if epochs < epochs_max:
        return "stopped", last.stopped
    missed = [limit.sentence(last.measured) for limit in limits if limit.excess(last.measured) > 0]
    return ("infeasible", "; ".join(missed)) if missed else ("completed", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigResult:
    """A config of a sweep, or of another one, and what has become of it."""

    name: str
    """Its name, which is that of its first trial."""
    suggestion: Suggestion
    """The sampler's parameters."""
    status: Status
    """How it ended; running if it has not."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """What it measured last, the mean over its seeds: objectives, and whatever constraints are about."""
    began: datetime | None = None
    """When its first seed began, with a time zone."""
    ended: datetime | None = None
    """When its last seed ended, with a time zone."""
    curve: Curve = field(default_factory=dict)
    """The first objective by epoch, the mean over its seeds."""
    added: bool = False
    """Whether a user asked for it, so that the sampler did not suggest it."""


def config_status(
    seeds: Sequence[TrialRecord], limits: Sequence[Limit]
) -> tuple[Status, Mapping[str, float]]:
    """Return how a config ended by its seeds that have ended, and the means of what they measured.

    It is judged whole, as a mean over the seeds that did well is too good: one that was stopped early or
    failed decides for all, and the limits are on the means.
    """
    statuses = {seed.status for seed in seeds}
    means = means_by_key([seed.measured for seed in seeds if seed.status != "failed"])
    if "stopped" in statuses:
        return "stopped", means
    if "failed" in statuses or not seeds:
        return "failed", {}
    return "completed" if all(limit.excess(means) <= 0 for limit in limits) else "infeasible", means


def means_by_key(rows: Sequence[Mapping[_Key, float]]) -> dict[_Key, float]:
    """Return the mean by key, over the rows that have the key."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: fmean(row[key] for row in rows if key in row) for key in keys}


def begin_record(
    spec: SweepSpec,
    config: TrialConfig,
    trial: SuggestedTrial,
    now: datetime,
    fingerprint: str | None = None,
) -> TrialRecord:
    """Return the record of a trial that starts now with these settings, on data with this hash."""
    return TrialRecord(
        trial_id=trial.trial_id,
        attempt=trial.attempt,
        config_id=config.config_id,
        seed=config.seed,
        status="running",
        epochs=0,
        epochs_max=config.epochs,
        started_at=now,
        config_json=config.to_json(),
        suggestion_json=json.dumps(dict(trial.suggestion)) if trial.suggestion else None,
        data_fingerprint=fingerprint,
        parameters=spec.space.columns(config.to_dict()),
    )


def end_record(
    started: TrialRecord,
    last: TrialReport,
    objectives: Sequence[Objective],
    now: datetime,
    limits: Sequence[Limit] = (),
) -> TrialRecord:
    """Return the final record of a trial from all that it reported; `final_status` says how it ended."""
    status, reason = final_status(last, started.epochs_max, objectives, limits)
    return replace(
        started,
        status=status,
        error=None if status == "stopped" else reason,
        traceback=last.traceback if status == "failed" else None,
        stop_reason=reason if status == "stopped" else None,
        epochs=last.epoch or 0,
        ended_at=now,
        seconds=last.seconds or 0.0,
        device=last.device,
        host=last.host,
        n_parameters=last.n_parameters,
        objectives=dict(last.objectives or {}),
        stderr=dict(last.stderr or {}),
    )
