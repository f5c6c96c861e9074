"""What comes next: which config gets which seed when."""

from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_records import NAMES, record, state_of

from sweep.config.parameters import Choice
from sweep.config.schema import ReplicatesSpec
from sweep.config.sweep_spec import load_spec
from sweep.search.standing import Action
from sweep.search.state import SweepState
from sweep.search.trial import SuggestedTrial, replicate_name, split_name


@pytest.fixture(scope="module")
def make_spec(tmp_path_factory, tiny_sweep):
    """Return a function that gives a sweep of some configs and a rule for seeds."""
    path = tmp_path_factory.mktemp("agenda") / "x.yaml"
    path.write_text(tiny_sweep)
    spec = load_spec(path)
    return lambda trials, seeds, when: spec.model_copy(
        update={"trials": trials, "replicates": ReplicatesSpec(seeds=seeds, when=when)}
    )


def ended(name, x=0.0, y=0.0, status="completed"):
    """Return a trial that ended at a point, or failed."""
    return record(name, x, y, status)


def next_trial(spec, done, running=(), cut_off=()):
    """Return the name of the trial that comes next of a sweep that stands so, or what else is to be done."""
    action = state_of(spec, done, running, cut_off).next_action()
    return action if isinstance(action, Action) else action.trial_id


def test_folds_are_replicates_as_seeds_are(make_spec):
    """As many, with the same names, and none beside."""
    spec = make_spec(1, 1, "all").model_copy(update={"replicates": ReplicatesSpec(folds=3)})
    assert next_trial(spec, [], ["t0000"]) == "t0000-s1"
    assert next_trial(spec, [ended("t0000")], ["t0000-s1"]) == "t0000-s2"
    assert next_trial(spec, [ended("t0000"), ended("t0000-s1"), ended("t0000-s2")]) is Action.END


def test_without_replicates_configs_come_one_after_the_other(make_spec):
    """New configs until the budget is spent; then nothing, whether or not some still run."""
    spec = make_spec(2, 1, "all")
    assert next_trial(spec, []) is Action.NEW_CONFIG
    assert next_trial(spec, [], ["t0000"]) is Action.NEW_CONFIG
    assert next_trial(spec, [ended("t0000")], ["t0001"]) is Action.WAIT
    assert next_trial(spec, [ended("t0000"), ended("t0001", status="failed")]) is Action.END


def test_cut_off_trials_come_first(make_spec):
    """Before missing seeds and before new configs, in their order."""
    spec = make_spec(3, 2, "all")
    assert next_trial(spec, [ended("t0000")], cut_off=["t0001-s1", "t0002"]) == "t0001-s1"


def test_all_begins_every_seed_of_a_config_at_once(make_spec):
    """A config's seeds follow its first trial, even while that runs or after it failed."""
    spec = make_spec(2, 3, "all")
    assert next_trial(spec, [], ["t0000"]) == "t0000-s1"
    assert next_trial(spec, [ended("t0000", status="failed")], ["t0000-s1"]) == "t0000-s2"
    assert next_trial(spec, [], ["t0000", "t0000-s1", "t0000-s2"]) is Action.NEW_CONFIG


def test_survivors_are_the_configs_whose_first_seed_completed(make_spec):
    """One that was stopped early, failed or still runs gets no further seed."""
    spec = make_spec(3, 2, "survivors")
    done = [ended("t0000", status="stopped"), ended("t0001", status="failed")]
    assert next_trial(spec, done, ["t0002"]) is Action.WAIT
    assert next_trial(spec, [*done, ended("t0002")]) == "t0002-s1"
    assert next_trial(spec, [*done, ended("t0002")], ["t0002-s1"]) is Action.WAIT
    assert next_trial(spec, [*done, ended("t0002"), ended("t0002-s1", status="failed")]) is Action.END


def test_the_front_is_replicated_once_the_budget_is_spent(make_spec):
    """Not before every first seed has ended; only configs on the front, which their means redraw."""
    spec = make_spec(3, 2, "front")
    a, b, c = ended("t0000", 1.0, 1.0), ended("t0001", 0.9, 0.9), ended("t0002", 0.0, 2.0)
    assert next_trial(spec, [a, b], ["t0002"]) is Action.WAIT
    assert next_trial(spec, [a, b, c]) == "t0000-s1"
    assert next_trial(spec, [a, b, c], ["t0000-s1"]) == "t0002-s1"
    # The mean of t0000 falls to (0.5, 0.5): t0001 comes to the front, and gets its seed.
    later = [a, b, c, ended("t0000-s1", 0.0, 0.0), ended("t0002-s1", 0.0, 2.0)]
    assert next_trial(spec, later) == "t0001-s1"
    assert next_trial(spec, [*later, ended("t0001-s1", 0.8, 0.8)]) is Action.END


def test_an_uncertain_place_gets_a_seed_before_a_new_config(make_spec):
    """One at a time, as long as it tells more; a far dominated config gets none."""
    spec = make_spec(9, 3, "uncertain").model_copy(
        update={"reference_point": {"conditional_coherence": -10.0, "log_likelihood": -10.0}}
    )
    near = [ended(f"t{i:04}", x, 10 - x) for i, x in enumerate((0.0, 2.0, 4.0, 6.0, 8.0, 10.0))]
    far = ended("t0006", -9.0, -9.0)
    wide = [ended("t0003-s1", -6.0, 4.0 - 12.0)]
    assert next_trial(spec, near[:2]) is Action.NEW_CONFIG
    state = state_of(spec, [*near, far, *wide])
    first = state.next_action()
    assert isinstance(first, SuggestedTrial)
    state.begin(first)
    repeat = state.repeat(first.trial_id)
    assert repeat.config == split_name(first.trial_id)[0] != "t0006"
    assert repeat.gain > repeat.gain_of_new
    assert state.repeat(first.trial_id) is None
    same = [ended(f"t{i:04}-s{r}", x, 10 - x) for i, x in enumerate((0.0, 2, 4, 6, 8, 10)) for r in (1, 2)]
    assert next_trial(spec, [*near, far, *same]) is Action.NEW_CONFIG


def test_more_configs_later_come_before_the_front(make_spec):
    """A sweep that was extended suggests first and replicates the new front afterwards."""
    found = [ended("t0000", 1.0, 1.0), ended("t0000-s1", 1.0, 1.0)]
    assert next_trial(make_spec(2, 2, "front"), found) is Action.NEW_CONFIG
    assert next_trial(make_spec(2, 2, "front"), [*found, ended("t0001", 2.0, 2.0)]) == "t0001-s1"


@pytest.mark.parametrize(("when", "total"), [("all", 6), ("survivors", 4), ("front", 3), ("uncertain", 3)])
def test_trials_in_all_are_those_known_of_now(make_spec, when, total):
    """Of three configs one completed: with `all` each has two seeds, else only those that are sure."""
    assert state_of(make_spec(3, 2, when), [ended("t0000")]).status.total == total


def means(done):
    """Return the means over completed seeds by config."""
    seeds = {}
    for trial in done:
        found = [trial.objectives[n] for n in NAMES] if trial.status == "completed" else None
        seeds.setdefault(split_name(trial.trial_id)[0], []).append(found)
    seeds = {config: found for config, found in seeds.items() if None not in found}
    return {config: tuple(fmean(v) for v in zip(*found, strict=True)) for config, found in seeds.items()}


def dominates(a, b):
    """Return whether a is as good in both and better in one."""
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


@given(
    points=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8),
    seeds=st.integers(1, 3),
    when=st.sampled_from(["all", "survivors", "front", "uncertain"]),
    at_once=st.integers(1, 4),
    rng=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_every_order_ends_with_what_the_rule_promises(make_spec, points, seeds, when, at_once, rng):
    """Whatever ends first or fails: no trial twice, the budget kept, the promised seeds all there."""
    spec = make_spec(len(points), seeds, when)
    done, running = [], []
    kept_up = SweepState(spec)
    while True:
        found = kept_up.next_action() if len(running) < at_once else Action.WAIT
        if found is Action.END:
            break
        if found is Action.WAIT:
            name = running.pop(rng.randrange(len(running)))
            x, y = points[int(split_name(name)[0][1:])]
            failed = rng.random() < 0.2
            noise = rng.uniform(-2, 2)
            done.append(ended(name, status="failed") if failed else ended(name, x + noise, y - noise))
            kept_up.end(done[-1])
            continue
        begun = [t.trial_id for t in done] + running
        if found is Action.NEW_CONFIG:
            found = kept_up.first_trial({})
        assert isinstance(found, SuggestedTrial)
        name = found.trial_id
        assert name not in begun
        running.append(name)
        kept_up.begin(found)
    begun = {t.trial_id for t in done}
    firsts = {name for name in begun if split_name(name)[1] == 0}
    assert len(firsts) == len(points)
    survived = {t.trial_id for t in done if t.status == "completed" and t.trial_id in firsts}
    front = {c: v for c, v in means(done).items() if not any(dominates(w, v) for w in means(done).values())}
    assert kept_up.status.front_size == len(front)
    assert {r.name for r in kept_up.results} == firsts
    due = {"all": firsts, "survivors": survived, "front": front, "uncertain": firsts}[when]
    for config in due if when != "uncertain" else ():
        assert {replicate_name(config, r) for r in range(seeds)} <= begun
    if when in ("all", "survivors"):
        assert len(begun) == len(firsts) + (seeds - 1) * len(due)
    assert kept_up.status.total == SweepState.of(spec, done).status.total == len(begun)


def test_a_config_has_the_mean_curve_of_its_seeds(make_spec):
    """Of what an earlier run measured and of what this one reports."""
    spec = make_spec(1, 2, "all")
    state = SweepState.resumed(spec, [ended("t0000", 1.0)], {"t0000": {1: 0.5, 2: 1.0}})
    second = state.next_action()
    state.begin(second)
    state.measured("t0000-s1", 1, 0.25)
    result = state.end(ended("t0000-s1", 0.5))
    assert result.curve == {1: 0.375, 2: 1.0}
    assert result.measured["conditional_coherence"] == 0.75


def test_a_config_is_judged_whole(make_spec):
    """With one good seed and two bad ones it is stopped or failed, and not on the front."""
    spec = make_spec(1, 3, "all")
    good = ended("t0000", 0.981, -5.0)
    for status in ("stopped", "failed"):
        bad = [ended("t0000-s1", 0.725, -5.0, status), ended("t0000-s2", 0.5, -5.0, status)]
        for order in ([good, *bad], [*bad, good]):
            state = state_of(spec, order)
            (result,) = state.results
            assert result.status == status
            assert state.status.front_size == 0


def test_constraints_are_on_the_means_over_seeds(make_spec):
    """A lucky feasible seed keeps no config on the front, an unlucky infeasible one takes none off."""
    spec = make_spec(2, 3, "all").model_copy(update={"constraints": {"conditional_coherence": ">= 0.8"}})
    values = {"t0000": (0.85, 0.7, 0.6), "t0001": (0.9, 0.9, 0.75)}
    seeds = [
        ended(replicate_name(config, r), x, -5.0, "completed" if x >= 0.8 else "infeasible")
        for config, found in values.items()
        for r, x in enumerate(found)
    ]
    state = state_of(spec, seeds)
    assert [r.status for r in state.results] == ["infeasible", "completed"]
    assert [r.measured[NAMES[0]] for r in state.results] == pytest.approx([0.7166667, 0.85])
    assert state.status.front_size == 1


def test_a_config_with_a_stopped_seed_gets_no_further_one(make_spec):
    """It cannot come on the front any more."""
    spec = make_spec(1, 3, "all")
    assert next_trial(spec, [ended("t0000", status="stopped")]) is Action.END


def test_a_config_that_is_added_comes_before_new_ones_and_counts_beside_them(make_spec):
    """After what was cut off; once it is there, it is not begun again, and its name is told."""
    spec, asked = make_spec(2, 2, "all"), {"beta": 2.0}
    state = state_of(spec, [ended("t0000")], cut_off=["t0000-s1"])
    assert (state.status.total, state.status.configs) == (4, 2)
    assert state.queue(asked) is state.queue(dict(asked)) is None
    assert (state.status.total, state.status.configs) == (6, 3)
    first = state.next_action()
    assert first.trial_id == "t0000-s1"
    state.begin(first)
    added = state.next_action()
    assert added == SuggestedTrial(trial_id="t0001", attempt=0, suggestion=asked)
    state.begin(added)
    assert state.queue(asked) == "t0001"
    assert state.next_action().trial_id == "t0001-s1"
    state.begin(state.next_action())
    assert state.next_action() is Action.NEW_CONFIG
    assert (state.status.total, state.status.configs) == (6, 3)
    assert {config.name: config.added for config in state.results} == {"t0000": False, "t0001": True}


def test_a_space_has_no_more_configs_for_what_is_added(make_spec):
    """Of four configs one that is added leaves three."""
    spec = make_spec(4, 1, "all")
    four = {"batch_size": Choice(values=(1, 2, 3, 4))}
    state = SweepState(spec.model_copy(update={"search_space": four}))
    state.queue({"batch_size": 2})
    assert state.status.total == 4


def test_the_seeds_of_the_front_wait_for_all_configs_but_those_added(make_spec):
    """With `when: front`, one that was added stands for none of `trials`."""
    spec = make_spec(2, 2, "front")
    done = [ended("t0000", 1.0), ended("t0001", 2.0)]
    assert SweepState.resumed(spec, done, added=["t0001"]).next_action() is Action.NEW_CONFIG
    assert SweepState.resumed(spec, done).next_action().trial_id == "t0001-s1"
