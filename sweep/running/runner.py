"""Puts spec, searcher, trainable, recorder and store together into one Ray Tune run."""

import contextlib
import json
import logging
import os
import shlex
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import ray
from ray import tune

from mopoe.errors import ConfigError, MopoeError, shown
from mopoe.rehearsal import rehearse
from sweep.cluster.probe import SEE_GPUS, prepare
from sweep.config.objectives import names
from sweep.config.sweep_spec import SweepSpec, trial_config_for
from sweep.errors import ClusterError, StoreError, TrialsFailedError
from sweep.manifest import open_folder, open_or_create_manifest
from sweep.running.dashboards import StudyMirror
from sweep.running.materials import keep_classifiers, materials, shared_inputs
from sweep.running.recorder import Recorder
from sweep.running.signals import stoppable
from sweep.running.trainable import WorkerPlan, make_trainable
from sweep.search.agenda import Agenda, Next
from sweep.search.outcome import Ended, Standing, ended_trial, split_name
from sweep.search.scheduler import HalvingScheduler, recorded_vectors
from sweep.search.searcher import Past, SweepSearcher
from sweep.search.study import KnownConfig
from sweep.search.warm_start import warm_trials
from sweep.store.files import Files, LocalFiles, canonical_uri
from sweep.store.layout import CHECKPOINTS, WRITTEN
from sweep.store.lease import driving
from sweep.store.read import Store
from sweep.store.records import Status
from sweep.store.write import StoreWriter

RAY = ".ray"
"""Where in a results folder Ray keeps what it needs while a sweep runs."""


def run_sweep(
    spec: SweepSpec,
    root: str | Path,
    *,
    address: str = "local",
    workers: int = 0,
    allowed: Sequence[str] = (),
    retry_failed: bool = False,
    optuna_storage: str | None = None,
    tensorboard: bool = False,
    say: Callable[[str], None],
    on_change: Callable[[Standing], None],
) -> Store:
    """Run a sweep, or what is left of it, and return its store.

    The folder may hold an earlier run of the same sweep: finished trials are not run again, trials that were
    cut off are continued, and `spec.trials` or `spec.replicates` may have grown.

    Args:
        spec: the sweep.
        root: its results folder, shared by all machines if there are several, or an address as
            s3://BUCKET/FOLDER.
        address: "local" starts Ray on this machine; "auto" or an address joins a cluster.
        workers: how many workers of a cluster to wait for.
        allowed: keys of the spec that may differ from the folder's although trials depend on them.
        retry_failed: whether trials that failed are trained again, as a further attempt.
        optuna_storage: a database URL or a file to copy the study to, for optuna-dashboard.
        tensorboard: whether trials write their epochs for TensorBoard, too.
        say: called with a sentence when a phase begins.
        on_change: called with the standing whenever it changes.

    Raises:
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; or SIGUSR2, once the trials that run are checkpointed.
            What was finished is in the store, and the next call goes on.
        StoreError: the folder holds another sweep, or another driver runs it.
        TrialsFailedError: so many trials in a row have failed for one reason that the rest was not begun.
        DataError: the data set cannot be built, or the folder's classifiers are lost.
        ClusterError: Ray did not start, or the cluster is not fit to run it; said before the first trial.
        ConfigError: this machine has no room for a trial, or tensorboardX is not installed, or would have to
            write to an object store.
    """
    root = canonical_uri(root)
    store = Store(root)
    if tensorboard:
        _check_tensorboard(store.files)
    before = open_folder(root, spec, spec.spec_hash, allowed=allowed)
    with driving(store.files):
        _sweep_up(store.files)
        say(f"data set {spec.data.name!r} and its classifiers")
        data, classifiers = materials(spec, root, before.classifier_hash if before else None)
        manifest = open_or_create_manifest(
            root, spec, spec.spec_hash, shared_inputs(data, classifiers), allowed=allowed
        )
        keep_classifiers(store.files, classifiers)
        past = past_trials(store, names(spec.objectives), retry_failed=retry_failed)
        agenda = Agenda(spec, past.ended, cut_off=past.cut_off)
        if agenda.next_trial() is Next.END:
            say(_all_there(store, past))
            return store
        if past.suggestions:
            say(f"{store.files} holds {len(past.ended)} of {agenda.total} trials already")
        if spec.n_configs < spec.trials:
            say(f"the search space has no more than {spec.n_configs} configs, so {spec.trials} are not run")
        rehearse(trial_config_for(spec, ()), data, classifiers)
        warm: list[KnownConfig] = []
        for folder in spec.warm_start:
            found, sentence = warm_trials(Path(folder), spec)
            warm += found
            say(sentence)
        name = f"{spec.name}-{manifest.sweep_id}"
        mirror = StudyMirror(optuna_storage, name, spec, say) if optuna_storage else None
        with _joined(spec, store, address, workers, say):
            told = mirror.add if mirror else lambda _: None
            searcher = SweepSearcher(spec, past, told, warm, agenda=agenda, ahead=True)
            recorder = Recorder(
                spec,
                StoreWriter(store.files, spec.space.kinds()),
                past,
                on_change,
                agenda=agenda,
                on_end=searcher.end,
                fingerprint=data.fingerprint,
            )
            plan = WorkerPlan(
                root=root,
                spec=spec.plain(),
                judges=classifiers.hash,
                fingerprint=data.fingerprint,
                threads=max(1, int(spec.resources.cpu)),
                use_gpu=spec.resources.gpu_share(ray.cluster_resources().get("GPU", 0.0)) > 0,
                tensorboard=tensorboard,
            )
            # After Ray's start, which takes SIGTERM for itself.
            with stoppable(recorder.drain):
                _fit(spec, store, plan, searcher, recorder)
        if (why := recorder.repeated_failure) is not None:
            times = f"{spec.faults.identical} trials in a row failed"
            raise TrialsFailedError(
                f"{times}, so no other was begun: {why}; once that is mended: {_retry(store)}"
            )
    return store


def _check_tensorboard(files: Files) -> None:
    if not isinstance(files, LocalFiles):
        raise ConfigError(f"--tensorboard needs a folder to write to, but --out is {files}")
    if find_spec("tensorboardX") is None:
        raise ConfigError("--tensorboard needs the package tensorboardX, which is not installed")


def _sweep_up(files: Files) -> None:
    """Delete what writes that were cut off have left in a folder that is this driver's alone."""
    if isinstance(files, LocalFiles):
        # Checkpoints are written by this driver's workers alone; elsewhere another command may be at work.
        for path in (*files.leftovers([CHECKPOINTS]), *files.leftovers(WRITTEN, seconds=600)):
            path.unlink(missing_ok=True)


def _all_there(store: Store, past: Past) -> str:
    failed = sum(trial.status == "failed" for trial in past.ended)
    again = f"; `{_retry(store)}` trains the {failed} again that failed" if failed else ""
    return f"{store.files} holds all {len(past.ended)} trials already{again}"


def _retry(store: Store) -> str:
    return shlex.join(["sweep", "resume", str(store.files), "--retry-failed"])


@contextlib.contextmanager
def _joined(
    spec: SweepSpec, store: Store, address: str, workers: int, say: Callable[[str], None]
) -> Iterator[None]:
    """Be part of Ray, with room for the sweep's trials."""
    say("starting Ray" if address == "local" else f"joining the Ray cluster at {address!r}")
    _start_ray(address)
    try:
        if address == "local":
            there = ray.cluster_resources()
            spec.resources.check_room(there.get("CPU", 0.0), there.get("GPU", 0.0))
        else:
            prepare(spec, store.files.address, workers, say)
        yield
    finally:
        ray.shutdown()
        with contextlib.suppress(StoreError):
            store.files.drop(RAY)


def past_trials(store: Store, objectives: tuple[str, ...], *, retry_failed: bool = False) -> Past:
    """Return the trials of earlier runs, by name; with `retry_failed`, those that failed are to go on."""
    ended: list[Ended] = []
    cut_off: dict[str, int] = {}
    started: dict[str, datetime] = {}
    suggestions = {}
    # Only of one objective has Optuna intermediate values.
    vectors = recorded_vectors(store, objectives) if len(objectives) == 1 else {}
    curves = {name: {epoch: value for epoch, (value,) in found.items()} for name, found in vectors.items()}
    for row in store.latest_trials().sort("trial_id").collect().iter_rows(named=True):
        name: str = row["trial_id"]
        status: Status = row["status"]
        suggestions[split_name(name)[0]] = json.loads(row["suggestion_json"])
        if status == "running":
            cut_off[name], started[name] = row["attempt"], row["started_at"]
        elif status == "failed" and retry_failed:
            cut_off[name] = row["attempt"] + 1
        else:
            ended.append(ended_trial(row, objectives, curves.get(name)))
    return Past(ended=tuple(ended), cut_off=cut_off, started=started, suggestions=suggestions)


def _hidden(error: BaseException | None) -> MopoeError | None:
    """Return the error of ours from a callback that Tune met and raised as a traceback of its own."""
    while not (error is None or isinstance(error, MopoeError)):
        error = error.__cause__ or error.__context__
    return error


def _start_ray(address: str) -> None:
    # Tune's own result files and its reporter are replaced by the store and by ours.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's coming default, set now so that it does not warn: a trial without a GPU keeps the device list.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Waiting threads of torch sleep instead of spinning: two workers on two cores would starve each other.
    workers = {"env_vars": {"OMP_WAIT_POLICY": "passive", **SEE_GPUS["env_vars"]}}
    host, _, port = address.rpartition(":")
    answered = False
    try:
        if host and port.isdecimal():
            # Ray itself would go on trying for minutes.
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            answered = True
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            runtime_env=workers,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:
        ray.shutdown()
        what = "Ray did not start" if address == "local" else f"no Ray cluster answered at {address!r}"
        if answered:
            what = f"the Ray cluster at {address!r} takes no driver from here; is its head's RAY_AUTH_MODE"
            what += " or ~/.ray/auth_token another?"
        raise ClusterError(shown(f"{what} ({str(error).strip().partition(chr(10))[0]})")) from error
    # A lost worker is in the trials table; its traceback says nothing about the trial.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def _fit(
    spec: SweepSpec, store: Store, plan: WorkerPlan, searcher: SweepSearcher, recorder: Recorder
) -> None:
    cpu, there = spec.resources.cpu, ray.cluster_resources()
    gpu = spec.resources.gpu_share(there.get("GPU", 0.0))
    scheduler = HalvingScheduler(
        spec.scheduler,
        spec.objectives,
        seed=spec.seed,
        epochs_max=lambda suggested: spec.budget(suggested["suggestion"]),
        on_decision=recorder.on_decision,
        recorded=recorded_vectors(store, names(spec.objectives)) if spec.rungs else {},
        # A seed that a config has earned by its front or its full budget runs to the end.
        spared=lambda trial_id: spec.replicates.when != "all" and split_name(trial_id)[1] > 0,
    )
    system, folder = store.files.place
    slots = spec.resources.slots(there.get("CPU", 0.0), there.get("GPU", 0.0))
    # All wait for a place at once, so that a cluster grows by all it needs and not one by one.
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(slots))
    tuner = tune.Tuner(
        tune.with_resources(make_trainable(plan), {"cpu": cpu, "gpu": gpu}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=f"{folder}/{RAY}",
            storage_filesystem=system,
            callbacks=[recorder],
            failure_config=tune.FailureConfig(max_failures=spec.faults.max_failures),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except tune.TuneError as error:
        if (own := _hidden(error)) is None:
            raise
        raise own from None
    if recorder.interrupted or recorder.agenda.next_trial() is not Next.END:
        # Tune takes Ctrl-C for itself and returns as if it had finished.
        raise KeyboardInterrupt
