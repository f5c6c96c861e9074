"""What a trial's reports mean for its record, and how a sweep stands. Decisions only: no Ray, no files."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from mopoe.config import TrialConfig
from sweep.analysis.points import row_measured
from sweep.config.constraints import Limit
from sweep.config.sweep_spec import SweepSpec
from sweep.store.records import Status, TrialRecord

_FLAT = "objectives/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A trial in its final state."""

    trial_id: str
    """The trial."""
    status: Status
    """How it ended."""
    objectives: Mapping[str, float]
    """What was measured."""
    started_at: datetime | None = None
    """When its last attempt began, with a time zone."""
    ended_at: datetime | None = None
    """When it ended, with a time zone."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """The first objective by the epoch after which it was measured."""


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
    stopped: int = 0
    """Trials that the scheduler stopped early."""
    infeasible: int = 0
    """Trials of full budget that miss a constraint."""
    front_size: int
    """Configs on the front."""
    hypervolume: float
    """Volume between the front and the reference point."""
    epochs_left: int
    """Epochs still to train."""
    epochs_here: int
    """Epochs trained by this run."""

    @property
    def ended(self) -> int:
        """Return the trials in a final state."""
        return self.done + self.failed + self.stopped + self.infeasible


def ended_trial(
    row: Mapping[str, Any], objectives: Sequence[str], curve: Mapping[int, float] | None = None
) -> Ended:
    """Return a row of the trials table that is in a final state; what lacks an objective has failed."""
    measured = row_measured(row)
    whole = objective_values({"objectives": measured}, objectives) is not None
    status: Status = row["status"]
    status = "failed" if status == "completed" and not whole else status
    return Ended(
        trial_id=row["trial_id"],
        status=status,
        objectives=measured,
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        curve=curve or {},
    )


def objective_values(result: Mapping[str, Any] | None, objectives: Sequence[str]) -> tuple[float, ...] | None:
    """Return the objectives of a trial's last report in order, or None unless all are finite numbers.

    >>> objective_values({"epoch": 3, "objectives": {"a": 0.5, "b": 2}}, ["b", "a"])
    (2.0, 0.5)
    """
    measured = measured_values(result or {})
    values = tuple(measured.get(name, math.nan) for name in objectives)
    return values if all(map(math.isfinite, values)) else None


def measured_values(result: Mapping[str, Any]) -> dict[str, float]:
    """Return all that a report measured, by the names that constraints use.

    Ray hands reports to searchers and schedulers with flat keys, `objectives/log_likelihood`.

    >>> measured_values({"objectives/a": 2, "n_parameters": 10, "seconds": 1.5})
    {'a': 2.0, 'parameters': 10.0, 'seconds': 1.5}
    """
    found = dict(result.get("objectives") or {})
    found |= {k.removeprefix(_FLAT): v for k, v in result.items() if k.startswith(_FLAT)}
    found |= {"parameters": result.get("n_parameters"), "seconds": result.get("seconds")}
    return {name: float(value) for name, value in found.items() if value is not None}


def judge(
    last: Mapping[str, Any], epochs_max: int, objectives: Sequence[str], limits: Sequence[Limit] = ()
) -> tuple[Status, str | None]:
    """Return how a trial ended that reported this last, and why if it did not complete.

    It completed if it reached its full budget with finite objectives within all limits. What the scheduler
    stopped, for the reason under `stopped`, did not fail if its objectives were finite up to then.
    """
    epochs = int(last.get("epoch", 0))
    if last.get("failure") is not None:
        return "failed", str(last["failure"])
    measured = measured_values(last)
    bad = [name for name in objectives if not math.isfinite(measured.get(name, math.nan))]
    stopped = last.get("stopped")
    if epochs < epochs_max and not stopped:
        return "failed", f"it ended after {epochs} of {epochs_max} epochs without saying why"
    if bad:
        faults = last.get("faults") or {}
        return "failed", faults.get(bad[0]) or f"{', '.join(bad)} is not a finite number"
    if epochs < epochs_max:
        return "stopped", str(stopped)
    missed = [limit.sentence(measured) for limit in limits if limit.excess(measured) > 0]
    return ("infeasible", "; ".join(missed)) if missed else ("completed", None)


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


def suggested_config(spec: SweepSpec, suggested: Mapping[str, Any]) -> TrialConfig:
    """Return the settings of a suggested trial; its replicate is added to the seed.

    Raises:
        ConfigError: the suggestion is impossible.
    """
    config = spec.trial_config(spec.space.settings(suggested["suggestion"]))
    return replace(config, seed=config.seed + split_name(suggested["trial_id"])[1])


def start_record(
    spec: SweepSpec, suggested: Mapping[str, Any], now: datetime, fingerprint: str | None = None
) -> TrialRecord:
    """Return the record of a suggested trial that starts now, on data with this hash."""
    config, names = suggested_config(spec, suggested), (suggested["trial_id"], suggested["attempt"])
    record = begun_record(spec, config, *names, now, fingerprint)
    return replace(record, suggestion_json=json.dumps(suggested["suggestion"]))


def begun_record(
    spec: SweepSpec,
    config: TrialConfig,
    trial_id: str,
    attempt: int,
    now: datetime,
    fingerprint: str | None = None,
) -> TrialRecord:
    """Return the record of a trial with these settings that starts now, on data with this hash."""
    return TrialRecord(
        trial_id=trial_id,
        attempt=attempt,
        config_id=config.config_id,
        seed=config.seed,
        status="running",
        epochs=0,
        epochs_max=config.epochs,
        started_at=now,
        config_json=config.to_json(),
        data_fingerprint=fingerprint,
        parameters=spec.space.columns(config.to_dict()),
    )


def end_record(
    started: TrialRecord,
    last: Mapping[str, Any],
    objectives: tuple[str, ...],
    now: datetime,
    limits: Sequence[Limit] = (),
) -> TrialRecord:
    """Return the final record of a trial from the last that it reported; `judge` says how it ended."""
    status, reason = judge(last, started.epochs_max, objectives, limits)
    return replace(
        started,
        status=status,
        error=None if status == "stopped" else reason,
        traceback=last.get("traceback") if status == "failed" else None,
        stop_reason=reason if status == "stopped" else None,
        epochs=int(last.get("epoch", 0)),
        ended_at=now,
        seconds=last.get("seconds", 0.0),
        device=last.get("device"),
        host=last.get("host"),
        n_parameters=last.get("n_parameters"),
        objectives=dict(last.get("objectives") or {}),
        stderr=dict(last.get("stderr") or {}),
    )
