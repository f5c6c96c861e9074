"""What signals do to a process that trains, in this one: its end, its exit status, what is left as it was."""

import os
import signal

import pytest

from sweep.running import signals
from sweep.running.signals import exit_status, stoppable, tell_first

ALL = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """Begin with no signal caught and Python's Ctrl-C; check in the end that every handler is as before."""
    monkeypatch.setattr(signals, "_caught", [])
    found = [signal.getsignal(number) for number in ALL]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray Tune, if it ran here, left its own
    before = [signal.getsignal(number) for number in ALL]
    yield
    after = [signal.getsignal(number) for number in ALL]
    for number, handler in zip(ALL, found, strict=True):
        signal.signal(number, handler)
    assert after == before


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 130), (signal.SIGINT, 130)]
)
def test_a_signal_acts_like_ctrl_c(number, status):
    """It interrupts what runs, after which SIGTERM alone has an exit status of its own."""
    with pytest.raises(KeyboardInterrupt), stoppable():
        signal.raise_signal(number)
    assert exit_status() == status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_an_interruption_does_is_told_first(number):
    """Both by the handler that there was, and by one that replaced it, as Ray Tune's, and restores it."""
    told = []
    with stoppable(on_interrupt=lambda: told.append("at once")):
        ours = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, lambda *_: (told.append("stops"), signal.signal(signal.SIGINT, ours)))
        tell_first(lambda: told.append("stopping"))
        signal.raise_signal(number)
        assert told == ["stopping", "stops"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert told == ["stopping", "stops", "at once"]


def test_ctrl_c_that_another_replaced_is_given_back():
    """As by Ray Tune, whose handler swallows the first."""
    with stoppable():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGINT)


def test_the_warning_before_a_time_limit_interrupts_nothing():
    """SIGUSR2 calls the function that it was given, and what runs goes on."""
    warned = []
    with stoppable(lambda: warned.append("warned")):
        signal.raise_signal(signal.SIGUSR2)
        warned.append("and on")
    assert warned == ["warned", "and on"]


def test_what_was_ignored_from_the_start_stays_ignored():
    """Under nohup a closed terminal ends nothing; SIGTERM ends a background process that ignores Ctrl-C."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt), stoppable():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGINT, before[1])
