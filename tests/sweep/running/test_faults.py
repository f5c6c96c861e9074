"""Trials that raise, are killed, hang or take too long, on a local Ray: each ends with its reason."""

import os
import random
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from sweep.config.sweep_spec import load_spec
from sweep.running import driver as runner
from sweep.store.read import open_store

pytestmark = pytest.mark.ray


@pytest.fixture
def sweep_with(monkeypatch, tmp_path):
    """Run a sweep whose trials misbehave by name; return its trials by name."""

    def run(path, faults, *overrides, lr=False):
        if lr:
            text = path.read_text().replace(", lr: 0.001", "")
            choice = "search_space:\n  lr: {type: choice, values: [0.001, 10.0]}"
            path.write_text(text.replace("search_space:", choice))

        def make_trainable(spec, root, **more):
            # Nested, so that workers get it by value: they cannot import this module.
            def trainable(suggested):
                from sweep.running import trainable as module

                true_run = getattr(module, "true_run", module.run_trial)

                def run_trial(spec, config, inputs, reports, weights, device, *, on_report, on_saved):
                    folder = Path(root, "starts")
                    folder.mkdir(exist_ok=True)
                    name = Path(weights).stem
                    with (folder / name).open("a") as file:
                        file.write(f"{os.getpid()}\n")
                    starts = len((folder / name).read_text().split())
                    fault = faults.get(name, "")
                    if fault == "kill" or (fault == "kill once" and starts == 1):
                        os.kill(os.getpid(), signal.SIGKILL)
                    if fault == "raise" or (fault == "raise once" and starts == 1):
                        raise ValueError("no such layer")
                    if fault == "hang":
                        time.sleep(1000)

                    def slow_report(report):
                        time.sleep(16 * (fault == "slow"))
                        return on_report(report)

                    told = {"on_report": slow_report, "on_saved": on_saved}
                    return true_run(spec, config, inputs, reports, weights, device, **told)

                module.true_run, module.run_trial = true_run, run_trial
                return module.make_trainable(spec, root, **more)(suggested)

            return trainable

        monkeypatch.setattr(runner, "make_trainable", make_trainable)
        root = tmp_path / "r"
        spec = load_spec(path, overrides)
        runner.run_sweep(spec, root, say=str)
        trials = open_store(root).trials().collect()
        assert sorted(set(trials["trial_id"])) == [f"t{i:04}" for i in range(spec.trials)]
        assert trials.height == spec.trials
        assert not list((root / "checkpoints").glob(".*"))
        return {row["trial_id"]: row for row in trials.iter_rows(named=True)}

    return run


def test_each_fault_ends_with_its_reason(sweep_with, quick_file, tmp_path, shared_ray):
    """What passes on a second try completes; what does not is recorded with what went wrong, not lost."""
    faults = {"t0000": "kill once", "t0001": "raise", "t0002": "raise once"}
    found = sweep_with(quick_file, faults, "faults.max_failures=1", "resources.concurrent=1")
    assert (found["t0000"]["status"], found["t0000"]["error"]) == ("completed", None)
    assert found["t0001"]["status"] == "failed"
    assert re.fullmatch(rf"ValueError: no such layer; {__file__}:\d+", found["t0001"]["error"])
    assert found["t0001"]["traceback"].endswith("ValueError: no such layer\n")
    assert (found["t0002"]["status"], found["t0002"]["error"]) == ("completed", None)
    starts = {p.name: len(p.read_text().split()) for p in (tmp_path / "r" / "starts").iterdir()}
    assert starts == {"t0000": 2, "t0001": 2, "t0002": 2}


@pytest.mark.slow
def test_random_kills_and_every_fault_at_once(sweep_with, sweep_file, tmp_path, own_ray):
    """Workers killed at random moments, NaN, exceptions, a hang, a slow trial: all end, all say why."""
    rng, stop = random.Random(0), threading.Event()
    kills = []

    def kill():
        while not stop.wait(rng.uniform(4, 9)):
            # The worker that began last is running its trial still, or has just ended it.
            starts = sorted((tmp_path / "r" / "starts").glob("*"), key=lambda p: p.stat().st_mtime)
            if starts and len(kills) < 5:
                kills.append(int(starts[-1].read_text().split()[-1]))
                try:
                    os.kill(kills[-1], signal.SIGKILL)
                except ProcessLookupError:
                    kills.pop()

    faults = {"t0001": "raise", "t0003": "hang", "t0005": "kill", "t0006": "slow", "t0008": "raise once"}
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        found = sweep_with(
            sweep_file,
            faults,
            "trials=12",
            "faults.trial_minutes=0.5",
            "faults.max_failures=1",
            "fixed.epochs=4",
            lr=True,
        )
    finally:
        stop.set()
        killer.join()
    reasons = {
        "t0001": "ValueError: no such layer",
        "t0003": "it hung: no epoch ended",
        "t0005": "its worker process was lost",
        "t0006": "it took longer than faults.trial_minutes (0.5) for ",
    }
    assert len(kills) >= 3
    for name, row in found.items():
        lost = (row["error"] or "").startswith("its worker process was lost")
        if name in reasons:
            assert row["status"] == "failed"
            assert row["error"].startswith(reasons[name]) or lost, (name, row["error"])
        elif row["p_lr"] > 1:
            assert row["error"].startswith("the loss is not finite at step ") or lost, (name, row["error"])
        else:
            assert row["status"] == "completed" or lost, (name, row["error"])
    assert sum(row["status"] == "completed" for row in found.values()) >= 2
