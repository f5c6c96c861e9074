"""SIGTERM and SIGHUP act like Ctrl-C: the store stays complete, and the user learns how to continue."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPS = (signal.SIGTERM, signal.SIGHUP)
_caught: list[int] = []


@contextmanager
def stoppable(
    on_warning: Callable[[], None] | None = None, on_interrupt: Callable[[], None] | None = None
) -> Iterator[None]:
    """Within the context, SIGTERM and SIGHUP raise KeyboardInterrupt, and SIGUSR2 calls `on_warning`.

    `on_interrupt` is called before Ctrl-C, or what acts like it, takes effect. Batch schedulers
    send SIGUSR2 some time before a job's time limit. A signal that the process was started to ignore (as by
    nohup) stays ignored. Outside of the main thread nothing changes. In the end all handlers are restored,
    also that of SIGINT, which Ray Tune replaces.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*_STOPS, signal.SIGINT, signal.SIGUSR2)}
    for number in _STOPS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    if on_interrupt is not None and before[signal.SIGINT] is not signal.SIG_IGN:
        tell_first(on_interrupt)
    if on_warning is not None:
        signal.signal(signal.SIGUSR2, lambda *_: on_warning())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell_first(tell: Callable[[], None]) -> None:
    """Let Ctrl-C call this before it does what it would have done."""
    act = signal.getsignal(signal.SIGINT)

    def told(number: int, frame: FrameType | None) -> None:
        tell()
        if not callable(act):
            raise KeyboardInterrupt
        act(number, frame)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, told)


def interrupt() -> None:
    """Act like Ctrl-C, even if a shell has made the process ignore SIGINT."""
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
