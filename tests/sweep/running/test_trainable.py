"""The worker's side: what it tells the driver, and what a failure says."""

import re
from dataclasses import replace

import pytest
import torch

from mopoe.errors import DivergedError
from sweep.config.sweep_spec import load_spec
from sweep.errors import StoreError, TrialTimeError
from sweep.running.reporting import ReportWriter
from sweep.running.shared_inputs import load_inputs
from sweep.running.trainable import check_time, make_trainable
from sweep.running.worker import failure_text, trial_report
from sweep.search.trial import TrialReport
from sweep.store.write import StoreWriter

NAMES = ("m0", "m1", "m2")
SUGGESTION = {"beta": 0.5, **{f"subset_weights.{i}": 0.5 for i in range(4)}}
LESS = "lower batch_size, latent_dim or channels, or raise resources"


def test_ray_gets_few_numbers(make_evaluation):
    """An epoch without evaluation sends its number and time; with one, what searcher and scheduler need."""
    without = trial_report(4, 2.5, None, saved=True).to_ray()
    assert without == {"epoch": 4, "seconds": 2.5, "saved": True}
    measured = replace(make_evaluation(NAMES, 0.5, -100.0), n_parameters=7)
    report = trial_report(4, 2.5, measured, saved=True).to_ray()
    assert set(report) - set(without) == {"objectives", "stderr", "n_parameters", "faults"}


def test_a_trial_that_has_just_finished_is_never_too_late():
    """Its last epoch may have taken it over the limit; one with epochs left has failed then."""
    late = TrialReport(epoch=2, seconds=61.0)
    check_time(late, 2, 1.0)
    check_time(late, 3, None)
    check_time(replace(late, seconds=60.0), 3, 1.0)
    with pytest.raises(TrialTimeError) as error:
        check_time(late, 3, 1.0)
    assert str(error.value) == "it took longer than faults.trial_minutes (1) for 2 of 3 epochs"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            DivergedError("the loss is not finite at step 3 (epoch 1)"),
            "the loss is not finite at step 3 (epoch 1)",
        ),
        (RuntimeError("no such\n  layer"), "RuntimeError: no such layer"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total"),
            f"out of memory (tried to allocate 2.50 GiB); {LESS}",
        ),
        (MemoryError(), f"out of memory; {LESS}"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes."),
            f"out of memory (tried to allocate 80 bytes); {LESS}",
        ),
    ],
)
def test_a_failure_is_one_line(error, text):
    """Our own errors speak for themselves; others carry their type."""
    assert failure_text(error) == text


def begun(root, manifest):
    """Begin a results folder and return it."""
    StoreWriter(root).write_manifest(manifest)
    return root


def run_suggestion(spec, root, suggestion, fingerprint=None):
    """Run a suggested trial as Ray Tune does, with this machine's classifiers and data."""
    data, classifiers = load_inputs(spec)
    shared = {"classifier_hash": classifiers.hash, "fingerprint": fingerprint or data.fingerprint}
    trainable = make_trainable(spec, str(root), **shared, use_gpu=False)
    trainable({"trial_id": "t0000", "attempt": 0, "suggestion": suggestion})


def test_whatever_a_trial_raises_is_reported(quick_file, make_manifest, tmp_path, monkeypatch):
    """An error of any kind reaches the driver as the trial's reason, and the worker lives on."""

    def broken(*arguments, **options):
        tries.append(1)
        raise KeyError("no such layer")

    sent, tries = [], []
    monkeypatch.setattr("sweep.running.trainable.run_trial", broken)
    monkeypatch.setattr("ray.tune.report", sent.append)
    spec = load_spec(quick_file)
    run_suggestion(spec, begun(tmp_path / "r", make_manifest()), SUGGESTION)
    line = broken.__code__.co_firstlineno + 2
    assert [report["failure"] for report in sent] == [f"KeyError: 'no such layer'; {__file__}:{line}"]
    assert sent[0]["device"].startswith("cpu")
    assert sent[0]["traceback"].endswith("KeyError: 'no such layer'\n")
    assert f'File "{__file__}", line {line}, in broken' in sent[0]["traceback"]
    assert len(tries) == 1 + spec.faults.max_failures == 3


def test_a_machine_without_the_results_folder_writes_nothing(quick_file, tmp_path, monkeypatch):
    """One that joined after all were examined, without the shared folder, says so instead of losing rows."""
    sent = []
    monkeypatch.setattr("ray.tune.report", sent.append)
    run_suggestion(load_spec(quick_file), tmp_path / "r", {})
    (failure,) = (report["failure"] for report in sent)
    assert failure.endswith(f" has no {tmp_path}/r/sweep.json: all machines must share that folder")
    assert not (tmp_path / "r").exists()


@pytest.fixture
def begun_trial(quick_file, make_manifest, tmp_path, monkeypatch):
    """Return a function that runs a trial whose training and writing are what is given, and what it tells."""

    def run(train, write):
        sent = []
        monkeypatch.setattr("ray.tune.report", sent.append)
        monkeypatch.setattr("sweep.running.trainable.run_trial", train)
        monkeypatch.setattr(ReportWriter, "flush", write)
        run_suggestion(load_spec(quick_file), begun(tmp_path / "r", make_manifest()), SUGGESTION)
        return sent

    return run


@pytest.mark.parametrize(
    ("errors", "tries", "told"),
    [
        ([OSError("a"), OSError("b")], 3, []),
        ([OSError("a"), OSError("b"), OSError("c")], 3, ["OSError: c; "]),
        ([StoreError("disk full")], 2, []),
        ([DivergedError("nan"), OSError("b")], 1, ["nan"]),
    ],
)
def test_tries_are_counted(begun_trial, errors, tries, told):
    """An error is tried again, twice at most; our own errors are not, but for those of the disk."""
    left, begun, flushed = list(errors), [], []

    def train(*_, **__):
        begun.append(1)
        if left:
            raise left.pop(0)

    sent = begun_trial(train, lambda _: flushed.append(1))
    assert [report["failure"][: len(why)] for report, why in zip(sent, told, strict=True)] == told
    assert len(begun) == tries
    assert len(flushed) == min(len(errors), tries)


def test_a_store_that_fails_twice_is_tried_again(begun_trial):
    """What cannot be written in the end of an attempt is no other failure: the reason is the first one's."""
    tries = []

    def full(*_, **__):
        tries.append(1)
        raise StoreError("the disk is full")

    assert [report["failure"] for report in begun_trial(full, full)] == ["the disk is full"]
    assert len(tries) == 6


def test_a_broken_gpu_ends_the_worker(begun_trial):
    """An error that stays with the process is raised after what was measured is written: Ray replaces it."""
    calls = []

    def broken(*_, **__):
        calls.append("try")
        raise torch.AcceleratorError("device-side assert triggered")

    with pytest.raises(torch.AcceleratorError, match="device-side assert"):
        begun_trial(broken, lambda _: calls.append("clean up"))
    assert calls == ["try", "clean up"]


def test_a_trial_that_was_finished_but_not_recorded_is_measured_again(
    quick_file, make_manifest, tmp_path, monkeypatch
):
    """Suggested again with its full checkpoint, it reports the same objectives and writes no row twice."""
    sent = []
    monkeypatch.setattr("ray.tune.report", sent.append)
    spec = load_spec(quick_file)
    root = begun(tmp_path / "r", make_manifest())
    run_suggestion(spec, root, SUGGESTION)
    files = sorted(tmp_path.rglob("*.parquet"))
    run_suggestion(spec, root, SUGGESTION)
    assert [report["epoch"] for report in sent] == [1, 2, 2]
    assert sent[2] == sent[1]
    assert sorted(tmp_path.rglob("*.parquet")) == files


def test_a_machine_with_other_data_trains_nothing(quick_file, make_manifest, tmp_path, monkeypatch):
    """The reason names both fingerprints and the machine; it is not tried again."""
    sent = []
    monkeypatch.setattr("ray.tune.report", sent.append)
    spec = load_spec(quick_file)
    root = begun(tmp_path / "r", make_manifest())
    run_suggestion(spec, root, SUGGESTION, fingerprint="f00d")
    (failure,) = (report["failure"] for report in sent)
    assert re.fullmatch(
        r"\S+ has other data than this sweep began with: their fingerprint is \w{12}, not f00d", failure
    )
    assert not (root / "checkpoints" / "t0000.safetensors").exists()
