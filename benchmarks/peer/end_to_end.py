"""The demo's sweep by the wall clock: ours beside Ray Tune, `OptunaSearch` and multivae 1.0.3.

Run: make compare-sweep      (some fifteen minutes on two cores; --trials and --epochs make it shorter, and
                              --seed is that of our sampler)

Both sides search the same ranges of beta and latent_dim with as many trials and epochs, the same networks,
samples and amounts of evaluation, a trial a core with one thread each; data set and classifiers are
built before. How long the classifiers take is measured apart: ours together, theirs one after the other in
plain PyTorch with as many threads as it likes. The subsets' weights, which multivae does not have, are
searched by ours alone; its are uniform. What it selects by, the mean over pairs of its coherence and its
default likelihood, goes to its search only: for the fronts its models are measured by our evaluator, on the
samples and with the noise that ours had.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import header

import mopoe
from sweep.analysis.fronts import front_mask, hypervolume
from sweep.analysis.points import Points, points, usable_trials
from sweep.config.sweep_spec import SweepSpec, load_spec
from sweep.store.read import open_store

HERE = Path(__file__).parent
CLASSIFIERS = """
import sys
import mopoe
from mopoe.evaluation.classifiers import ClassifierConfig, train_classifiers
data = mopoe.load_data("digits")
for some in [data.modalities] if sys.argv[1] == "together" else [(m,) for m in data.modalities]:
    train_classifiers(data.train, some, data.n_classes, ClassifierConfig())
"""


def ours(overrides: list[str], folder: Path) -> tuple[float, Points, list[float]]:
    """Return the seconds of `sweep run`, what it measured, and when each of these trials had ended."""
    began = datetime.now().astimezone()
    words = [word for override in overrides for word in ("-o", override)]
    sweep = Path(sys.executable).with_name("sweep")
    seconds = timed([str(sweep), "run", "digits", "--out", str(folder / "ours"), *words], folder / "ours.log")
    store = open_store(folder / "ours")
    objectives = store.manifest.objectives
    trials = store.latest_trials().collect()
    found = points(usable_trials(trials, objectives), objectives)
    ended = dict(
        trials.select("trial_id", (pl.col("ended_at") - began).dt.total_milliseconds() / 1e3).iter_rows()
    )
    took = trials["seconds"]
    print(
        f"ours      {seconds:8.0f} s   {len(found.values)} trials, median of one {took.median():.0f} s",
        flush=True,
    )
    return seconds, found, [ended[name] for name in found.trial_ids]


def until(found: Points, ended: list[float], volume: float, reference: dict[str, float]) -> float:
    """Return after how many seconds a sweep's trials have a hypervolume; NaN if they never have."""
    for second in sorted(ended):
        rows = np.array(ended) <= second
        ids = tuple(np.array(found.trial_ids)[rows].tolist())
        if hypervolume(replace(found, trial_ids=ids, values=found.values[rows]), reference) >= volume:
            return second
    return math.nan


def theirs(spec: SweepSpec, python: str, folder: Path) -> tuple[float, Points]:
    """Return the seconds of the other libraries' sweep, and what our evaluator measures of its models."""
    models = folder / "models"
    models.mkdir()
    fixed = {k: v for k, v in spec.fixed.items() if k not in spec.search_space}
    plan = spec.plain() | {
        "fixed": fixed,
        "data": {"name": spec.data.name, "options": dict(spec.data.options)},
        "space": spec.plain()["search_space"],
        "at_once": os.cpu_count(),
        "models": str(models),
        "storage": str(folder / "theirs"),
    }
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    command = [python, str(HERE / "tune_multivae.py"), str(folder / "plan.json")]
    seconds = timed(command, folder / "theirs.log")
    last = (folder / "theirs.log").read_text(encoding="utf-8").splitlines()
    trials = json.loads(next(line for line in reversed(last) if line.startswith("[{")))
    took = float(np.median([t["time_total_s"] for t in trials]))
    print(f"multivae  {seconds:8.0f} s   {len(trials)} trials, median of one {took:.0f} s", flush=True)
    data = mopoe.load_data(spec.data.name, **spec.data.options)
    evaluator = mopoe.Evaluator(data, mopoe.load_classifiers(data), spec.evaluation, epochs=1)
    values = []
    for trial in trials:
        with safe_open(models / f"{trial['trial_id']}.safetensors", framework="pt") as file:
            config = mopoe.TrialConfig.from_dict(json.loads(file.metadata()["config"]))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        model = mopoe.build_model(config, data.modalities)
        model.load_state_dict(weights)
        found = evaluator.measure(model, "objectives").objectives
        values.append([found[o.name] for o in spec.objectives])
    names = tuple(t["trial_id"] for t in trials)
    return seconds, Points(trial_ids=names, values=np.array(values), objectives=spec.objectives)


def timed(command: list[str], log: Path, **variables: str) -> float:
    """Return the seconds of a command, which writes to a log, with some environment variables."""
    began = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, check=False, env=os.environ | variables
        )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text(encoding='utf-8')[-3000:]}")
    return time.perf_counter() - began


def main() -> None:
    """Print both times, and both fronts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="Python of an environment with multivae and Ray Tune")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    overrides = [f"trials={given.trials or 14}", "replicates.seeds=1", f"seed={given.seed}"]
    overrides += [f"fixed.epochs={given.epochs}"] if given.epochs else []
    spec = load_spec("digits", overrides)
    mopoe.load_classifiers(mopoe.load_data(spec.data.name, **spec.data.options))
    print(header("ray", "optuna"), flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        one, mine, ended = ours(overrides, Path(name))
        other, others = theirs(spec, given.peer, Path(name))
        together, apart = (
            timed([sys.executable, "-c", CLASSIFIERS, how], Path(name, how), **kernels)
            for how, kernels in (("together", {}), ("apart", {"MOPOE_KERNELS": "0"}))
        )
    volume = hypervolume(others, spec.reference_point)
    reached = until(mine, ended, volume, dict(spec.reference_point))
    print(f"ratio     {other / one:8.2f}")
    if math.isnan(reached):
        print("ours never has their hypervolume")
    else:
        print(f"ratio until ours has their hypervolume, after {reached:.0f} s: {other / reached:.2f}")
    print(f"classifiers: ours {together:.0f} s, one after the other {apart:.0f} s, start of Python included")
    print(f"ratio with the classifiers {(other + apart) / (one + together):.2f}\n")
    print("measured by one evaluator, front by front")
    for side, found in (("ours", mine), ("multivae", others)):
        volume = hypervolume(found, spec.reference_point)
        print(f"{side}: hypervolume {volume:.1f} from {dict(spec.reference_point)}")
        for row in sorted(found.values[front_mask(found)].tolist()):
            print(("{:>12.4f}" + "{:>12.1f}" * (len(row) - 1)).format(*row))
    for side, a, b in (("multivae's", mine, others), ("our", others, mine)):
        front = b.values[front_mask(b)]
        beaten = sum(bool(((a.values >= row).all(1) & (a.values > row).any(1)).any()) for row in front)
        print(f"of the {len(front)} points on {side} front the other side dominates {beaten}")


if __name__ == "__main__":
    main()
