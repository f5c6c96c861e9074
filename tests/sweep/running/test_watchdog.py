"""A worker that hangs ends itself and says where it was."""

import subprocess
import sys
import time

from sweep.running.recorder import lost_reason
from sweep.running.trainable import watch_path
from sweep.running.watchdog import watched

HANGS = """
import sys, threading, time
from pathlib import Path
from sweep.running.watchdog import watched

def forward():
    time.sleep(60)

def run_suggestion():
    with watched(Path(sys.argv[1]), 1.0) as reset_clock:
        reset_clock()
        time.sleep(0.6)
        reset_clock()
        time.sleep(0.6)
        print("alive", flush=True)
        forward()

threading.Thread(target=run_suggestion).start()
time.sleep(60)
"""


def test_a_hang_ends_the_process_and_is_named(tmp_path):
    """The clock starts anew at every reset; the reason is the innermost place of the trial's thread."""
    note = watch_path(tmp_path, "t0003")
    done = subprocess.run([sys.executable, "-c", HANGS, note], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "alive\n"
    assert lost_reason(tmp_path, "t0003") == (
        "it hung: no epoch ended within faults.trial_minutes; it was at <string>, line 7 in forward"
    )
    assert not note.exists()
    assert lost_reason(tmp_path, "t0003") == "its worker process was lost (killed, or out of memory)"


def test_what_ends_in_time_leaves_nothing(tmp_path):
    """The clock is off afterwards, after an error too, and without a limit there is none."""
    note = tmp_path / "checkpoints" / "note"
    with watched(note, 0.2) as reset_clock:
        reset_clock()
        assert note.exists()
    assert not note.exists()
    with watched(note, None) as reset_clock:
        reset_clock()
        assert not note.exists()
    time.sleep(0.3)
