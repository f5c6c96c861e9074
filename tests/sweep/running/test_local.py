"""One trial without Ray: the same numbers each time, the tables of a sweep, a checkpoint to go on from."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from mopoe.checkpoint import load_model
from mopoe.errors import ConfigError, DivergedError
from sweep.config.sweep_spec import load_spec, trial_config_for
from sweep.errors import StoreError
from sweep.running.driver import run_sweep
from sweep.running.local import run_single, trials_hash
from sweep.running.progress import TrialProgress
from sweep.store.read import open_store


def run(quick_file, root, *assignments, resume=False, reports=None):
    """Train one trial of the quick sweep."""
    spec = load_spec(quick_file)
    config = trial_config_for(spec, assignments)
    seen = [] if reports is None else reports
    return run_single(spec, config, root, resume=resume, device="cpu", on_report=seen.append)


def rows(frame, *without):
    """Return the sorted rows of a lazy frame without some columns."""
    return frame.collect().drop(*without).sort(pl.all()).rows()


def test_a_trial_twice_gives_identical_numbers(quick_file, tmp_path):
    """Two attempts with one seed agree in every stored number but the times; another seed differs."""
    root = tmp_path / "r"
    first, second = run(quick_file, root), run(quick_file, root)
    other = run(quick_file, root, "seed=1")
    assert (first.attempt, second.attempt) == (0, 1)
    assert first.objectives == second.objectives != other.objectives
    store = open_store(root)
    times = ("attempt", "seconds", "evaluation_seconds")
    for table, dropped in (
        (store.epochs(), times),
        (store.subset_metrics(), ("attempt",)),
        (store.pair_coherence(), ("attempt",)),
        (store.samples(), ("attempt",)),
    ):
        mine = table.filter(pl.col("trial_id") == first.trial_id)
        a, b = (rows(mine.filter(pl.col("attempt") == k), *dropped) for k in (0, 1))
        assert a == b
        assert a
    assert other.config_id == first.config_id


def test_the_tables_hold_every_subset_and_pair(quick_file, tmp_path):
    """31 subsets, 155 pairs, two epochs and the pictures of one trial, and what was set against the file."""
    run(quick_file, tmp_path / "r", "network.m1.dropout=0.25")
    store = open_store(tmp_path / "r")
    assert sorted(store.epochs().collect()["epoch"]) == [1, 2]
    kl = store.subset_metrics().filter(pl.col("metric") == "kl").collect()
    assert sorted(kl["subset_mask"]) == list(range(1, 32))
    pairs = store.pair_coherence().collect()
    assert pairs.height == 155
    outside = pairs.filter(~pl.col("in_source"))
    record = store.trials().collect().row(0, named=True)
    assert outside.height == 75
    assert outside["value"].mean() == pytest.approx(record["o_conditional_coherence"], abs=1e-12)
    settings = json.loads(record["config_json"])
    assert (settings["latent_dim"], settings["network.m1.dropout"]) == (4, 0.25)
    assert record["p_network.m1.dropout"] == 0.25
    assert store.samples().collect().height == 5 * (1 + 5 + 1) + 4  # and from all others


def test_an_interrupted_trial_goes_on_where_it_was(quick_file, tmp_path):
    """Stopped after its first epoch and resumed, a trial ends with the numbers of an uninterrupted one."""
    whole = run(quick_file, tmp_path / "whole")
    root = tmp_path / "cut"
    spec = load_spec(quick_file)
    config = trial_config_for(spec, ())

    def stop_after_one(report):
        if report.epoch == 2:
            raise KeyboardInterrupt

    # The first checkpoint is due after ten seconds.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweep.store.files.LocalFiles.interval", 0.0)
        with pytest.raises(KeyboardInterrupt):
            run_single(spec, config, root, resume=False, device="cpu", on_report=stop_after_one)
    cut = open_store(root).trials().collect().row(0, named=True)
    assert (cut["status"], cut["error"]) == ("failed", "interrupted; continue with --resume")
    reports = []
    resumed = run(quick_file, root, resume=True, reports=reports)
    assert [r.epoch for r in reports] == [2]
    assert (resumed.attempt, resumed.status, resumed.objectives) == (0, "completed", whole.objectives)
    assert open_store(root).trials().collect()["status"].to_list() == ["completed"]
    assert sorted(open_store(root).epochs().collect()["epoch"]) == [1, 2]


def test_bfloat16_is_refused_before_anything_is_written(quick_file, tmp_path, monkeypatch):
    """By a single trial and by a sweep on this machine, where its CPU is slow in it."""
    monkeypatch.setenv("MOPOE_BFLOAT16", "")
    monkeypatch.setattr("mopoe.runtime._text", lambda path: "flags : avx2" * (path.name == "cpuinfo"))
    for override in ("fixed.precision=bfloat16", "evaluation.precision=bfloat16"):
        spec = load_spec(quick_file, [override])
        with pytest.raises(
            ConfigError, match=r"^precision is 'bfloat16', for which this machine's CPU has no"
        ):
            run_sweep(spec, tmp_path / "sweep")
        with pytest.raises(
            ConfigError, match=r"^precision is 'bfloat16', for which this machine's CPU has no"
        ):
            run_single(
                spec,
                trial_config_for(spec, ()),
                tmp_path / "one",
                resume=False,
                device="cpu",
                on_report=lambda _: None,
            )
        assert list(tmp_path.glob("sweep*")) == []
        assert not (tmp_path / "one" / "sweep.json").exists()


def test_seeds_give_a_mean_and_an_interval(sweep, quick_file, tmp_path):
    """By hand, of objectives and all else; seeds that are there already are not trained again."""
    root = tmp_path / "r"
    words = ("trial", quick_file, "--out", root, "--set", "seed=4", "--set", "epochs=1")
    assert sweep(*words)[0] == 0
    status, out, err = sweep(*words, "--seeds", "3")
    assert status == 0, err
    assert [line for line in out.splitlines() if line.startswith("seed ")] == ["seed 5", "seed 6"]
    table = open_store(root).trials().sort("seed").collect()
    assert table["seed"].to_list() == [4, 5, 6]
    assert table["config_id"].n_unique() == 1
    for name in ("conditional_coherence", "log_likelihood", "joint_coherence"):
        x = table[f"o_{name}"].to_numpy()
        half = 4.302653 * x.std(ddof=1) / 3**0.5  # Student's t of two degrees of freedom
        row = re.search(rf"^{name} +(\S+) +(\S+) +(\S+) +(\S+)(.*)$", out, re.MULTILINE)
        expected = [x.mean(), half, x.min(), x.max()]
        assert [float(row[i]) for i in range(1, 5)] == pytest.approx(expected, abs=1e-4)
        assert row[5] == "  (not an objective of this sweep)" * (name == "joint_coherence")
    assert "All are measured on the validation split." in out
    assert "± is the half width of Student's 95 % interval over these 3 seeds alone" in " ".join(out.split())
    assert open_store(root).trials().collect().height == 3


def test_two_seeds_give_a_mean_without_an_interval(sweep, quick_file, tmp_path):
    """By hand, beside both values; and what would give an interval. Its weights have their path."""
    root = tmp_path / "r"
    words = ("trial", quick_file, "--out", root, "--set", "epochs=1", "--seeds", "2")
    assert sweep(*words)[0] == 0
    status, out, err = sweep(*words)  # the second time nothing is trained
    assert status == 0, err
    table = open_store(root).trials().sort("seed").collect()
    assert table["seed"].to_list() == [0, 1]
    assert out.splitlines()[0].split() == ["mean", "seed", "0", "seed", "1"]
    for name in ("conditional_coherence", "log_likelihood"):
        x = table[f"o_{name}"].to_numpy()
        row = re.search(rf"^{name} +(\S+) +(\S+) +(\S+)$", out, re.MULTILINE)
        assert [float(text) for text in row.groups()] == pytest.approx([x.mean(), *x], abs=1e-4)
    assert "±" not in out
    assert "An interval over the seeds needs 3 of them or more: --seeds 3.\n" in out
    assert f"next: sweep samples {root} --trial" in " ".join(out.split())
    (weights,) = re.findall(r"^weights: (\S+)$", out, re.MULTILINE)
    assert len(load_model(weights).names) == 5
    assert Path(weights).parent == root / "checkpoints"


def test_a_cut_off_seed_goes_on_and_a_failed_one_gives_no_mean(sweep, quick_file, tmp_path, monkeypatch):
    """With --resume the seed that has a checkpoint goes on from it, and those not begun begin."""
    root = tmp_path / "r"
    words = ("trial", quick_file, "--out", root, "--seeds", "3")
    monkeypatch.setattr("sweep.store.files.LocalFiles.interval", 0.0)
    show, shown = TrialProgress.show, []

    def cut(self, report):
        shown.append(report.epoch)
        if len(shown) == 4:
            raise KeyboardInterrupt
        show(self, report)

    monkeypatch.setattr(TrialProgress, "show", cut)
    status, _, err = sweep(*words)
    assert (status, "--seeds 3 --resume" in " ".join(err.split())) == (130, True)
    assert shown == [1, 2, 1, 2]
    status, out, err = sweep(*words, "--resume")
    assert status == 0, err
    assert shown == [1, 2, 1, 2, 2, 1, 2]
    assert open_store(root).trials().collect()["status"].to_list() == ["completed"] * 3
    status, out, err = sweep(*words, "--set", "lr=10")
    assert (status, "Student" in out) == (1, False)
    assert "the loss is not finite" in err


def test_a_diverging_trial_is_recorded_with_its_reason(quick_file, tmp_path):
    """The error reaches the caller, the reason the table."""
    with pytest.raises(DivergedError, match="not finite"):
        run(quick_file, tmp_path / "r", "lr=10")
    row = open_store(tmp_path / "r").trials().collect().row(0, named=True)
    assert row["status"] == "failed"
    assert row["error"].startswith("the loss is not finite at step ")


def test_whatever_ends_a_trial_is_recorded(quick_file, tmp_path, monkeypatch):
    """An error of a network of one's own, too."""

    def broken(*arguments, **options):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr("sweep.running.local.run_trial", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run(quick_file, tmp_path / "r")
    row = open_store(tmp_path / "r").trials().collect().row(0, named=True)
    line = broken.__code__.co_firstlineno + 1
    assert (row["status"], row["error"]) == ("failed", f"RuntimeError: shape mismatch; {__file__}:{line}")
    assert row["traceback"].endswith("RuntimeError: shape mismatch\n")


def test_nothing_to_resume_is_said(quick_file, tmp_path):
    """Resuming a trial that never began is refused before anything is written."""
    with pytest.raises(StoreError, match=r"holds no trial .* to resume; leave out --resume"):
        run(quick_file, tmp_path / "r", resume=True)
    assert not (tmp_path / "r").exists()


def test_trials_of_one_evaluation_share_a_folder(quick_file):
    """The search space does not matter to single trials; the evaluation does."""
    spec = load_spec(quick_file)
    wider = load_spec(quick_file, ["search_space.beta.high=9"])
    other = load_spec(quick_file, ["evaluation.seed=1"])
    assert trials_hash(spec) == trials_hash(wider) != trials_hash(other)
