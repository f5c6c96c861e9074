"""Loggers for the option --log: each attempt at a trial as a run of MLflow, or of Weights & Biases.

Their packages are extras of this one, imported when the first record comes. Where the runs go is said as
these packages have it: MLFLOW_TRACKING_URI, a database or a server (by default mlflow.db in the current
folder); WANDB_MODE=offline and WANDB_DIR, or an account.
"""

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mopoe.errors import ConfigError
from mopoe.plugins import plugin
from sweep.store.records import EpochRecord, EventRecord, Manifest, TrialRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from sweep.running.record_log import LogRecord

_Key = tuple[str, int]
"""The trial and the attempt that a record is of."""


class Mlflow:
    """A run of MLflow per attempt: settings are its parameters, the columns of each epoch its metrics.

    The sweep is the experiment. An attempt that goes on after a resume keeps its run.
    """

    needs = "mlflow"
    _client: "MlflowClient"

    def __call__(self, record: "LogRecord") -> None:
        """Log one record."""
        from mlflow.entities import Metric, Param

        match record:
            case Manifest():
                self._begin(record)
            case TrialRecord(status="running"):
                settings = json.loads(record.config_json)
                params = [Param(name, str(value)) for name, value in settings.items()]
                self._client.log_batch(self._run(record), params=params)
            case TrialRecord(ended_at=datetime() as ended):
                run, now = self._run(record), int(1000 * ended.timestamp())
                metrics = [Metric(name, value, now, record.epochs) for name, value in record.measured.items()]
                self._client.log_batch(run, metrics=metrics)
                self._client.set_tag(run, "status", record.status)
                if why := record.error or record.stop_reason:
                    self._client.set_tag(run, "reason", why)
                ends = {"failed": "FAILED", "stopped": "KILLED"}
                self._client.set_terminated(run, ends.get(record.status, "FINISHED"), now)
            case EpochRecord():
                now = int(1000 * time.time())
                metrics = [Metric(name, value, now, record.epoch) for name, value in record.values.items()]
                self._client.log_batch(self._run(record), metrics=metrics)
            case EventRecord():
                self._client.set_tag(self._run(record), f"{record.kind} {record.epoch}", record.reason)

    def _begin(self, sweep: Manifest) -> None:
        from mlflow import MlflowClient

        self._client, self._sweep, self._runs = MlflowClient(), sweep, dict[_Key, str]()
        found = self._client.get_experiment_by_name(sweep.name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(sweep.name)

    def _run(self, record: TrialRecord | EpochRecord | EventRecord) -> str:
        """Return the id of an attempt's run: one that is known, was there before, or is new."""
        key = (record.trial_id, record.attempt)
        if key not in self._runs:
            tags = {"sweep": self._sweep.sweep_id, "trial": key[0], "attempt": str(key[1])}
            query = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
            found = self._client.search_runs([self._experiment], query)
            run = found[0] if found else self._client.create_run(self._experiment, tags=tags, run_name=key[0])
            self._runs[key] = run.info.run_id
        return self._runs[key]


class Wandb:
    """A run of Weights & Biases per attempt: settings are its config, the columns of each epoch its history.

    The sweep's name is the project, the runs of one sweep are a group.
    """

    needs = "wandb"

    def __call__(self, record: "LogRecord") -> None:
        """Log one record."""
        import wandb as package

        match record:
            case Manifest():
                self._sweep, self._runs = record, dict[_Key, Any]()
                # Without an account its `init` would ask for one on the terminal that shows the sweep.
                if package.setup().settings.mode == "online" and not package.login(prompt=False):
                    raise ConfigError("there is no account; run `wandb login`, or set WANDB_MODE=offline")
            case TrialRecord(status="running"):
                self._runs[record.trial_id, record.attempt] = package.init(
                    project=self._sweep.name,
                    group=self._sweep.sweep_id,
                    id=f"{self._sweep.sweep_id}-{record.trial_id}-{record.attempt}",
                    name=record.trial_id,
                    config=json.loads(record.config_json),
                    resume="allow",
                    reinit="create_new",
                    settings=package.Settings(silent=True),
                )
            case TrialRecord():
                run = self._runs.pop((record.trial_id, record.attempt))
                ended = {"status": record.status, "reason": record.error or record.stop_reason}
                run.summary.update(record.measured | ended)
                run.finish(exit_code=int(record.status == "failed"))
            case EpochRecord():
                self._runs[record.trial_id, record.attempt].log(dict(record.values), step=record.epoch)
            case EventRecord():
                told = {f"{record.kind} {record.epoch}": record.reason}
                self._runs[record.trial_id, record.attempt].summary.update(told)


mlflow = plugin(Mlflow())
wandb = plugin(Wandb())
