"""What the driver of a sweep costs: memory and time per trial as a sweep grows, asking, and a whole trivial run.

Run: python benchmarks/driver.py [--full]      (a minute; with --full 10,000 simulated trials and more repeats)

1. A simulated sweep: searcher, scheduler and recorder are called as Ray calls them, with made-up reports of two
   objectives, nine epochs a trial, eight trials at a time, halving; tables are written to disk. Random suggestions:
   Optuna's TPE looks at every trial for every suggestion, so its own time is given apart, in 2.
2. Asking: one suggestion of each sampler of a study with 2,000 finished trials.
3. A whole run on a local Ray with trials that only report, ours beside Ray Tune with `OptunaSearch` and its
   default loggers, both with random suggestions; in turn, each in a process of its own, wall time from
   the first suggestion to the end by the number of trials, start of Ray left out.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from sweep.running.recorder import Recorder
from sweep.search.replicating import Past, ReplicatingSearcher
from sweep.search.scheduler import HalvingScheduler
from sweep.search.searcher import OptunaSearcher, PastTrial
from sweep.spec.sweep_spec import SweepSpec, load_spec
from sweep.store.write import StoreWriter

EPOCHS, AT_ONCE, TRIVIAL = 9, 8, 120
AMONG = 2000


def trivial_spec(trials: int, *overrides: str) -> SweepSpec:
    """Return the demo's sweep with that many trials of nine epochs."""
    fixed = [f"fixed.epochs={EPOCHS}", f"trials={trials}", "sampler=random"]
    return load_spec("digits", [*fixed, *overrides])


def made_up(suggestion: dict[str, float], epoch: int) -> dict[str, float]:
    """Return two objectives that conflict and grow with the epochs."""
    x = np.log(suggestion["beta"])
    gone = epoch / EPOCHS
    return {
        "conditional_coherence": float(gone * np.cos(x)),
        "log_likelihood": float(gone * np.sin(x)) - 7000,
    }


def simulate(trials: int, folder: Path) -> list[float]:
    """Return milliseconds per trial, thousand by thousand."""
    spec = trivial_spec(trials, "scheduler.type=halving")
    searcher = ReplicatingSearcher(spec, Past())
    recorder = Recorder(spec, StoreWriter(folder), (), lambda _: None)
    scheduler = HalvingScheduler(
        spec.scheduler,
        spec.objectives,
        seed=0,
        epochs_max=lambda suggested: spec.budget(suggested["suggestion"]),
        on_decision=recorder.on_decision,
    )
    began, each, ended, asked = time.perf_counter(), [], 0, 0
    running: dict[str, tuple[SimpleNamespace, int]] = {}
    while ended < trials:
        while len(running) < AT_ONCE and isinstance(config := searcher.suggest(f"r{asked}"), dict):
            trial = SimpleNamespace(trial_id=f"r{asked}", config=config)
            running[trial.trial_id] = trial, 0
            recorder.on_trial_start(0, [], trial)
            asked += 1
        for name, (trial, before) in list(running.items()):
            report = {"epoch": before + 1, "objectives": made_up(trial.config["suggestion"], before + 1)}
            decision = scheduler.on_report(trial.config, report)
            recorder.on_trial_result(0, [], trial, report)
            running[name] = trial, before + 1
            if decision == "stop" or before + 1 == EPOCHS:
                del running[name]
                searcher.on_trial_complete(name, report)
                recorder.on_trial_complete(0, [], trial)
                ended += 1
                if ended % 1000 == 0:
                    each.append(time.perf_counter() - began)
                    began = time.perf_counter()
    return each


def ask(sampler: str, times: int) -> list[float]:
    """Return milliseconds of suggestions from a study with 2,000 finished trials."""
    spec = trivial_spec(10_000)
    drawn = ReplicatingSearcher(spec, Past())
    past = []
    for i in range(AMONG):
        suggestion = drawn.suggest(str(i))["suggestion"]
        found = PastTrial(
            trial_id=f"t{i:04}",
            suggestion=suggestion,
            status="completed",
            measured=made_up(suggestion, EPOCHS),
        )
        past.append(found)
    searcher = OptunaSearcher(
        spec.space,
        spec.objectives,
        sampler=sampler,
        seed=0,
        n_trials=10_000,
        epochs_max=spec.budget,
        past=past,
    )
    took = []
    for i in range(times):
        began = time.perf_counter()
        asked = searcher.suggest(str(i))
        took.append(1e3 * (time.perf_counter() - began))
        measured = {f"objectives/{k}": v for k, v in made_up(asked["suggestion"], EPOCHS).items()}
        searcher.on_trial_complete(str(i), {"epoch": EPOCHS} | measured)
    return took
