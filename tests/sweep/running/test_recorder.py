"""The driver's record of trials, called as Ray calls it."""

from types import SimpleNamespace

import pytest

from sweep.running.recorder import NO_WORKER, Recorder
from sweep.running.trainable import checkpoint_name
from sweep.search.agenda import Next
from sweep.search.outcome import Ended
from sweep.search.searcher import Past
from sweep.spec.sweep_spec import load_spec
from sweep.store.files import LocalFiles
from sweep.store.write import StoreWriter

NAMES = ("conditional_coherence", "log_likelihood")
POINTS = {"t0000": (2, 0), "t0000-s1": (0, 2), "t0001": (0.9, 0.9), "t0002": (0, 3)}


def ended(name, x, y):
    """Return a completed trial."""
    return Ended(trial_id=name, status="completed", objectives=dict(zip(NAMES, (x, y), strict=True)))


def tune_trial(name):
    """Return what Ray Tune's callbacks are told of a trial, as far as it matters."""
    config = {
        "trial_id": name,
        "attempt": 0,
        "suggestion": {"beta": 1.0, **{f"subset_weights.{i}": 0.5 for i in range(4)}},
    }
    return SimpleNamespace(trial_id=name, config=config)


def play(recorder, name, x, y, failure=None):
    """Start a trial and let it end with these objectives, or fail."""
    trial = tune_trial(name)
    recorder.on_trial_start(0, [], trial)
    result = {"epoch": 2, "objectives": dict(zip(NAMES, (x, y), strict=True))}
    recorder.on_trial_result(0, [], trial, result | ({"failure": failure} if failure else {}))
    recorder.on_trial_complete(0, [], trial)


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("front", {"t0000", "t0000-s1", "t0002"}),
        ("all", {"t0000", "t0000-s1", "t0001", "t0002"}),
        ("none", set()),
    ],
)
def test_weights_are_kept_by_config(sweep_file, tmp_path, keep, kept, resumed):
    """All completed seeds of a config on the front stay, or of every config, or none; no failed one."""
    spec = load_spec(sweep_file, [f"keep={keep}", "trials=4"])
    for name in (*POINTS, "t0003"):
        path = tmp_path / checkpoint_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
    past = tuple(ended(name, *point) for name, point in POINTS.items()) if resumed else ()
    standings = []
    recorder = Recorder(spec, StoreWriter(tmp_path), Past(ended=past), standings.append)
    if not resumed:
        for name, point in POINTS.items():
            play(recorder, name, *point)
    play(recorder, "t0003", 9.0, 9.0, failure="it diverged")
    assert {name for name in (*POINTS, "t0003") if (tmp_path / checkpoint_name(name)).exists()} == kept
    last = standings[-1]
    assert (last.done, last.failed, last.running, last.total, last.front_size) == (4, 1, 0, 5, 2)


def test_weights_stay_until_no_further_seed_can_move_the_front(sweep_file, tmp_path):
    """A config off the front keeps its weights while one that dominates it has a seed to come."""
    spec = load_spec(sweep_file, ["trials=2", "replicates.seeds=2"])
    recorder = Recorder(spec, StoreWriter(tmp_path), Past(), bool)

    def kept():
        return {path.stem for path in (tmp_path / "checkpoints").iterdir()}

    for name, x, y, left in (
        ("t0000", 5, 5, {"t0000"}),
        ("t0001", 0.4, 4, {"t0000", "t0001"}),
        ("t0001-s1", 0.4, 4, {"t0000", "t0001", "t0001-s1"}),
        ("t0000-s1", -5, -5, {"t0001", "t0001-s1"}),
    ):
        path = tmp_path / checkpoint_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        play(recorder, name, x, y)
        assert kept() == left, name


def test_weights_stay_until_the_front_has_its_seeds(sweep_file, tmp_path):
    """Seeds for the front alone come after all configs; until then, what the front dominates stays too."""
    spec = load_spec(sweep_file, ["trials=3", "replicates.seeds=2", "replicates.when=front"])
    recorder = Recorder(spec, StoreWriter(tmp_path), Past(), bool)
    for name, x, y, left in (
        ("t0000", 5, 5, {"t0000"}),
        ("t0001", 0.4, 4, {"t0000", "t0001"}),
        ("t0002", 0.1, 1, {"t0000", "t0001", "t0002"}),
        # t0001 is now the front and has a seed to come itself.
        ("t0000-s1", -50, -50, {"t0000", "t0000-s1", "t0001", "t0002"}),
        ("t0001-s1", 0.4, 4, {"t0001", "t0001-s1"}),
    ):
        path = tmp_path / checkpoint_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        play(recorder, name, x, y)
        assert {path.stem for path in (tmp_path / "checkpoints").iterdir()} == left, name


def test_weights_stay_while_a_seed_that_was_cut_off_is_to_come(sweep_file, tmp_path):
    """A seed that an earlier run had begun for a config off the front may still bring it there."""
    spec = load_spec(sweep_file, ["trials=2", "replicates.seeds=2", "replicates.when=front"])
    weights = tmp_path / checkpoint_name("t0001")
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    points = {"t0000": (5, 5), "t0000-s1": (5, 5), "t0001": (0.4, 4)}
    past = Past(ended=tuple(ended(n, *p) for n, p in points.items()), cut_off={"t0001-s1": 0})
    recorder = Recorder(spec, StoreWriter(tmp_path), past, bool)
    assert weights.exists()
    play(recorder, "t0001-s1", 0.4, 4)
    assert not weights.exists()


def test_a_resume_deletes_only_what_is_there(sweep_file, tmp_path, monkeypatch):
    """And not one file after the other of all the trials that ever ended."""
    deleted = []
    path = tmp_path / checkpoint_name("t0001")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    monkeypatch.setattr(LocalFiles, "delete", lambda files, name: deleted.append(name))
    Recorder(
        load_spec(sweep_file, ["trials=4"]),
        StoreWriter(tmp_path),
        Past(ended=tuple(ended(n, *p) for n, p in POINTS.items())),
        bool,
    )
    assert deleted == [checkpoint_name("t0001")]


def test_a_trial_that_no_worker_could_begin_has_failed(sweep_file, tmp_path):
    """Ray may give a trial up before its start: it has failed, with that reason, and counts."""
    changes, standings = [], []
    writer = SimpleNamespace(write_trial=changes.append, files=StoreWriter(tmp_path).files)
    recorder = Recorder(load_spec(sweep_file, ["trials=1"]), writer, Past(), standings.append)
    recorder.on_trial_error(0, [], tune_trial("t0000"))
    assert [(r.trial_id, r.status, r.error) for r in changes] == [
        ("t0000", "running", None),
        ("t0000", "failed", NO_WORKER),
    ]
    assert (standings[-1].failed, standings[-1].running) == (1, 0)
    assert recorder.agenda.next_trial() is Next.END
