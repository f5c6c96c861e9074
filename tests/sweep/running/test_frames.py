"""A reader's way from the command to the batches is short: eight frames of the project's own."""

import traceback
from pathlib import Path

import pytest

from sweep.config.sweep_spec import load_spec
from sweep.running.shared_inputs import load_inputs
from sweep.running.trainable import make_trainable
from sweep.store.write import StoreWriter

ROOT = Path(__file__).parents[3]


class Reached(BaseException):
    """Raised where the way ends; what retries trials does not catch it."""


def recorder(frames):
    """Return a function that notes the project's frames above it, and ends the way."""

    def here(*_, **__):
        stack = [f for f in traceback.extract_stack() if Path(f.filename).is_relative_to(ROOT)]
        own = [f for f in stack if Path(f.filename).relative_to(ROOT).parts[0] in ("mopoe", "sweep")]
        frames.extend(f.name for f in own)
        raise Reached

    return here


def test_eight_frames_lie_between_the_command_and_the_batches(
    sweep, quick_file, make_manifest, tmp_path, monkeypatch
):
    """In the driver to Ray Tune, in a worker from it."""
    driver, worker = [], []
    monkeypatch.setattr("sweep.running.driver.run_sweep", recorder(driver))
    with pytest.raises(Reached):
        sweep("run", quick_file, "--out", tmp_path / "r")
    assert driver == ["main", "run", "_run_here"]  # and run_sweep
    monkeypatch.setattr("mopoe.training.step_draws", recorder(worker))
    spec, root = load_spec(quick_file), tmp_path / "w"
    data, classifiers = load_inputs(spec)
    StoreWriter(root).write_manifest(make_manifest())
    shared = {"classifier_hash": classifiers.hash, "fingerprint": data.fingerprint, "use_gpu": False}
    suggestion = {"beta": 0.5, **{f"subset_weights.{i}": 0.5 for i in range(4)}}
    trainable = make_trainable(spec, str(root), **shared)
    with pytest.raises(Reached):
        trainable({"trial_id": "t0000", "attempt": 0, "suggestion": suggestion})
    assert worker == ["trainable", "run_trial", "train", "_train_epoch"]
