"""Ends a worker that hangs, from outside Python, and leaves behind where it stood."""

import faulthandler
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path


@contextmanager
def watched(note: Path, seconds: float | None) -> Iterator[Callable[[], None]]:
    """Give the function that starts the clock anew; without a limit it does nothing.

    If it is not called for so long, this process ends, and where it stood is in the file `note`, which
    otherwise is gone afterwards. The clock is that of `faulthandler`, which needs no interpreter: it runs
    on while foreign code holds the interpreter's lock.
    """
    if seconds is None:
        yield lambda: None
        return
    note.parent.mkdir(parents=True, exist_ok=True)
    with note.open("w", encoding="utf-8") as file:
        try:
            yield partial(faulthandler.dump_traceback_later, seconds, exit=True, file=file)
        finally:
            faulthandler.cancel_dump_traceback_later()
            note.unlink(missing_ok=True)


def hung_at(note: str) -> str | None:
    r"""Return the innermost place of the trial's thread in a note, or None if nothing hung.

    >>> hung_at('Thread 0x1 (most recent call first):\n  File "/a/net.py", line 7 in forward\n'
    ...         '  File "/b/worker.py", line 9 in run_trial\n')
    'net.py, line 7 in forward'
    """
    threads = re.split(r"^Thread .*$", note, flags=re.MULTILINE)[1:]
    # A stack of more than a hundred calls is cut; the trial's thread is the newest, which is written first.
    mine = next((text for text in threads if "in run_trial" in text), "".join(threads[:1]))
    found = re.search(r'File "(?:.*[/\\])?(.*?)", (line \S+ in \S+)', mine)
    return f"{found[1]}, {found[2]}" if found else None
