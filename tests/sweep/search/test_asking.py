"""What is asked of a sweep, and what is refused before it is asked."""

import pytest

from mopoe.errors import ConfigError
from sweep.manifest import new_manifest
from sweep.search.asking import ask_for_config, ask_for_end, queued, suggestion_of
from sweep.store.read import open_store
from sweep.store.records import SharedInputs
from sweep.store.requests import waiting
from sweep.store.write import StoreWriter

FIXED = "is not searched by this sweep, so it is the same for all of its trials"


@pytest.fixture
def store(tmp_path, make_planned, make_planned_record):
    """Give a sweep of five trials: t0000 has ended, t0001 runs; beta is 0.5 and 1.5."""
    spec, writer = make_planned(tmp_path / "r")
    first, second = (make_planned_record(spec, number) for number in range(2))
    writer.write_trial(first)
    ended = {"status": "completed", "ended_at": first.started_at, "epochs": 2}
    writer.write_trial(make_planned_record(spec, 0, **ended))
    writer.write_trial(second)
    return open_store(tmp_path / "r")


def test_what_is_not_given_is_in_the_middle_or_as_in_a_trial(store):
    """As of `sweep trial` and `start_with`; a trial's settings are taken but for those that are given."""
    assert ask_for_config(store, ["beta=2"]) == {"beta": 2.0, "subset_weights": (0.2,) * 5}
    (_, weights) = ask_for_config(store, ["beta=2"], "t0001").values()
    row = store.trials().filter(trial_id="t0001").collect().row(0, named=True)
    assert weights == pytest.approx([row[f"p_subset_weights_{k}"] for k in range(1, 6)])
    first, second = waiting(store.files).values()
    assert (first.kind, first.settings) == ("add", {"beta": 2.0, "subset_weights": [0.2] * 5})
    assert [suggestion_of(store.spec, r.settings) for r in (first, second)] == queued(store.files, store.spec)
    assert queued(store.files, store.spec)[0] == {
        "beta": 2.0,
        **{f"subset_weights.{i}": pytest.approx(((4 - i) / (5 - i)) ** (4 - i)) for i in range(4)},
    }


@pytest.mark.parametrize(
    ("given", "base", "why"),
    [
        (["bta=2"], None, f"bta {FIXED}; did you mean 'beta'? possible: beta, subset_weights"),
        (["lr=0.1"], None, f"lr {FIXED}; possible: beta, subset_weights"),
        (["beta=9"], None, "beta is 9.0, but must be between 0.1 and 4.0; only configs of the search space"),
        (["beta=x"], None, "beta is 'x', but must be a number"),
        (["beta"], None, "'beta' is not an assignment"),
        (["beta=1", "beta=2"], None, "beta is given twice"),
        (["beta=1"], "t0002", "there is no trial 't0002'; did you mean "),
        (["beta=0.5"], "t0000", "t0000 has these settings already, which give the same numbers again"),
    ],
)
def test_what_cannot_be_added_is_a_sentence(store, given, base, why):
    """And nothing is asked."""
    with pytest.raises(ConfigError) as caught:
        ask_for_config(store, given, base)
    assert str(caught.value).startswith(why)
    assert waiting(store.files) == {}


def test_a_config_is_asked_for_once(store):
    """Also while it waits."""
    ask_for_config(store, ["beta=2"])
    with pytest.raises(ConfigError, match=r"^a config with these settings waits already$"):
        ask_for_config(store, ["beta=2.0"])


def test_only_a_running_trial_can_be_ended(store):
    """What is said of others names those that run."""
    ask_for_end(store, "t0001")
    assert [(r.kind, r.trial_id) for r in waiting(store.files).values()] == [("stop", "t0001")]
    with pytest.raises(ConfigError, match=r"^t0000 has ended already \(completed\); running: t0001$"):
        ask_for_end(store, "t0000")
    with pytest.raises(ConfigError, match=r"^there is no trial 't9'; .*possible: t0001$"):
        ask_for_end(store, "t9")


def test_single_trials_are_no_sweep(store):
    """No driver would look."""
    StoreWriter(store.files).write_manifest(new_manifest(store.spec, "t123", SharedInputs()))
    store = open_store(store.files)
    for asking in (lambda: ask_for_config(store, ["beta=2"]), lambda: ask_for_end(store, "t0001")):
        with pytest.raises(ConfigError, match="holds single trials, which no sweep runs"):
            asking()
