"""What a user sees while a sweep or a trial runs."""

import io

import pytest
from rich.console import Console

from sweep.running.progress import SweepProgress, TrialProgress, duration, progress_line
from sweep.search.state import SweepStatus


def status(completed=6, running=2, failed=1, epochs_left=30, epochs_here=60, **counts):
    """Return a status in mid sweep."""
    counts = {"completed": completed, "running": running, "failed": failed, **counts}
    return SweepStatus(
        total=14,
        counts=counts,
        front_size=3,
        hypervolume=812.4,
        epochs_left=epochs_left,
        epochs_here=epochs_here,
    )


def test_the_line_says_it_all():
    """Done, running, failed, front, hypervolume and the time left at the pace so far."""
    assert progress_line(status(), 120.0) == (
        "6 of 14 trials done · 2 running · 1 failed · front 3 · hypervolume 812 · about 60 s left"
    )


def test_stopped_and_infeasible_trials_are_told_where_there_are_some():
    """They are no failures, and are counted beside them."""
    assert progress_line(status(stopped=2, infeasible=1), 0.0).startswith(
        "6 of 14 trials done · 2 running · 2 stopped · 1 infeasible · 1 failed · front 3 · "
    )


@pytest.mark.parametrize("changes", [{"epochs_here": 0}, {"epochs_left": 0}])
def test_no_time_left_is_said_without_a_pace_or_without_work(changes):
    """Before the first epoch and after the last there is nothing to tell."""
    assert "left" not in progress_line(status(**changes), 120.0)


def test_off_a_terminal_each_ended_trial_is_one_plain_line():
    """Updates between two ends print nothing; no control characters reach a file."""
    out = io.StringIO()
    with SweepProgress(Console(file=out, width=200)) as progress:
        progress.say("starting Ray")
        progress.show(status(completed=0, failed=0))
        progress.show(status(completed=0, failed=0, running=1))
        progress.show(status(completed=1, failed=0))
    lines = out.getvalue().splitlines()
    assert [line[:12] for line in lines] == ["starting Ray", "0 of 14 tria", "1 of 14 tria"]
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_the_line_is_live_and_goes_away():
    """The status is redrawn in place, phases stay above it."""
    out = io.StringIO()
    with SweepProgress(Console(file=out, width=200, force_terminal=True)) as progress:
        progress.say("starting Ray")
        progress.show(status())
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
