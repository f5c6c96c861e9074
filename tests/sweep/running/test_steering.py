"""What the driver does about what is asked of it, by the tables and the requests that are left."""

import json
from types import SimpleNamespace

import pytest

from sweep.running.recorder import Recorder
from sweep.running.steering import STOPPED, Steering
from sweep.search.asking import ask_for_config, ask_for_end
from sweep.search.past import added_configs, trial_records
from sweep.search.searcher import SweepSearcher
from sweep.search.standing import Action
from sweep.search.state import SweepState
from sweep.search.trial import TrialReport
from sweep.store.read import open_store
from sweep.store.requests import waiting
from sweep.store.write import StoreWriter

DONE = {"epoch": 2, "seconds": 7.5, "objectives": {"conditional_coherence": 0.5, "log_likelihood": -9.0}}


class Driver:
    """A driver that goes on from the tables, and takes requests as soon as it begins."""

    def __init__(self, store):
        self.store, self.warned, self.said = store, [], []
        spec = store.spec
        self.state = SweepState.resumed(spec, trial_records(store), added=added_configs(store))
        writer = StoreWriter(store.files, spec.space.kinds())
        self.steering = Steering(spec, self.state, writer, self.warned.append, say=self.said.append)
        self.steering.look()
        self.searcher = SweepSearcher(spec, self.state)
        self.recorder = Recorder(
            spec, self.state, writer, on_config=self.searcher.tell, steering=self.steering
        )

    def look(self):
        """Look for requests although the last look was just now."""
        self.steering._next_look = 0.0
        self.recorder.on_step_end(0, [])

    def begin(self):
        """Begin the next trial; return it as Ray has it, or what else is to be done."""
        found = self.searcher.suggest("")
        if not isinstance(found, dict):
            return found
        trial = SimpleNamespace(trial_id=found["trial_id"], config=found)
        self.recorder.on_trial_start(0, [], trial)
        return trial

    def report(self, trial, **result):
        """Take a report of a trial; return whether it is to end there, as Ray asks the scheduler first."""
        ends = self.recorder.unwanted(trial.trial_id, TrialReport.from_ray(result))
        self.recorder.on_trial_result(0, [], trial, result)
        return ends

    def finish(self, trial, result=DONE):
        """Let a trial end at its full budget, or after another last report."""
        self.report(trial, **result)
        self.recorder.on_trial_complete(0, [], trial)


@pytest.fixture
def store(tmp_path, make_planned):
    """Give a sweep of two trials that has not begun."""
    make_planned(tmp_path / "r", trials=2)
    return open_store(tmp_path / "r")


def events(store):
    """Return trial, kind and reason of all events."""
    return store.events().sort("at").select("trial_id", "kind", "reason").collect().rows()


def test_a_config_that_is_added_is_the_next_and_beside_the_trials(store):
    """A running driver takes it; the sampler hears of it, and the two of `trials` run as planned."""
    driver = Driver(store)
    first = driver.begin()
    ask_for_config(store, ["beta=2"])
    driver.look()
    assert (driver.state.status.total, driver.state.status.configs) == (3, 3)
    added = driver.begin()
    assert (added.trial_id, added.config["suggestion"]["beta"]) == ("t0001", 2.0)
    assert (waiting(store.files), added_configs(store)) == ({}, {"t0001"})
    assert events(store) == [("t0001", "add", "asked for by `sweep add`")]
    settings = "beta 2.0, subset_weights [0.2, 0.2, 0.2, 0.2, 0.2]"
    assert driver.said == [f"t0001 is the added config: {settings}"]
    third = driver.begin()
    assert third.trial_id == "t0002"
    for trial in (added, first, third):
        driver.finish(trial)
    assert driver.begin() == SweepSearcher.FINISHED
    told = {t.user_attrs["name"]: t.params["beta"] for t in driver.searcher.study.trials}
    assert (set(told), told["t0001"]) == ({"t0000", "t0001", "t0002"}, 2.0)


def test_a_complete_sweep_goes_on_with_what_was_added_and_once(store):
    """Asked for while no driver runs, it is run by the next one, and by none after it."""
    driver = Driver(store)
    for _ in range(2):
        driver.finish(driver.begin())
    assert driver.state.next_action() is Action.END
    ask_for_config(store, ["beta=2"], "t0000")
    again = Driver(store)
    added = again.begin()
    assert (added.trial_id, added.config["suggestion"]["beta"]) == ("t0002", 2.0)
    assert again.begin() is None
    again.finish(added)
    assert again.begin() == SweepSearcher.FINISHED
    assert Driver(store).state.next_action() is Action.END
    assert Driver(store).state.status.total == 3


@pytest.mark.parametrize("lost", ["event", "file"])
def test_a_driver_that_is_lost_runs_nothing_twice(store, monkeypatch, lost):
    """Whether it is killed before the event or before the file is deleted, the trial is in the table."""
    ask_for_config(store, ["beta=2"])
    driver = Driver(store)
    with monkeypatch.context() as patch:
        gone = {"event": (StoreWriter, "write_event"), "file": (type(store.files), "delete")}[lost]
        patch.setattr(*gone, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            driver.begin()
    assert len(waiting(store.files)) == 1
    again = Driver(store)
    assert waiting(store.files) == {}
    assert events(store) == [("t0000", "add", "asked for by `sweep add`")]
    assert [text.partition(":")[0] for text in again.said] == ["t0000 is the added config"]
    trial = again.begin()
    assert (trial.trial_id, trial.config["suggestion"]["beta"]) == ("t0000", 2.0)
    assert [again.begin().trial_id for _ in range(2)] == ["t0001", "t0002"]
    assert again.begin() is None


def test_a_trial_that_is_ended_is_stopped_and_no_failure(store):
    """Where the tables hold what it did; it is not run again, and the sampler hears that it was stopped."""
    driver = Driver(store)
    trial, other = driver.begin(), driver.begin()
    ask_for_end(store, trial.trial_id)
    assert not driver.report(trial, epoch=1, seconds=1.0, saved=True)
    driver.look()
    assert not driver.report(trial, epoch=1, seconds=1.0)
    assert not driver.report(other, epoch=1, seconds=1.0, saved=True)
    assert driver.report(trial, epoch=1, seconds=1.0, saved=True)
    assert len(waiting(store.files)) == 1
    driver.recorder.on_trial_complete(0, [], trial)
    row = store.trials().filter(trial_id=trial.trial_id).collect().row(0, named=True)
    assert (row["status"], row["stop_reason"], row["error"], row["epochs"]) == ("stopped", STOPPED, None, 1)
    (event,) = store.events().collect().iter_rows(named=True)
    assert (event["kind"], event["decision"], event["epoch"], event["attempt"]) == ("stop", "stop", 1, 0)
    assert waiting(store.files) == {}
    assert Driver(store).state.status.counts == {"stopped": 1, "running": 0}
    (state, _) = (trial.state.name for trial in driver.searcher.study.trials)
    assert state == "PRUNED"


def test_a_trial_that_ends_by_itself_first_is_what_it_is(store):
    """The request goes, and no event says that a user ended it."""
    driver = Driver(store)
    trial = driver.begin()
    ask_for_end(store, trial.trial_id)
    driver.look()
    driver.finish(trial)
    assert store.trials().collect()["status"].to_list() == ["completed"]
    assert (events(store), waiting(store.files)) == ([], {})


def test_an_end_that_was_asked_for_survives_the_driver(store):
    """A trial that was cut off goes on, and ends at its first report that is written."""
    driver = Driver(store)
    trial = driver.begin()
    ask_for_end(store, trial.trial_id)
    again = Driver(store)
    trial = again.begin()
    assert again.report(trial, epoch=1, seconds=1.0, saved=True)
    again.recorder.on_trial_complete(0, [], trial)
    assert [kind for _, kind, _ in events(store)] == ["stop"]


def test_a_file_that_is_no_request_is_told_once_and_left(store):
    """Neither a text nor a config outside the search space stops the sweep."""
    names = ("requests/a.json", "requests/b.json")
    outside = {"kind": "add", "at": "2026-01-02T00:00:00Z", "settings": {"beta": 99.0}}
    for name, text in zip(names, ("import os", json.dumps(outside)), strict=True):
        store.files.put(name, lambda file, text=text: file.write(text.encode()))
    driver = Driver(store)
    driver.look()
    assert [text.partition(":")[0] for text in driver.warned] == [f"{n} is not carried out" for n in names]
    assert driver.warned[1].endswith("beta is 99.0, but must be between 0.1 and 4.0")
    assert driver.state.next_action() is Action.NEW_CONFIG


def test_nothing_is_taken_once_the_sweep_ends(store):
    """Tune returns then: what comes too late waits for the next driver."""
    driver = Driver(store)
    for _ in range(2):
        driver.finish(driver.begin())
    ask_for_config(store, ["beta=2"])
    driver.look()
    assert driver.state.next_action() is Action.END
    assert len(waiting(store.files)) == 1
