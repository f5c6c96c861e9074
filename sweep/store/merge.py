"""Puts several runs of one sweep into one results folder."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import PurePosixPath
from uuid import uuid4

from sweep.errors import StoreError
from sweep.store.compact import merged_rows, parts, put_merged
from sweep.store.files import Files
from sweep.store.read import Store
from sweep.store.schema import TABLES
from sweep.store.write import StoreWriter

CHECKPOINTS = "checkpoints"
"""Where a results folder has the weights of trials."""
CLASSIFIERS = "classifiers"
"""Where it has the classifiers that judge them, by their hash."""
WRITTEN = (CLASSIFIERS, *TABLES, "report", "report/figures", "report/tables")
"""The other folders in which files are written."""


def merge_runs(runs: Sequence[Store], out: Files) -> dict[str, str]:
    """Write all trials of some runs, with their rows, checkpoints and classifiers, into an empty folder.

    The manifest is the first run's with an id of its own. It is written last, so that a folder in which the
    work was cut off is no results folder.

    Returns:
        New name by "FOLDER: TRIAL" of the trials that were renamed because an earlier run has their name.

    Raises:
        StoreError: the runs are not of one sweep, one is given twice, or the folder holds files.
    """
    first = runs[0].manifest
    for i, run in enumerate(runs):
        if run.manifest.spec_hash != first.spec_hash:
            raise StoreError(
                f"{run.files} holds another sweep than {runs[0].files}: only runs of one are merged"
            )
        check_same_data(runs[0], run)
        if run.manifest.sweep_id in [other.manifest.sweep_id for other in runs[:i]]:
            raise StoreError(f"{run.files} holds a run that is given already ({run.manifest.sweep_id})")
    if out.list() or any(out.list(table) for table in (*TABLES, CHECKPOINTS, CLASSIFIERS)):
        raise StoreError(f"{out} holds files already; choose an empty folder with --out")
    taken: set[str] = set()
    renamed: dict[str, str] = {}
    for run in runs:
        ids = sorted(run.latest_trials().collect()["trial_id"])
        names = new_names(ids, taken)
        taken |= {names.get(trial, trial) for trial in ids}
        renamed |= {f"{run.files}: {trial}": name for trial, name in names.items()}
        for table in TABLES:
            for part in parts(run.files.list(table), run.names(table)):
                put_merged(out, table, merged_rows(run, table, part, names))
        for name in (*run.files.list(CHECKPOINTS), *run.files.list(CLASSIFIERS)):
            with run.files.open(name) as file:
                out.put(_renamed(name, names), partial(shutil.copyfileobj, file))
    StoreWriter(out).write_manifest(replace(first, sweep_id=uuid4().hex[:12]))
    return renamed


def check_same_data(one: Store, other: Store) -> None:
    """Refuse two runs whose data are known to differ: their numbers do not compare.

    Raises:
        StoreError: names both fingerprints.
    """
    prints = one.manifest.data_fingerprint, other.manifest.data_fingerprint
    if all(prints) and prints[0] != prints[1]:
        raise StoreError(
            f"{one.files} and {other.files} hold trials of different data: their fingerprints are "
            f"{prints[0]} and {prints[1]}"
        )


def new_names(trials: Sequence[str], taken: set[str]) -> dict[str, str]:
    """Return a free name for each trial whose config's name is taken; all its seeds move with it.

    A sweep's configs are counted on, others get a number.

    >>> new_names(["t0000", "t0001", "t0001-s1", "t0002"], {"t0001"})
    {'t0001': 't0003', 't0001-s1': 't0003-s1'}
    >>> new_names(["ab12-s0", "ab12-s1"], {"ab12-s0", "ab12.2-s0"})
    {'ab12-s0': 'ab12.3-s0', 'ab12-s1': 'ab12.3-s1'}
    """
    used = {config_of(trial) for trial in (*trials, *taken)}
    others = {config_of(trial) for trial in taken}
    moved: dict[str, str] = {}
    for config in dict.fromkeys(map(config_of, trials)):
        if config not in others:
            continue
        if re.fullmatch(r"t\d+", config):
            highest = max(int(name[1:]) for name in used if re.fullmatch(r"t\d+", name))
            moved[config] = f"t{highest + 1:04d}"
        else:
            moved[config] = next(n for k in count(2) if (n := f"{config}.{k}") not in used)
        used.add(moved[config])
    return {t: moved[c] + t.removeprefix(c) for t in trials if (c := config_of(t)) in moved}


def config_of(trial: str) -> str:
    """Return a trial's name without its seed, as in t0004-s1."""
    return re.sub(r"-s\d+$", "", trial)


def _renamed(checkpoint: str, names: Mapping[str, str]) -> str:
    path = PurePosixPath(checkpoint)
    # A single trial's checkpoints carry the attempt at the end.
    trial, dash, attempt = path.stem.rpartition("-")
    stem = names.get(path.stem) or (names.get(trial, trial) + dash + attempt)
    return str(path.with_stem(stem))
