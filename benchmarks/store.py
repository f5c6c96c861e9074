"""The store against Ray Tune's JSON results of the same sweep: size, and time to load and aggregate.

python benchmarks/store.py          # 100 trials x 30 epochs x 74 metrics, and a report of 300 trials
python benchmarks/store.py --full   # 1,000 trials, and a report of 10,000
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from common import header, spread

from mopoe.config import TrialConfig
from mopoe.reports import EpochReport, Evaluation, PairCoherence, SubsetMetric
from mopoe.subsets import subset_label, subset_masks
from sweep.analysis.fronts import front_mask
from sweep.analysis.points import by_config, points, usable_trials
from sweep.config.objectives import Objective
from sweep.config.sweep_spec import load_spec
from sweep.store.maintenance import compact
from sweep.store.read import Store, open_store
from sweep.store.records import Manifest, TrialRecord
from sweep.store.write import StoreWriter

NAMES = tuple(f"m{m}" for m in range(5))
OBJECTIVES = (Objective(name="conditional_coherence"), Objective(name="log_likelihood"))
START = datetime(2026, 1, 1, tzinfo=UTC)
SEEDS, EPOCHS, ROUNDS = 2, 30, 5


def reports(trial: int, epochs: int = EPOCHS) -> Iterator[EpochReport]:
    """Give what a trial reports: 12 numbers an epoch, and the KL and a coherence of each of 31 subsets.

    Coherences are shares of 1,000 samples; all other numbers are random to the last bit, as real ones are.
    """
    rng = np.random.default_rng(trial)
    masks = subset_masks(len(NAMES))
    for epoch in range(1, epochs + 1):
        kl, coherence = rng.gamma(9, 3, 31), rng.binomial(1000, rng.beta(8, 4, 31)) / 1000
        found = Evaluation(
            split="validation",
            objectives={"conditional_coherence": coherence.mean(), "log_likelihood": rng.normal(-7000, 200)},
            stderr={"conditional_coherence": 0.02, "log_likelihood": 30.0},
            subset_metrics=tuple(
                SubsetMetric(subset_mask=m, metric="kl", value=v, stderr=None, n=1000)
                for m, v in zip(masks, kl, strict=True)
            ),
            pair_coherence=tuple(
                PairCoherence(source_mask=m, target="m0", value=v, stderr=None, n=1000, chance=0.12)
                for m, v in zip(masks, coherence, strict=True)
            ),
            pictures=(),
            seconds=rng.uniform(1, 2),
        )
        loss = 7000 * (1 + 1 / epoch) + rng.normal(0, 20)
        yield EpochReport(
            epoch=epoch,
            step=63 * epoch,
            examples=16000 * epoch,
            seconds=rng.uniform(3, 4),
            loss=loss,
            elbo=-loss,
            reconstruction={name: rng.normal(1400, 30) for name in NAMES},
            kl=float(kl.mean()),
            lr=1e-3,
            grad_norm=rng.gamma(4, 10),
            evaluation=found,
        )


def record(trial: int, last: EpochReport) -> TrialRecord:
    """Return a completed trial, one of two seeds of its config."""
    beta = float(np.random.default_rng(trial // SEEDS).uniform(0.1, 4))
    config = TrialConfig(beta=beta, seed=trial % SEEDS, epochs=EPOCHS)
    assert last.evaluation is not None
    return TrialRecord(
        trial_id=f"t{trial:05}",
        config_id=config.config_id,
        seed=config.seed,
        status="completed",
        epochs=EPOCHS,
        epochs_max=EPOCHS,
        started_at=START + timedelta(seconds=trial),
        ended_at=START + timedelta(seconds=trial + 100),
        seconds=100.0,
        n_parameters=10**6,
        device="cpu",
        config_json=config.to_json(),
        parameters={"beta": beta},
        objectives=last.evaluation.objectives,
        stderr=last.evaluation.stderr,
    )


def write_trial(writer: StoreWriter, ray: Path | None, trial: int, epochs: int = EPOCHS) -> None:
    """Write a trial as the store has it (a file per table), and as Ray Tune's JSON logger does."""
    found = list(reports(trial, epochs))
    row = record(trial, found[-1])
    writer.write_reports(row.trial_id, 0, found, NAMES)
    writer.write_trial(row)
    if ray is not None:
        folder = ray / f"trainable_{row.trial_id}_2026-01-01_00-00-00"
        folder.mkdir(parents=True)
        config = json.loads(row.config_json)
        (folder / "params.json").write_text(json.dumps(config, indent=2, sort_keys=True))
        lines = (json.dumps(ray_result(row, report, config)) + "\n" for report in found)
        (folder / "result.json").write_text("".join(lines))


def ray_result(row: TrialRecord, report: EpochReport, config: dict[str, object]) -> dict[str, object]:
    """Return what `tune.report` of the same numbers becomes: flat metrics and the fields Ray adds itself."""
    found = report.evaluation
    assert found is not None
    metrics = {k: getattr(report, k) for k in ("loss", "elbo", "kl", "lr", "grad_norm")}
    metrics |= {f"reconstruction_{k}": v for k, v in report.reconstruction.items()} | found.objectives
    metrics |= {f"kl/{subset_label(m.subset_mask, NAMES)}": m.value for m in found.subset_metrics}
    metrics |= {f"coherence/{subset_label(p.source_mask, NAMES)}": p.value for p in found.pair_coherence}
    assert len(metrics) == 74
    return metrics | {
        "timestamp": 1767225600 + report.epoch,
        "checkpoint_dir_name": None,
        "done": report.epoch == EPOCHS,
        "training_iteration": report.epoch,
        "trial_id": row.trial_id,
        "date": "2026-01-01_00-00-00",
        "time_this_iter_s": report.seconds,
        "time_total_s": report.seconds * report.epoch,
        "pid": 4711,
        "hostname": "node-1",
        "node_ip": "10.0.0.1",
        "config": config,
        "time_since_restore": report.seconds * report.epoch,
        "iterations_since_restore": report.epoch,
    }


def by_store(root: Path) -> int:
    """Return the size of the front, after every metric's mean per config and epoch."""
    store = open_store(root)
    trials = store.latest_trials().collect()
    ids = trials.lazy().select("trial_id", "config_id")
    for table, by in (("subset_metrics", "subset_mask"), ("pair_coherence", "source_mask")):
        rows = store.table(table).select("trial_id", "epoch", by, "value").join(ids, on="trial_id")
        assert rows.group_by("config_id", "epoch", by).agg(pl.col("value").mean()).collect().height
    losses = store.epochs().join(ids, on="trial_id").group_by("config_id", "epoch")
    assert losses.agg(pl.col(pl.Float64).mean()).collect().height
    configs = by_config(usable_trials(trials, OBJECTIVES), OBJECTIVES)
    return int(front_mask(points(configs, OBJECTIVES)).sum())


def by_ray(root: Path) -> int:
    """Return the same from `result.json`, read as Ray's ExperimentAnalysis does: json, then pandas."""
    import pandas as pd

    frames = []
    for path in sorted(root.glob("*/result.json")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        frames.append(pd.json_normalize(lines, sep="/"))
    rows = pd.concat(frames)
    keys = [f"config/{k}" for k in ("beta", "seed")]
    metrics = [
        c for c in rows.columns if c.startswith(("kl", "coherence/", "reconstruction", "loss", "elbo"))
    ]
    assert len(rows.groupby([keys[0], "training_iteration"])[metrics].mean())
    names = [o.name for o in OBJECTIVES]
    last = rows[rows["training_iteration"] == EPOCHS].groupby(keys[0])[names].mean()
    return int(pareto(last.to_numpy()).sum())


def pareto(values: np.ndarray) -> np.ndarray:
    """Return which rows no other row beats."""
    import moocore

    return moocore.is_nondominated(values, maximise=True, keep_weakly=True)


def size(root: Path) -> int:
    """Return the bytes in a folder's files."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def timed(work: Callable[[Path], int], root: Path) -> tuple[float, int]:
    began = time.perf_counter()
    found = work(root)
    return time.perf_counter() - began, found


def manifest(trials: int) -> Manifest:
    corner = "reference_point={conditional_coherence: 0.0, log_likelihood: -10000.0}"
    spec = load_spec("digits", ["name=benchmark", f"trials={trials}", corner])
    return Manifest(
        sweep_id="benchmark",
        name=spec.name,
        created_at=START.isoformat(),
        objectives=OBJECTIVES,
        reference_point=dict(spec.reference_point),
        modalities=NAMES,
        data=spec.data.name,
        spec=spec.plain(),
        spec_hash="0",
        versions={},
    )


def make(folder: Path, trials: int) -> None:
    """Write the sweep three times."""
    writer = StoreWriter(folder / "loose")
    writer.write_manifest(manifest(trials))
    for trial in range(trials):
        write_trial(writer, folder / "ray", trial)
    shutil.copytree(folder / "loose", folder / "merged")
    compact(Store(folder / "merged"))


def compare(folder: Path, trials: int) -> None:
    """Print size and time of each way."""
    loose, merged, ray = folder / "loose", folder / "merged", folder / "ray"
    ways = {
        "Ray's JSON": (by_ray, ray),
        "a file per trial": (by_store, loose),
        "compacted": (by_store, merged),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    fronts = set()
    for _ in range(ROUNDS):
        for name, (work, root) in ways.items():
            taken, front = timed(work, root)
            seconds[name].append(taken)
            fronts.add(front)
    assert len(fronts) == 1, fronts
    print(f"{trials} trials x {EPOCHS} epochs x 74 metrics; load, mean per config, front; {ROUNDS} rounds")
    print(f"{'':<18}{'files':>7}{'MB':>8}  {'of JSON':>8}   seconds: median (min to max)   JSON / this")
    for name, (_, root) in ways.items():
        ratios = [a / b for a, b in zip(seconds["Ray's JSON"], seconds[name], strict=True)]
        files = sum(1 for path in root.rglob("*") if path.is_file())
        share = size(root) / size(ray)
        print(
            f"{name:<18}{files:>7}{size(root) / 1e6:>8.1f}  {'1/' + format(1 / share, '.1f'):>8}   "
            f"{spread(seconds[name]):<29} {spread(ratios)}",
            flush=True,
        )


def report(folder: Path, trials: int) -> None:
    root = folder / "many"
    writer = StoreWriter(root)
    writer.write_manifest(manifest(trials))
    with ThreadPoolExecutor(4) as pool:  # waiting for the disk
        list(pool.map(lambda trial: write_trial(writer, None, trial, epochs=2), range(trials)))
    command = [sys.executable, "-c", "from sweep.cli import main; main()", "report", str(root)]
    for name in ("a file per trial", "compacted") if trials < 1000 else ("compacted",):
        if name == "compacted":
            compact(Store(root))
        before = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        taken = time.perf_counter() - before
        assert process.returncode == 0
        print(
            f"sweep report of {trials} trials, {name}: {taken:.1f} s "
            f"({usage.ru_utime + usage.ru_stime:.1f} s of CPU), at most {usage.ru_maxrss / 2**20:.2f} GiB"
        )


if __name__ == "__main__":
    full = "--full" in sys.argv
    print(header("polars", "pyarrow"))
    with tempfile.TemporaryDirectory() as name:
        trials = 1000 if full else 100
        make(Path(name), trials)
        compare(Path(name), trials)
        shutil.rmtree(Path(name))
        report(Path(name), 10_000 if full else 300)
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
