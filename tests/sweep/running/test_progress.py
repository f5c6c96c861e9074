"""What a user sees while a sweep or a trial runs."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from sweep.config.objectives import Objective
from sweep.running import progress
from sweep.running.progress import (
    SweepProgress,
    TrialProgress,
    drawn,
    duration,
    failure_lines,
    left_text,
    progress_line,
    rows,
)
from sweep.search.overview import Overview, RunningTrial, TimeLeft
from sweep.search.standing import SweepStatus

OBJECTIVES = (Objective(name="conditional_coherence"), Objective(name="frechet", direction="minimize"))
MINUTES = TimeLeft(seconds=660.0, low=480.0, high=900.0)


def trial(number=6, epoch=120, **more):
    """Return a trial that runs, 120 of 300 epochs far."""
    measured = {"conditional_coherence": 0.6123, "frechet": 41.0} if epoch else {}
    given = {"seconds": 240.0, "elapsed": 250.0, "measured": measured} | more
    return RunningTrial(trial_id=f"t{number:04}", epoch=epoch, epochs_max=300, **given)


def view(total=14, completed=6, running=2, failures=(), counts=(), **more):
    """Return a sweep of twelve configs in mid course."""
    counts = {"completed": completed, "running": running, "failed": len(failures), **dict(counts)}
    status = SweepStatus(total=total, counts=counts, front_size=3, hypervolume=812.4, configs=12)
    given = {
        "objectives": OBJECTIVES,
        "expected": 0,
        "replicate": "seed",
        "running": tuple(trial(6 + i, epoch) for i, epoch in zip(range(running), (120, 0), strict=False)),
        "best": {"conditional_coherence": ("t0003", 0.7131), "frechet": ("t0005", 38.25)},
        "left": MINUTES,
    }
    return Overview(status=status, failures=tuple(failures), **(given | more))


FAILED = (("t0002", "the loss is nan at step 5"),)


def test_the_line_says_it_all():
    """Done and of how many, running, failed, front, hypervolume and the time left with its uncertainty."""
    assert progress_line(view(failures=FAILED)) == (
        "6 of 14 trials done (12 configs + 2 further seeds) · 2 running · 1 failed · front 3 · "
        "hypervolume 812 · about 11 min (8 to 15) left"
    )


def test_stopped_and_infeasible_trials_are_told_where_there_are_some():
    """They are no failures, and are counted beside them."""
    line = progress_line(view(total=12, counts={"stopped": 2, "infeasible": 1}))
    assert line.startswith(
        "6 of 12 trials done · 2 running · 2 stopped · 1 infeasible · 0 failed · front 3 · "
    )


def test_further_seeds_that_are_to_come_are_told_before_they_join():
    """They are an estimate until the front is known; folds are called so."""
    line = progress_line(view(total=12, expected=6, replicate="fold"))
    assert line.startswith("6 of 12 trials done (12 configs; about 6 further folds to come) · 2 running")


def test_no_time_left_is_said_where_none_is_known():
    """The line leaves it out; a terminal says when it will be known, unless all is done."""
    assert "left" not in progress_line(view(left=None))
    assert "time left: known after the first epoch" in screen(view(left=None))
    assert "left" not in screen(view(completed=14, running=0, left=None))


@pytest.mark.parametrize(
    ("seconds", "low", "high", "text"),
    [
        (4.0, 2.0, 8.0, "a few seconds"),
        (31.0, 24.4, 99.0, "about 31 s (24 to 99)"),
        (660.0, 480.0, 900.0, "about 11 min (8 to 15)"),
        (9000.0, 7200.0, 14400.0, "about 2.5 h (2.0 to 4.0)"),
    ],
)
def test_times_left(seconds, low, high, text):
    """The estimate and its interval have one unit."""
    assert left_text(TimeLeft(seconds=seconds, low=low, high=high)) == text


def screen(sweep, width=80):
    """Return what a terminal of some width shows of a sweep."""
    out = io.StringIO()
    Console(file=out, width=width).print(drawn(sweep))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def test_a_terminal_shows_running_trials_the_best_so_far_and_failures():
    """At 80 columns no line is broken; a reason that is too long is cut."""
    failures = [*FAILED, ("t0004", "the loss is nan at step 5"), ("t0001", "it diverged " * 8)]
    assert screen(view(failures=failures)) == (
        "6 of 14 trials done (12 configs + 2 further seeds) · 2 running · 3 failed\n"
        "front 3 configs, hypervolume 812 · about 11 min (8 to 15) left\n"
        "\n"
        "               conditional\n"
        "trial    epoch coherence ↑ frechet ↓ elapsed\n"
        "t0006  120/300       0.612        41   4 min\n"
        "t0007    0/300                         4 min\n"
        "\n"
        "best                 0.713      38.2\n"
        "config               t0003     t0005\n"
        "\n"
        "2 failed: the loss is nan at step 5\n"
        "1 failed: it diverged it diverged it diverged it diverged it diverged it diverg…"
    )


def test_four_objectives_fit_eighty_columns():
    """The most that there may be, with long values and the long name of a seed."""
    names = ("conditional_coherence", "log_likelihood", "conditional_likelihood", "representation")
    measured = dict.fromkeys(names, -123456.7)
    one = replace(trial(), trial_id="t0006-s12", measured=measured)
    best = dict.fromkeys(names, ("t0006", -123456.7))
    four = replace(view(best=best), objectives=tuple(Objective(name=n) for n in names), running=(one,))
    text = screen(four)
    assert text == screen(four, width=200)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("-123457") == 8


def test_of_many_running_trials_the_farthest_are_shown_in_their_order():
    """The others are counted, so that all stays on the screen."""
    many = tuple(trial(i, epoch) for i, epoch in enumerate([5, 1, *range(10, 21)]))
    shown = [row[0] for row in rows(replace(view(), running=many))]
    assert shown == [
        "trial",
        *(f"t{i:04}" for i in range(3, 13)),
        *("and 3 more", "", "best", "config"),
    ]


def test_of_many_reasons_the_most_frequent_are_shown():
    """And how many others there are."""
    failures = [(f"t{i}", reason) for i, reason in enumerate("abbcccdde")]
    assert failure_lines(view(failures=failures)) == [
        *("3 failed: c", "2 failed: b", "2 failed: d"),
        "and 2 other reasons",
    ]


@pytest.fixture
def clock(monkeypatch):
    """Set the time that a sweep's progress sees, in seconds."""

    def at(seconds):
        monkeypatch.setattr(progress.time, "monotonic", lambda: float(seconds))

    at(0)
    return at


def printed(views, clock, **options):
    """Return what is printed off a terminal of a sweep that is seen at some seconds, and then ends."""
    out = io.StringIO()
    with SweepProgress(Console(file=out, width=200), **options) as shown:
        shown.say("starting Ray")
        for seconds, seen in views:
            clock(seconds)
            shown.show(lambda seen=seen: seen)
    assert "\x1b" not in out.getvalue()
    return out.getvalue().splitlines()


def test_off_a_terminal_a_minute_is_a_line_at_most(clock):
    """The first comes with the first trial, then one a minute, whatever ends; the last when all is done."""
    ends = [(s, view(total=12, completed=s // 10)) for s in range(1, 120)]
    lines = printed(
        [(0, view(completed=0, running=0)), *ends, (119.5, view(total=12, completed=12, running=0))], clock
    )
    assert [line.split(" · ")[0] for line in lines] == [
        "starting Ray",
        *(f"{n} of 12 trials done" for n in (0, 6, 12)),
    ]
    assert "2 running" in lines[1]


def test_off_a_terminal_a_failure_is_a_line_at_once(clock):
    """With its reason, and once; what had failed in an earlier run is none."""
    lines = printed(
        [
            (0, view(running=0, failures=FAILED)),
            (2, view(failures=FAILED)),
            (4, view(failures=[*FAILED, ("t0005", "no room")])),
            (6, view(failures=[*FAILED, ("t0005", "no room")])),
        ],
        clock,
    )
    assert lines[0] == "starting Ray"
    assert lines[1].startswith("6 of 14 trials done")
    assert lines[2:] == ["t0005 failed: no room"]


def test_nothing_is_printed_quietly(clock):
    """Neither phases nor progress nor failures."""
    assert printed([(0, view()), (2, view(failures=FAILED))], clock, quiet=True) == []


def test_what_is_asked_too_often_is_not_looked_at(clock):
    """The driver asks several times a second; to look costs more the more trials there are."""
    looks = []
    with SweepProgress(Console(file=io.StringIO(), width=200)) as shown:
        for tenth in range(100):
            clock(tenth / 10)
            shown.show(lambda: looks.append(1) or view())
        assert len(looks) == 10


def test_looks_that_take_long_are_rare(clock):
    """A second each is one in twenty seconds."""
    now = [0.0]

    def look():
        now[0] += 1
        clock(now[0])
        return view()

    looked = []
    with SweepProgress(Console(file=io.StringIO(), width=200)) as shown:
        while now[0] < 60:
            before = now[0]
            shown.show(look)
            looked += [before] * (now[0] > before)
            now[0] += 0.5
            clock(now[0])
    assert looked == [0, 21, 42]


def test_on_a_terminal_the_view_is_live_and_goes_away():
    """It is redrawn in place, phases stay above it."""
    out = io.StringIO()
    with SweepProgress(Console(file=out, width=200, force_terminal=True)) as shown:
        shown.say("starting Ray")
        shown.show(view)
    text = out.getvalue()
    assert "starting Ray" in text
    assert "6 of 14 trials done" in text
    assert text.rstrip().endswith("\x1b[2K")


def test_a_trial_prints_its_epochs(make_report):
    """Off a terminal every epoch is a line with loss, bound and KL."""
    out = io.StringIO()
    report = make_report(1, ("m0", "m1", "m2"), 20.0)
    with TrialProgress(Console(file=out, width=200), 2) as progress:
        progress.show(report)
    assert out.getvalue().startswith(f"epoch 1/2  loss {report.loss:.1f}  elbo {report.elbo:.1f}")


def test_durations():
    """The unit grows with the length."""
    assert [duration(s) for s in (0.4, 89, 91, 5399, 5400)] == ["0 s", "89 s", "2 min", "90 min", "1.5 h"]
