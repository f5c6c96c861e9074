"""The driver's record of trials, called as Ray calls it."""

import math
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from trial_records import NAMES, record

from sweep.config.sweep_spec import load_spec
from sweep.running.recorder import Recorder
from sweep.running.worker import checkpoint_name
from sweep.search.standing import Action
from sweep.search.state import SweepState
from sweep.store.files import LocalFiles
from sweep.store.read import Store
from sweep.store.write import StoreWriter

POINTS = {"t0000": (2, 0), "t0000-s1": (0, 2), "t0001": (0.9, 0.9), "t0002": (0, 3)}


def recorder_of(spec, writer, past=(), **more):
    """Return the recorder of a sweep that goes on from some records."""
    return Recorder(spec, SweepState.resumed(spec, past), writer, **more)


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
    result = {"epoch": 2, "seconds": 7.5, "objectives": dict(zip(NAMES, (x, y), strict=True))}
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
    past = [record(name, *point) for name, point in POINTS.items()] if resumed else []
    recorder = recorder_of(spec, StoreWriter(tmp_path), past)
    if not resumed:
        for name, point in POINTS.items():
            play(recorder, name, *point)
    play(recorder, "t0003", 9.0, 9.0, failure="it diverged")
    assert {name for name in (*POINTS, "t0003") if (tmp_path / checkpoint_name(name)).exists()} == kept
    last = recorder.overview().status
    assert last.counts == {"completed": 4, "failed": 1, "running": 0}
    assert (last.total, last.front_size) == (5, 2)


def test_weights_stay_until_no_further_seed_can_move_the_front(sweep_file, tmp_path):
    """A config off the front keeps its weights while one that dominates it has a seed to come."""
    spec = load_spec(sweep_file, ["trials=2", "replicates.seeds=2"])
    recorder = recorder_of(spec, StoreWriter(tmp_path))

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
    recorder = recorder_of(spec, StoreWriter(tmp_path))
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


@pytest.mark.parametrize(("near", "left"), [(4.9, {"t0000", "t0001", "t0002"}), (0.1, {"t0000"})])
def test_weights_stay_while_the_front_is_uncertain(sweep_file, tmp_path, near, left):
    """As long as a further seed is worth a trial; then what the front dominates goes."""
    point = "reference_point={conditional_coherence: 0, log_likelihood: 0}"
    spec = load_spec(sweep_file, ["trials=3", "replicates={seeds: 2, when: uncertain}", point])
    points = {"t0000": (5, 5), "t0000-s1": (5, 5), "t0001": (near, near), "t0002": (0.1, 0.2)}
    past = [record(name, *point) for name, point in points.items()]
    if near < 1:  # seeds that agree: there is nothing to learn
        past += [record(f"{name}-s1", *points[name]) for name in ("t0001", "t0002")]
    for name in left | {"t0001", "t0002"}:
        path = tmp_path / checkpoint_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
    recorder_of(spec, StoreWriter(tmp_path), past)
    assert {path.stem for path in (tmp_path / "checkpoints").iterdir()} == left


def test_a_seed_of_an_uncertain_config_is_an_event(sweep_file, tmp_path):
    """With the reason in numbers; a first seed is none."""
    point = "reference_point={conditional_coherence: 0, log_likelihood: 0}"
    spec = load_spec(sweep_file, ["trials=3", "replicates={seeds: 2, when: uncertain}", point])
    state = SweepState(spec)
    recorder = Recorder(spec, state, StoreWriter(tmp_path))
    for name, x, y in (("t0000", 5, 1), ("t0001", 2.9, 2.9), ("t0002", 1, 5)):
        play(recorder, name, x, y)
    begun = state.next_action()
    recorder.on_trial_start(0, [], tune_trial(begun.trial_id))
    (event,) = Store(tmp_path).events().collect().iter_rows(named=True)
    assert (event["trial_id"], event["kind"], event["epoch"]) == (begun.trial_id, "seed", 0)
    assert event["reason"].startswith("it is expected to raise the hypervolume of 12.61 by ")


def test_weights_stay_while_a_seed_that_was_cut_off_is_to_come(sweep_file, tmp_path):
    """A seed that an earlier run had begun for a config off the front may still bring it there."""
    spec = load_spec(sweep_file, ["trials=2", "replicates.seeds=2", "replicates.when=front"])
    weights = tmp_path / checkpoint_name("t0001")
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    points = {"t0000": (5, 5), "t0000-s1": (5, 5), "t0001": (0.4, 4)}
    past = [*(record(n, *p) for n, p in points.items()), record("t0001-s1", status="running")]
    recorder = recorder_of(spec, StoreWriter(tmp_path), past)
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
    past = [record(n, *p) for n, p in POINTS.items()]
    recorder_of(load_spec(sweep_file, ["trials=4"]), StoreWriter(tmp_path), past)
    assert deleted == [checkpoint_name("t0001")]


@pytest.fixture
def written(tmp_path):
    """A writer that keeps what it is given, and the list of it."""
    changes = []
    return SimpleNamespace(write_trial=changes.append, files=StoreWriter(tmp_path).files), changes


def test_a_trial_that_no_worker_could_begin_comes_again(sweep_file, written):
    """Its neighbour's worker may have been killed: Ray starts only those again that ran. Then it has failed.

    The reason is what Ray says, and no invention.
    """
    writer, changes = written
    trial = tune_trial("t0000")
    spec = load_spec(sweep_file, ["trials=1", "faults.max_failures=2"])
    state = SweepState(spec)
    recorder = Recorder(spec, state, writer)
    first = state.first_trial({"beta": 1.0, **{f"subset_weights.{i}": 0.5 for i in range(4)}})
    trial.get_error = lambda: "trouble\nThe actor died: owner node is gone\n"
    for _ in range(2):
        state.begin(first)
        recorder.on_trial_error(0, [], trial)
        assert state.next_action() == first
    assert changes == []
    state.begin(first)
    recorder.on_trial_error(0, [], trial)
    assert [(r.trial_id, r.status, r.error) for r in changes] == [
        ("t0000", "running", None),
        ("t0000", "failed", "no worker could be started for it: The actor died: owner node is gone"),
    ]
    assert state.status.counts == {"failed": 1, "running": 0}
    assert state.next_action() is Action.END


def test_a_trial_is_judged_once(sweep_file, written):
    """The searcher hears of the very end that the table has, with what constraints are about."""
    writer, changes = written
    told = []
    spec = load_spec(sweep_file, ["trials=3"])
    recorder = recorder_of(spec, writer, on_config=told.append)
    play(recorder, "t0000", 1.0, -5.0)
    play(recorder, "t0001", 1.0, math.nan)
    play(recorder, "t0002", 1.0, -5.0, failure="it diverged")
    rows = [r for r in changes if r.status != "running"]
    assert [(t.name, t.status) for t in told] == [(r.trial_id, r.status) for r in rows]
    assert [t.status for t in told] == ["completed", "failed", "failed"]
    assert told[0].measured == {**dict(zip(NAMES, (1.0, -5.0), strict=True)), "seconds": 7.5}


def test_a_trial_that_went_on_keeps_its_start(sweep_file, written):
    """Its row says when the attempt began, in whichever process; the time is what its reports add up to."""
    writer, changes = written
    began = datetime(2026, 1, 2, tzinfo=UTC)
    past = [record("t0000", status="running", started_at=began)]
    recorder = recorder_of(load_spec(sweep_file, ["trials=1"]), writer, past)
    play(recorder, "t0000", 1.0, -5.0)
    assert [(r.status, r.started_at, r.seconds) for r in changes] == [
        ("running", began, None),
        ("completed", began, 7.5),
    ]


@pytest.mark.parametrize(("identical", "begun"), [("3", 4), ("null", 6)])
def test_failures_that_are_all_the_same_end_the_sweep(sweep_file, written, identical, begun):
    """So many in a row for one reason; another reason or a success between them begins the count anew."""
    spec = load_spec(sweep_file, ["trials=9", f"faults.identical={identical}"])
    state = SweepState(spec)
    recorder = Recorder(spec, state, written[0])
    whys = [None, "broken", "broken", "broken", "broken", "broken"]
    for number, why in enumerate(whys):
        if state.next_action() is not Action.NEW_CONFIG:
            break
        play(recorder, f"t{number:04}", 1.0, -5.0, failure=why)
    assert len([r for r in written[1] if r.status != "running"]) == begun
    assert state.repeated_failure == ("broken" if identical == "3" else None)


def test_a_trial_that_ends_meanwhile_does_not_hide_why_the_sweep_ends(sweep_file, written):
    """One that ran beside the last of so many equal failures, and is completed."""
    spec = load_spec(sweep_file, ["trials=9", "faults.identical=2"])
    state = SweepState(spec)
    recorder = Recorder(spec, state, written[0])
    for number, why in enumerate(["broken", "broken", None]):
        play(recorder, f"t{number:04}", 1.0, -5.0, failure=why)
    assert state.repeated_failure == "broken"
    assert state.next_action() is not Action.NEW_CONFIG


def test_other_failures_are_counted_anew(sweep_file, written):
    """Trials that diverge at steps of their own say nothing of the next."""
    spec = load_spec(sweep_file, ["trials=9", "faults.identical=2"])
    state = SweepState(spec)
    recorder = Recorder(spec, state, written[0])
    for number, why in enumerate(["step 1", "step 2", None, "step 2", "step 3"]):
        play(recorder, f"t{number:04}", 1.0, -5.0, failure=why)
    assert state.repeated_failure is None
    assert state.next_action() is Action.NEW_CONFIG


def test_a_warned_sweep_stops_once_all_that_run_are_saved(sweep_file, written, monkeypatch):
    """Reports of epochs that are not yet on disk do not count; a trial that ends has nothing to save."""
    stops = []
    monkeypatch.setattr("sweep.running.recorder.interrupt", lambda: stops.append(1))
    spec = load_spec(sweep_file, ["trials=5"])
    state = SweepState(spec)
    recorder = Recorder(spec, state, written[0])
    first, second = tune_trial("t0000"), tune_trial("t0001")
    for trial in (first, second):
        recorder.on_trial_start(0, [], trial)
    recorder.on_trial_result(0, [], first, {"epoch": 1, "saved": True})
    recorder.drain()
    assert state.next_action() is Action.WAIT
    recorder.on_trial_result(0, [], first, {"epoch": 2, "saved": False})
    recorder.on_trial_result(0, [], first, {"epoch": 3, "saved": True})
    assert stops == []
    recorder.on_trial_complete(0, [], second)
    assert stops == [1]
    assert recorder.interrupted


def test_a_warned_sweep_that_runs_nothing_stops_at_once(sweep_file, written, monkeypatch):
    """As between the first trials' start and the warning."""
    stops = []
    monkeypatch.setattr("sweep.running.recorder.interrupt", lambda: stops.append(1))
    recorder_of(load_spec(sweep_file, ["trials=1"]), written[0]).drain()
    assert stops == [1]


def test_the_overview_is_of_what_has_ended_and_what_runs(sweep_file, tmp_path, monkeypatch):
    """Offered after every step: how far each trial is, its last evaluation, failures and the time left."""
    spec = load_spec(sweep_file, ["trials=4", "fixed.epochs=10"])
    offered = []
    recorder = recorder_of(spec, StoreWriter(tmp_path), on_step=offered.append)
    clock = [100.0]
    monkeypatch.setattr("sweep.running.recorder.time.monotonic", lambda: clock[0])
    play(recorder, "t0000", 0, 0, failure="no room")
    trial = tune_trial("t0001")
    recorder.on_trial_start(0, [], trial)
    clock[0] = 130.0
    values = dict(zip(NAMES, (0.5, -7.0), strict=True))
    recorder.on_trial_result(0, [], trial, {"epoch": 2, "seconds": 20.0, "objectives": values})
    recorder.on_trial_result(0, [], trial, {"epoch": 4, "seconds": 24.0})
    clock[0] = 133.0
    recorder.on_step_end(0, [])
    (look,) = offered
    view = look()
    (running,) = view.running
    assert (running.trial_id, running.epoch, running.epochs_max) == ("t0001", 4, 10)
    assert (running.seconds, running.silent, running.elapsed) == (24.0, 3.0, 33.0)
    assert {name: running.measured[name] for name in NAMES} == values
    assert view.failures == (("t0000", "no room"),)
    # At 6 s an epoch six are left of this trial, of which three seconds have gone, and two whole ones.
    assert view.left.seconds == pytest.approx(6 * 6 - 0.9 * 3 + 2 * 60)
