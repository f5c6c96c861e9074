"""What the driver of a sweep costs: memory and time per trial as it grows, asking, and a whole trivial run.

Run: python benchmarks/driver.py [--full]      (two minutes; --full: 10,000 simulated trials, more repeats)

1. A simulated sweep: searcher, scheduler and recorder are called as Ray calls them, with made-up reports of
   two objectives, nine epochs a trial, 64 workers, TPE and halving; tables go to memory.
2. Asking: one suggestion of each sampler of a study with 2,000 finished trials.
3. A whole run on a local Ray with trials that only report, ours beside Ray Tune with `OptunaSearch` and its
   default loggers, both with random suggestions; in turn, each in a process of its own, wall time from the
   first suggestion to the end by the number of trials, start of Ray left out.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from common import header, spread

from sweep.config.sweep_spec import SweepSpec, load_spec
from sweep.running.recorder import Recorder
from sweep.search.scheduler import HalvingScheduler
from sweep.search.searcher import SweepSearcher
from sweep.search.state import SweepState
from sweep.search.study import ConfigStudy
from sweep.search.trial import ConfigResult, SuggestedTrial, TrialReport
from sweep.store.read import Store
from sweep.store.write import StoreWriter

EPOCHS, AT_ONCE, TRIVIAL = 9, 64, 60
AMONG = 2000


def trivial_spec(trials: int, *overrides: str) -> SweepSpec:
    """Return the demo's sweep with that many trials of nine epochs."""
    fixed = [f"fixed.epochs={EPOCHS}", f"trials={trials}"]
    return load_spec("digits", [*fixed, *overrides])


def made_up(suggestion: dict[str, float], epoch: int) -> dict[str, float]:
    """Return two objectives that grow with the epochs: beta trades them, the latent size takes from both."""
    x, lost = np.log(suggestion["beta"]), suggestion["latent_dim"] / 100
    gone = epoch / EPOCHS
    return {
        "conditional_coherence": float(gone * (np.cos(x) - lost)),
        "log_likelihood": float(gone * (np.sin(x) - lost)) - 7000,
    }


def pair(spec: SweepSpec, folder: Path, **more: bool) -> tuple[SweepSearcher, Recorder]:
    """Return the searcher and the recorder of a new sweep."""
    state = SweepState(spec)
    searcher = SweepSearcher(spec, state, **more)
    return searcher, Recorder(spec, state, StoreWriter(folder), on_config=searcher.tell)


def simulate(trials: int, folder: Path) -> list[float]:
    """Return CPU milliseconds per trial, thousand by thousand."""
    spec = trivial_spec(trials, "scheduler.type=halving")
    searcher, recorder = pair(spec, folder)
    scheduler = HalvingScheduler(spec, recorder.on_decision)
    began, each, ended, asked = time.process_time(), [], 0, 0
    running: dict[str, tuple[SimpleNamespace, int]] = {}
    while ended < trials:
        while len(running) < AT_ONCE and isinstance(config := searcher.suggest(f"r{asked}"), dict):
            trial = SimpleNamespace(trial_id=f"r{asked}", config=config)
            running[trial.trial_id] = trial, 0
            recorder.on_trial_start(0, [], trial)
            asked += 1
        for name, (trial, before) in list(running.items()):
            report = {"epoch": before + 1, "objectives": made_up(trial.config["suggestion"], before + 1)}
            decision = scheduler.on_report(
                SuggestedTrial.from_ray(trial.config), TrialReport.from_ray(report)
            )
            recorder.on_trial_result(0, [], trial, report)
            running[name] = trial, before + 1
            if decision == "stop" or before + 1 == EPOCHS:
                del running[name]
                recorder.on_trial_complete(0, [], trial)
                ended += 1
                if ended % 1000 == 0:
                    each.append(time.process_time() - began)
                    began = time.process_time()
    return each


def ask(sampler: str, times: int) -> list[float]:
    """Return CPU milliseconds of suggestions from a study with 2,000 finished trials."""
    spec = trivial_spec(10_000, "sampler=random")
    drawn = SweepSearcher(spec, SweepState(spec))
    past = []
    for i in range(AMONG):
        suggestion = drawn.suggest(str(i))["suggestion"]
        past.append(completed(f"t{i:04}", suggestion))
    study = ConfigStudy(trivial_spec(10_000, f"sampler={sampler}"), past)
    took = []
    for i in range(times):
        began = time.process_time()
        asked = study.ask(str(i))
        took.append(1e3 * (time.process_time() - began))
        study.tell(completed(str(i), asked))
    return took


def completed(name: str, suggestion: dict[str, float]) -> ConfigResult:
    """Return a config with made-up objectives."""
    measured = made_up(suggestion, EPOCHS)
    return ConfigResult(name=name, suggestion=suggestion, status="completed", measured=measured)


def run_ours(trials: int, folder: Path) -> float:
    """Return the seconds of a whole run of ours from the first suggestion to the end."""
    import ray
    from ray import tune

    from sweep.running import driver

    def nothing(config: dict) -> None:
        tune.report({"epoch": EPOCHS, "objectives": made_up(config["suggestion"], EPOCHS), "done": True})

    alike = [f"resources.concurrent={os.cpu_count()}", "resources.gpu=0", "sampler=random"]
    spec = trivial_spec(trials, *alike)
    driver.start_ray("local")
    began = time.perf_counter()
    driver.make_tuner(spec, Store(folder), nothing, *pair(spec, folder, ahead=True)).fit()
    took = time.perf_counter() - began
    ray.shutdown()
    return took


def run_peer(trials: int, folder: Path) -> float:
    """Return the seconds of a whole run of Ray Tune with OptunaSearch and the default loggers."""
    import optuna
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    def nothing(config: dict) -> None:
        found = made_up(config, EPOCHS)
        tune.report({"epoch": EPOCHS, **found})

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    names = ["conditional_coherence", "log_likelihood"]
    began = time.perf_counter()
    search = OptunaSearch(
        {
            "beta": tune.loguniform(0.05, 2.0),
            "mixture_path": tune.uniform(-1, 1),
            "latent_dim": tune.randint(8, 64),
        },
        metric=names,
        mode=["max", "max"],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    tune.Tuner(
        tune.with_resources(nothing, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=search, num_samples=trials, max_concurrent_trials=os.cpu_count()
        ),
        run_config=tune.RunConfig(name="x", storage_path=str(folder), verbose=0),
    ).fit()
    took = time.perf_counter() - began
    ray.shutdown()
    return took


def in_turn(repeats: int) -> dict[str, list[float]]:
    """Return milliseconds per trivial trial of both, run in turn."""
    found: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(repeats):
        for who, took in found.items():
            out = subprocess.run(
                [sys.executable, __file__, "--run", who], capture_output=True, text=True, check=True
            ).stdout
            took.append(1e3 * json.loads(out.splitlines()[-1]) / TRIVIAL)
    return found


def quantiles(values: list[float]) -> str:
    """Return median and 95th percentile."""
    return f"{np.median(values):10.1f}{np.quantile(values, 0.95):10.1f}"


def main(*arguments: str) -> None:
    """Print the tables."""
    if arguments[:1] == ("--run",):
        with tempfile.TemporaryDirectory() as folder:
            run = {"ours": run_ours, "peer": run_peer}[arguments[1]]
            print(json.dumps(run(TRIVIAL, Path(folder))))
        return
    full = "--full" in arguments
    print(header("ray", "optuna"))
    trials = 10_000 if full else 2000
    memory = Path("/dev/shm")  # the disk's time to sync is no matter of the driver's
    with tempfile.TemporaryDirectory(dir=memory if memory.exists() else None) as folder:
        each = simulate(trials, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{trials} simulated trials, CPU milliseconds per trial by thousand, tables in memory:")
    print("  " + " ".join(f"{ms:.1f}" for ms in each))
    print(f"peak memory of the process: {peak:.0f} MiB\n")
    print(f"asking with {AMONG} finished trials, CPU milliseconds:  median   95th percentile")
    for sampler in ("tpe", "nsga2", "random"):
        print(f"  {sampler:<10}{quantiles(ask(sampler, 200 if full else 60))}")
    found = in_turn(3 if full else 1)
    print(
        f"\n{TRIVIAL} trivial trials on Ray, {os.cpu_count()} at a time, wall milliseconds per trial by run"
    )
    for who, name in (("ours", "ours"), ("peer", "Ray Tune, OptunaSearch, default loggers")):
        print(f"  {name:<42}" + " ".join(f"{ms:.0f}" for ms in found[who]))
    ratios = [ours / peer for ours, peer in zip(found["ours"], found["peer"], strict=True)]
    print(f"  ours / theirs: {spread(ratios)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
