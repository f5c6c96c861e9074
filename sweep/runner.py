"""Puts spec, searcher, trainable, recorder and store together into one Ray Tune run."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import ray
from ray import tune

from sweep.manifest import enter, open_folder
from sweep.outcome import Ended, Standing, objective_values
from sweep.recorder import Recorder
from sweep.searcher import OptunaSearcher, PastTrial
from sweep.spec import SweepSpec
from sweep.store.read import Store
from sweep.store.schema import OBJECTIVE
from sweep.store.write import StoreWriter
from sweep.trainable import WorkerPlan, make_trainable, materials

MAX_FAILURES = 2
"""How often a trial whose worker was lost is started again, from its last checkpoint."""


def run_sweep(
    spec: SweepSpec,
    root: Path,
    *,
    address: str = "local",
    say: Callable[[str], None],
    on_change: Callable[[Standing], None],
) -> Store:
    """Run a sweep, or what is left of it, and return its store.

    The folder may hold an earlier run of the same sweep: finished trials are not run again, trials that were
    cut off are continued, and `spec.trials` may have grown.

    Args:
        spec: the sweep.
        root: its results folder; shared by all machines if there are several.
        address: "local" starts Ray on this machine; "auto" or an address joins a cluster.
        say: called with a sentence when a phase begins.
        on_change: called with the standing whenever it changes.

    Raises:
        KeyboardInterrupt: Ctrl-C; what was finished is in the store, and the next call goes on.
        StoreError: the folder holds another sweep.
        DataError: the data set cannot be built.
    """
    root = root.absolute()
    open_folder(root, spec, spec.spec_hash)
    say(f"data set {spec.data.name!r} and its classifiers")
    _, classifiers = materials(spec)
    enter(root, spec, spec.spec_hash, classifiers.accuracy, classifiers.hash)
    store = Store(root)
    past = past_trials(store, spec.objectives)
    ended = [p for p in past if p.finished]
    if len(ended) >= spec.trials:
        say(f"{root} holds all {spec.trials} trials already")
        return store
    if past:
        say(f"{root} holds {len(ended)} of {spec.trials} trials already")
    say("starting Ray" if address == "local" else f"joining the Ray cluster at {address!r}")
    _start_ray(address)
    try:
        _fit(spec, root, past, on_change)
    finally:
        ray.shutdown()
        shutil.rmtree(root / ".ray", ignore_errors=True)
    return store


def past_trials(store: Store, objectives: tuple[str, ...]) -> list[PastTrial]:
    """Return the trials of earlier runs, in the order in which they were suggested."""
    found = []
    for row in store.latest_trials().sort("trial_id").collect().iter_rows(named=True):
        measured = {
            name: row[OBJECTIVE + name] for name in objectives if row.get(OBJECTIVE + name) is not None
        }
        values = objective_values({"objectives": measured}, objectives)
        found.append(
            PastTrial(
                trial_id=row["trial_id"],
                suggestion=json.loads(row["suggestion_json"]),
                values=values if row["status"] == "completed" else None,
                finished=row["status"] != "running",
            )
        )
    return found


def ended_trials(past: list[PastTrial], objectives: tuple[str, ...]) -> list[Ended]:
    """Return the finished ones among the trials of earlier runs."""
    return [
        Ended(
            trial_id=trial.trial_id,
            status="failed" if trial.values is None else "completed",
            objectives=dict(zip(objectives, trial.values or (), strict=False)),
        )
        for trial in past
        if trial.finished
    ]


def _start_ray(address: str) -> None:
    # Tune's own result files and its reporter are replaced by the store and by ours.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's coming default, set now so that it does not warn: a trial without a GPU keeps the device list.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Waiting threads of torch sleep instead of spinning: two workers on two cores would starve each other.
    workers = {"env_vars": {"OMP_WAIT_POLICY": "passive"}}
    ray.init(
        address=address,
        include_dashboard=False if address == "local" else None,
        runtime_env=workers,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _fit(
    spec: SweepSpec,
    root: Path,
    past: list[PastTrial],
    on_change: Callable[[Standing], None],
) -> None:
    has_gpu = ray.cluster_resources().get("GPU", 0) > 0
    cpu = spec.resources.cpu
    gpu = (1.0 if has_gpu else 0.0) if spec.resources.gpu == "auto" else float(spec.resources.gpu)
    plan = WorkerPlan(root=str(root), spec=spec.plain(), threads=max(1, int(cpu)), use_gpu=gpu > 0)
    searcher = OptunaSearcher(
        spec.space, spec.objectives, sampler=spec.sampler, seed=spec.seed, n_trials=spec.trials, past=past
    )
    recorder = Recorder(spec, StoreWriter(root), ended_trials(past, spec.objectives), on_change)
    tuner = tune.Tuner(
        tune.with_resources(make_trainable(plan), {"cpu": cpu, "gpu": gpu}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=spec.resources.concurrent or slots(ray.cluster_resources(), cpu, gpu),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(root / ".ray"),
            callbacks=[recorder],
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            verbose=0,
        ),
    )
    tuner.fit()
    standing = recorder.standing()
    if standing.done + standing.failed < spec.trials:
        # Tune takes Ctrl-C for itself and returns as if it had finished.
        raise KeyboardInterrupt


def slots(resources: dict[str, float], cpu: float, gpu: float) -> int:
    """Return how many trials fit into a cluster at once, at least one.

    >>> slots({"CPU": 8.0, "GPU": 2.0}, cpu=1, gpu=0.5)
    4
    """
    fits = [resources.get(name, 0.0) / need for name, need in (("CPU", cpu), ("GPU", gpu)) if need > 0]
    return max(1, int(min(fits) + 1e-9)) if fits else 1
