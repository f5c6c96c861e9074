"""SIGTERM and SIGHUP take the way of Ctrl-C: a complete store, and a sentence that says how to go on."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPS = (signal.SIGTERM, signal.SIGHUP)
_caught: list[int] = []


@contextmanager
def stoppable(on_warning: Callable[[], None] | None = None) -> Iterator[None]:
    """Let the signals that end a process interrupt it, as Ctrl-C does, and SIGUSR2 call `on_warning`.

    Schedulers send SIGUSR2 some time before the limit of a job. A signal that the process was started to
    ignore stays ignored. Outside of the main thread nothing changes. Afterwards all are handled as before,
    SIGINT included, which Ray Tune takes for itself and would swallow once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*_STOPS, signal.SIGINT, signal.SIGUSR2)}
    for number in _STOPS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    if on_warning is not None:
        signal.signal(signal.SIGUSR2, lambda *_: on_warning())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt() -> None:
    """Do what Ctrl-C does, also where a shell has made the process ignore it."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, None)


def exit_status() -> int:
    """Return the status of a process that was interrupted: 143 by SIGTERM, else 130."""
    return 128 + signal.SIGTERM if signal.SIGTERM in _caught else 128 + signal.SIGINT


def _interrupt(number: int, _: FrameType | None) -> None:
    _caught.append(number)
    interrupt()
