"""Puts spec, searcher, trainable, recorder and store together into one Ray Tune run."""

import contextlib
import logging
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from mopoe.data import load_data
from mopoe.errors import ConfigError, MopoeError
from mopoe.rehearsal import rehearse
from mopoe.runtime import check_precision
from sweep.cluster.connection import connect
from sweep.cluster.doctor import SEE_GPUS, prepare
from sweep.config.sweep_spec import SweepSpec, trial_config_for
from sweep.errors import StoreError, TrialsFailedError
from sweep.manifest import open_folder, open_or_create_manifest
from sweep.running.dashboards import StudyMirror
from sweep.running.record_log import logging_to, named_logger
from sweep.running.recorder import Recorder
from sweep.running.reporting import TELL_SECONDS
from sweep.running.shared_inputs import inputs_record, keep_classifiers, load_inputs, samples_text
from sweep.running.signals import stoppable, tell_first
from sweep.running.steering import Steering
from sweep.running.trainable import make_trainable
from sweep.running.worker import device_here
from sweep.search.budget import Budget
from sweep.search.overview import Overview
from sweep.search.past import added_configs, recorded_curves, recorded_vectors, trial_records, warm_start
from sweep.search.samplers import check_sampler
from sweep.search.scheduler import HalvingScheduler
from sweep.search.searcher import SweepSearcher
from sweep.search.standing import Action, SweepStatus
from sweep.search.state import SweepState
from sweep.search.trial import ConfigResult
from sweep.store.files import Files, LocalFiles, canonical_uri
from sweep.store.layout import CHECKPOINTS, WRITTEN
from sweep.store.lease import driving
from sweep.store.read import Store
from sweep.store.write import StoreWriter

if TYPE_CHECKING:
    from mopoe.data.container import MultimodalData
    from mopoe.evaluation.classifiers import Classifiers

RAY = ".ray"
"""Where in a results folder Ray keeps what it needs while a sweep runs."""
STOPPING = "stopping the running trials (up to 15 s); press Ctrl-C again to stop at once"
"""What Ctrl-C tells while Tune runs, which waits 5 s for its workers, and 10 s more before it kills them."""
DRAINING = "stopping as soon as every running trial has written a checkpoint"
"""What SIGUSR2 tells."""


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
    log: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] | None = None,
    on_step: Callable[[Callable[[], Overview]], None] = lambda _: None,
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
        log: a function of the user's own, as module:function, that is given every record.
        say: called with a sentence when a phase begins.
        warn: called with a sentence that is not to be missed, as what Ctrl-C does; None calls `say`.
        on_step: called several times a second with what returns how the sweep stands in detail.

    Raises:
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; or SIGUSR2, once the trials that run are checkpointed.
            What was finished is in the store, and the next call goes on.
        StoreError: the folder holds another sweep, or another driver runs it.
        TrialsFailedError: so many trials in a row have failed for one reason that the rest was not begun.
        DataError: the data set cannot be built, or the folder's classifiers are lost.
        ClusterError: Ray did not start, or the cluster is not fit to run it; said before the first trial.
        ConfigError: this machine has no room for a trial or is slow in its precision, the sampler of the
            user's own cannot be made, the logger cannot be called, or tensorboardX is not installed, or would
            have to write to an object store.
    """
    check_sampler(spec)
    warn = warn or say
    logger = named_logger(log)
    store = Store(canonical_uri(root))
    if tensorboard:
        _check_tensorboard(store.files)
    if address == "local":  # else the machines that train are asked
        for precision in (trial_config_for(spec, ()).precision, spec.evaluation.precision):
            check_precision(precision, device_here(spec))
    before = open_folder(store.files, spec, spec.spec_hash, allowed=allowed)
    with driving(store.files), logging_to(logger, warn) as tell:
        _sweep_up(store.files)
        data, classifiers = _inputs(spec, store, before.classifier_hash if before else None, say)
        shared = inputs_record(data, classifiers)
        manifest = open_or_create_manifest(store.files, spec, spec.spec_hash, shared, allowed=allowed)
        keep_classifiers(store.files, classifiers)
        tell(manifest)
        state = _resumed(spec, store, retry_failed=retry_failed)
        steering = Steering(spec, state, StoreWriter(store.files), warn, tell, say)
        steering.look()
        budget = Budget.of(spec, store)
        state.halted = budget.used_up
        if state.next_action() is Action.END:
            say(budget.end(state.status) or _nothing_left(store, state.status))
            return store
        _say_what_is_there(spec, store, state.status, say)
        rehearse(trial_config_for(spec, ()), data, classifiers, spec.evaluation)
        warm = [config for folder in spec.warm_start for config in _learned_from(Path(folder), spec, say)]
        with _joined(spec, store, address, workers, say):
            gpu = spec.resources.gpu_share(ray.cluster_resources().get("GPU", 0.0))
            trainable = make_trainable(
                spec,
                store.files.address,
                classifier_hash=classifiers.hash,
                fingerprint=data.fingerprint,
                use_gpu=gpu > 0,
                tell_seconds=TELL_SECONDS["local" if address == "local" else "cluster"],
                tensorboard=tensorboard,
                tell_rows=logger is not None,
                spot=address != "local",
            )
            searcher = SweepSearcher(spec, state, warm=warm, ahead=True)
            mirror = None
            if optuna_storage:
                name = f"{spec.name}-{manifest.sweep_id}"
                mirror = StudyMirror(optuna_storage, name, spec, state.results, warn)

            def on_config(config: ConfigResult) -> None:
                searcher.tell(config)
                if mirror:
                    mirror.add(config)

            recorder = Recorder(
                spec,
                state,
                StoreWriter(store.files, spec.space.kinds()),
                on_step=on_step,
                # Ray Tune replaces the handler of Ctrl-C as it starts.
                on_setup=lambda: tell_first(partial(warn, STOPPING)),
                on_config=on_config,
                fingerprint=data.fingerprint,
                budget=budget,
                log=tell,
                steering=steering,
            )
            tuner = make_tuner(spec, store, trainable, searcher, recorder)
            # After Ray's start, which takes SIGTERM for itself.
            with stoppable(partial(_drain, recorder, warn)), _own_errors():
                tuner.fit()
        if recorder.interrupted or state.next_action() is not Action.END:
            # Tune takes Ctrl-C for itself and returns as if it had finished.
            raise KeyboardInterrupt
        _check_failures(spec, store, state)
        if ended := budget.end(state.status):
            say(ended)
    return store


def _inputs(
    spec: SweepSpec, store: Store, classifier_hash: str | None, say: Callable[[str], None]
) -> "tuple[MultimodalData, Classifiers]":
    """Return the data and the classifiers that all trials share, and tell what is loaded or trained."""
    say(f"loading data set {spec.data.name!r}")
    data = load_data(spec.data.name, **spec.data.options)
    say(f"data set {spec.data.name!r}: {samples_text(data)}")
    if data.n_classes:
        say("preparing the classifiers that judge coherence")
    return load_inputs(spec, store.files.address, classifier_hash)


def _resumed(spec: SweepSpec, store: Store, *, retry_failed: bool) -> SweepState:
    """Return the state of a sweep by its tables, which may be empty."""
    records, curves = trial_records(store), recorded_curves(store, spec)
    return SweepState.resumed(spec, records, curves, retry_failed=retry_failed, added=added_configs(store))


def _drain(recorder: Recorder, warn: Callable[[str], None]) -> None:
    warn(DRAINING)
    recorder.drain()


def _check_failures(spec: SweepSpec, store: Store, state: SweepState) -> None:
    """Raise TrialsFailedError if trials failed so often for one reason that the rest was not begun."""
    if (why := state.repeated_failure) is not None:
        times = f"{spec.faults.identical} trials in a row failed"
        again = f"after fixing the cause, run: {_retry(store)}"
        raise TrialsFailedError(f"{times}, so no further trial was started: {why}; {again}")


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


def _nothing_left(store: Store, status: SweepStatus) -> str:
    failed = status.counts.get("failed", 0)
    again = f"; `{_retry(store)}` retries the {failed} that failed" if failed else ""
    return f"{store.files} holds all {status.ended} trials already{again}"


def _say_what_is_there(
    spec: SweepSpec, store: Store, status: SweepStatus, say: Callable[[str], None]
) -> None:
    if status.begun:
        say(f"{store.files} holds {status.ended} of {status.total} trials already")
    if spec.n_configs < spec.trials:
        say(f"the search space has only {spec.n_configs} configs, so fewer than {spec.trials} are run")


def _learned_from(folder: Path, spec: SweepSpec, say: Callable[[str], None]) -> list[ConfigResult]:
    configs, sentence = warm_start(folder, spec)
    say(sentence)
    return configs


def _retry(store: Store) -> str:
    return shlex.join(["sweep", "resume", str(store.files), "--retry-failed"])


@contextlib.contextmanager
def _joined(
    spec: SweepSpec, store: Store, address: str, workers: int, say: Callable[[str], None]
) -> Iterator[None]:
    """Be part of Ray, with room for the sweep's trials."""
    say("starting Ray" if address == "local" else f"joining the Ray cluster at {address!r}")
    start_ray(address)
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


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Raise the error of ours from a callback that Tune met and raised as a traceback of its own."""
    try:
        yield
    except tune.TuneError as error:
        own: BaseException | None = error
        while not (own is None or isinstance(own, MopoeError)):
            own = own.__cause__ or own.__context__
        if own is None:
            raise
        raise own from None


def start_ray(address: str) -> None:
    """Connect this process to Ray, starting one here if the address is "local".

    Raises:
        ClusterError: Ray did not start, nothing answers at the address, or the cluster refuses this driver.
    """
    # Tune's own result files and its reporter are replaced by the store and by ours.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's coming default, set now so that it does not warn: a trial without a GPU keeps the device list.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Waiting threads of torch sleep instead of spinning: two workers on two cores would starve each other.
    workers = {"env_vars": {"OMP_WAIT_POLICY": "passive", **SEE_GPUS["env_vars"]}}
    connect(address, include_dashboard=False if address == "local" else None, runtime_env=workers)
    # A lost worker is in the trials table; its traceback says nothing about the trial.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def make_tuner(
    spec: SweepSpec,
    store: Store,
    trainable: Callable[[dict[str, Any]], None],
    searcher: SweepSearcher,
    recorder: Recorder,
) -> tune.Tuner:
    """Return what runs a sweep's trials on the Ray that this process is connected to."""
    there = ray.cluster_resources()
    cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    slots = spec.resources.slots(cpus, gpus)
    # All wait for a place at once, so that a cluster grows by all it needs and not one by one.
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(slots))
    recorded = recorded_vectors(store, spec.objectives) if spec.rungs else {}
    system, folder = store.files.place
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": spec.resources.cpu, "gpu": spec.resources.gpu_share(gpus)}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=HalvingScheduler(spec, recorder.on_decision, recorded, recorder.unwanted),
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
