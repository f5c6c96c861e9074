"""What a user follows of a running sweep, by value: the time left by made-up timings, and more."""

import math
from datetime import timedelta

import pytest
from trial_records import NAMES, START, record

from sweep.config.sweep_spec import load_spec
from sweep.search.budget import Budget
from sweep.search.overview import EIGHTY_PERCENT, SPREAD, RunningTrial, overview, slots, time_left
from sweep.search.state import SweepState


def running(name="t0000", epoch=0, seconds=0.0, epochs_max=300, **more):
    """Return how far a trial is."""
    return RunningTrial(trial_id=name, epoch=epoch, epochs_max=epochs_max, seconds=seconds, **more)


def test_before_the_first_epoch_nothing_is_known_and_after_the_last_nothing_is_left():
    """Neither is an estimate."""
    assert time_left([], [running(), running("t0001")], 10, slots=2) is None
    assert time_left([], [], 0, slots=0) is None
    assert time_left([50.0, 60.0], [], 0, slots=2) is None


def test_early_in_a_sweep():
    """Two trials are 3 of 300 epochs far at 2 s each: four rounds of 600 s on two places, less 6 s."""
    left = time_left([], [running(n, 3, 6.0) for n in ("t0000", "t0001")], 6, slots=2)
    assert left.seconds == pytest.approx(4 * 600 - 6)
    # By hand: the spread is the prior's alone, shrunk by two trials that count 3/5 each and do not differ.
    n = 2 * 3 / 5
    spread = 2 * SPREAD**2 / (2 + n)
    whole = 8 * 600 - 12
    each = (2 * 594**2 + 6 * 600**2) / whole**2
    factor = math.exp(EIGHTY_PERCENT * math.sqrt(0.05**2 + spread * (each + 1 / (0.5 + n))))
    assert (left.seconds / left.low, left.high / left.seconds) == pytest.approx((factor, factor))
    assert 1.5 < factor < 2


def test_after_the_first_trial_the_interval_is_narrower():
    """A trial that has ended tells more than three epochs; many alike tell still more."""
    widths = []
    for costs in ([], [600.0], [600.0] * 20):
        left = time_left(costs, [running(epoch=3, seconds=6.0)], 5, slots=2)
        widths.append(left.high / left.low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 1.5


def test_trials_of_unlike_cost():
    """A short trial that has ended does not make the sweep short: the long one goes on at its own pace."""
    long = running("t0001", epoch=30, seconds=60.0)  # 2 s an epoch, 600 s in all
    trust = 30 / 32
    mean = (60 + trust * 600) / (1 + trust)
    ahead = 0.9 * (trust * 600 + (1 - trust) * mean)
    alone = time_left([60.0], [long], 0, slots=2)
    assert alone.seconds == pytest.approx(ahead)
    # The next one begins on the place that is free, and ends first.
    assert time_left([60.0], [long], 1, slots=2).seconds == pytest.approx(max(ahead, mean))
    alike = time_left([600.0], [long], 0, slots=2)
    assert alone.high / alone.low > alike.high / alike.low


def test_a_resumed_sweep_knows_what_its_trials_cost_before_the_first_epoch():
    """Those that ended earlier count, though none of the running ones has reported."""
    left = time_left([100.0, 120.0, 110.0], [running(), running("t0001")], 2, slots=2)
    assert left.seconds == pytest.approx(220)


def test_no_trial_begins_after_the_budget():
    """With an hour left and trials of half an hour, two places see two rounds, and not five."""
    cost = 1800.0
    assert time_left([cost], [], 10, slots=2).seconds == pytest.approx(5 * cost)
    assert time_left([cost], [], 10, slots=2, begin_within=3500).seconds == pytest.approx(2 * cost)


def test_the_epoch_that_runs_counts_for_nine_tenths_at_most():
    """However long it has been silent; what it has reported moves the estimate by the tenth that is left."""
    seconds = [
        time_left([], [running(epoch=4, seconds=400.0, epochs_max=10, silent=s)], 0, slots=1).seconds
        for s in (0, 50, 100, 1000)
    ]
    assert seconds == pytest.approx([600, 555, 510, 510])
    assert time_left([], [running(epoch=5, seconds=500.0, epochs_max=10)], 0, slots=1).seconds == 500


def test_the_time_left_never_jumps():
    """Twelve trials of 200 to 400 s on two places, told every epoch: it falls steadily, and is never far off.

    In five seconds it moves by no more than a quarter of itself or two long epochs, 16 s.
    """
    costs = [200 + 200 * ((7 * i) % 12) / 11 for i in range(12)]
    queue, places = list(range(12)), [[0.0, None], [0.0, None]]
    spans = {}
    while queue:
        place = min(places, key=lambda p: p[0])
        trial = queue.pop(0)
        spans[trial] = (place[0], place[0] + costs[trial])
        place[0] += costs[trial]
    end = max(stop for _, stop in spans.values())
    told, before, inside = [], None, 0
    for now in range(10, int(end) - 10, 5):
        ended = [costs[i] for i, (_, stop) in spans.items() if stop <= now]
        run = []
        for i, (start, stop) in spans.items():
            if start <= now < stop:
                pace = costs[i] / 50
                epoch = int((now - start) / pace)
                run.append(running(f"t{i:04}", epoch, epoch * pace, 50, silent=(now - start) - epoch * pace))
        to_come = sum(start > now for start, _ in spans.values())
        left = time_left(ended, run, to_come, slots=2)
        told.append(left.seconds)
        inside += left.low <= end - now <= left.high
        if before is not None:
            assert abs(left.seconds - before) <= max(0.25 * before, 16)
        before = left.seconds
    assert inside / len(told) > 0.8


def at(seconds):
    """Return the time so long after the start."""
    return START + timedelta(seconds=seconds)


def test_places_are_counted_when_the_last_trial_began():
    """Later one of them may be empty, because what is to come waits for what runs."""
    first = record("t0000", started_at=at(0), ended_at=at(50))
    second = record("t0001", started_at=at(1), ended_at=at(90))
    third = record("t0002", status="running", started_at=at(50))
    assert slots([]) == 0
    assert slots([first]) == 1
    assert slots([first, second]) == slots([first, second, third]) == 2


@pytest.fixture
def spec(sweep_file):
    """Four configs, of which those on the front get two further seeds."""
    return load_spec(sweep_file, ["trials=4", "replicates.seeds=3", "replicates.when=front"])


def seen(spec, ended, far=()):
    """Return the overview of a sweep with these records, and trials that run."""
    records = [*ended, *(record(t.trial_id, status="running", started_at=at(9)) for t in far)]
    return overview(spec, SweepState.of(spec, records).status, records, far, Budget(None))


def test_the_best_config_of_each_objective_is_by_the_mean_over_its_seeds(spec):
    """One lucky seed makes no best config; what failed or runs does not count."""
    view = seen(
        spec,
        [
            *(record("t0000", 0.9, 1.0), record("t0000-s1", 0.1, 1.0)),
            *(record("t0001", 0.6, 0.5), record("t0002", status="failed", error="no room\nat all")),
        ],
        [running("t0003")],
    )
    assert view.best == {NAMES[0]: ("t0001", 0.6), NAMES[1]: ("t0000", 1.0)}
    assert view.failures == (("t0002", "no room"),)


def test_failures_come_in_the_order_of_their_ends(spec):
    """Whatever the order of the records."""
    ends = {"t0000": 30, "t0001": 10, "t0002": 20}
    failed = [record(n, status="failed", error=n, ended_at=at(s), seconds=1.0) for n, s in ends.items()]
    view = seen(spec, failed)
    assert [trial for trial, _ in view.failures] == ["t0001", "t0002", "t0000"]
    assert view.left is None  # what a failed trial took says nothing of the others


def test_further_seeds_are_expected_before_they_join_and_counted_once_they_have(spec):
    """Of a front of one config, two; the time left has them from the start: it does not grow with them."""
    ended = [record(f"t000{i}", *point, seconds=60.0) for i, point in enumerate([(3, 3), (2, 2), (1, 1)])]
    view = seen(spec, ended, [running("t0003", 30, 6.0)])
    assert (view.status.total, view.status.configs, view.expected) == (4, 4, 2)
    assert view.left.seconds == pytest.approx(54 + 2 * 60, rel=0.1)
    view = seen(spec, [*ended, record("t0003", 0.5, 0.5, seconds=60.0)])
    assert (view.status.total, view.status.configs, view.expected) == (6, 4, 0)
    assert view.left.seconds == pytest.approx(120)


def test_a_sweep_that_gives_every_config_its_seeds_counts_them_all(sweep_file):
    """Three configs with three seeds each are six further seeds; folds are called so."""
    spec = load_spec(sweep_file, ["replicates.seeds=3"])
    view = seen(spec, [record("t0000", 1, 1)])
    assert (view.status.total, view.status.configs, view.expected, view.replicate) == (9, 3, 0, "seed")
