"""Ends a worker that hangs, from outside Python, and leaves behind where it stood."""

import faulthandler
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


class Watchdog:
    """Ends this process if it is not reset for some time; the place it hung at is then in a file.

    The clock is that of `faulthandler`, which needs no interpreter: it works while foreign code holds the
    interpreter's lock.
    """

    def __init__(self, note: TextIO, seconds: float) -> None:
        self._note = note
        self._seconds = seconds
        self.reset()

    def reset(self) -> None:
        """Start the clock anew."""
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._note)


@contextmanager
def watched(note: Path, seconds: float | None) -> Iterator[Watchdog | None]:
    """Watch what is done inside, unless there is no limit; `note` is the file, and gone if nothing hung."""
    if seconds is None:
        yield None
        return
    note.parent.mkdir(parents=True, exist_ok=True)
    with note.open("w", encoding="utf-8") as file:
        try:
            yield Watchdog(file, seconds)
        finally:
            faulthandler.cancel_dump_traceback_later()
            note.unlink(missing_ok=True)


def hung_at(note: str) -> str | None:
    r"""Return the innermost place of the trial's thread in a note, or None if nothing hung.

    >>> hung_at('Thread 0x1 (most recent call first):\n  File "/a/net.py", line 7 in forward\n'
    ...         '  File "/b/trainable.py", line 9 in run_suggestion\n')
    'net.py, line 7 in forward'
    """
    threads = re.split(r"^Thread .*$", note, flags=re.MULTILINE)[1:]
    # A stack of more than a hundred calls is cut; the trial's thread is the newest, which is written first.
    mine = next((text for text in threads if "in run_suggestion" in text), "".join(threads[:1]))
    found = re.search(r'File "(?:.*[/\\])?(.*?)", (line \S+ in \S+)', mine)
    return f"{found[1]}, {found[2]}" if found else None
