"""The tables of `v1` were written by the first release; every later one reads them. Never write them anew.

Its `sweep.json` holds what that release would have written of a real sweep: the spec was made up before.
"""

import math
import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from sweep.store.maintenance import compact
from sweep.store.read import Store, open_store
from sweep.store.schema import schema_version
from sweep.verify import problems

V1 = Path(__file__).parent / "v1"
TABLES = ("trials", "epochs", "subset_metrics", "pair_coherence", "samples")


def check(store: Store) -> None:
    """Check the values that were written then."""
    assert store.manifest.sweep_id == "run-1"
    assert store.manifest.modalities == ("m0", "m1")
    assert [o.name for o in store.manifest.objectives] == ["conditional_coherence", "log_likelihood"]
    trials = store.latest_trials().collect()
    assert trials.select(
        "trial_id", "status", "epochs", "p_beta", "p_latent_dim", "o_log_likelihood"
    ).rows() == [
        ("t0000", "completed", 2, 0.5, 16, -1500.0),
        ("t0001", "completed", 2, 1.5, 17, -1501.0),
        ("t0002", "failed", 1, 2.5, 18, None),
        ("t0003", "running", 0, 3.5, 19, None),
    ]
    assert trials["started_at"][0] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert trials["p_unimodal_elbos"].to_list() == ["true"] * 4
    epochs = store.epochs().sort("trial_id", "epoch").collect()
    assert epochs.select("trial_id", "epoch", "loss").rows()[:3] == [
        ("t0000", 1, 2050.0),
        ("t0000", 2, 1550.0),
        ("t0001", 1, 2150.0),
    ]
    assert epochs["o_conditional_coherence"].to_list() == [None, 0.4, None, 0.5, None]
    kl = store.subset_metrics().filter(trial_id="t0001", metric="kl").sort("subset_mask").collect()
    assert kl.select("subset_label", "value").rows() == [("m0", 10.0), ("m1", 10.0), ("m0+m1", 20.0)]
    pairs = store.pair_coherence().filter(pl.col("trial_id") == "t0000", ~pl.col("in_source")).collect()
    assert math.isclose(pairs["value"].mean(), 0.4)
    assert pairs.select("low", "high").null_count().row(0) == (pairs.height, pairs.height)
    strips = store.samples().collect()
    assert strips.height == 2 * (2 + 6)
    assert all(png.startswith(b"\x89PNG") for png in strips["png"])


def test_files_of_version_1_are_read():
    """Values come back as they were written, whatever version writes today."""
    for table in TABLES:
        (path,) = (V1 / table).iterdir()
        assert schema_version(pq.read_schema(path)) == 1
    check(open_store(V1))


def test_files_of_version_1_are_sound_and_mix_with_todays(tmp_path, make_sweep):
    """They verify, and compact together with files that are written today."""
    assert list(problems(open_store(V1))) == []
    root = shutil.copytree(V1, tmp_path / "x")
    make_sweep(root)
    compact(open_store(root))
    check(open_store(root))
