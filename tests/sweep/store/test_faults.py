"""An object store that fails: errors, lost answers, cut connections, delays; and writers that are killed."""

import os
import random
import re
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest
from s3_server import Proxy, at_random, proxied

from sweep.errors import StoreError
from sweep.store.files import Files, files_at
from sweep.store.layout import WRITTEN
from sweep.store.maintenance import compact
from sweep.store.read import Store, open_store
from sweep.store.write import StoreWriter
from sweep.verify import problems

FAULTS = ("500", "lost", "drop", "slow")


@pytest.fixture
def proxy(s3_server, s3, monkeypatch):
    """Stand between this process and the server."""
    with proxied(s3_server) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.address)
        yield found


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_outlived(proxy: Proxy, s3, make_record, make_manifest, fault):
    """With every sixth request failing trials are written, read and compacted; faults did happen."""
    proxy.fault = lambda method, path: fault if len(proxy.seen) % 6 == 2 else ""
    writer, store = StoreWriter(s3), Store(s3)
    writer.write_manifest(make_manifest())
    for i in range(3):
        writer.write_trial(make_record(f"t{i}"))
    names = [f"t{i}" for i in range(3)]
    assert store.latest_trials().collect()["trial_id"].to_list() == names
    assert compact(store)["trials"] == (3, 1)
    assert open_store(s3).latest_trials().collect()["trial_id"].to_list() == names
    assert sum(found == fault for _, _, found in proxy.seen) > 5


def test_what_was_acknowledged_is_there(proxy: Proxy, s3, make_record):
    """Four writers at once under a third of faults: each write that returned is read, none is half."""
    proxy.fault = at_random(0, 1 / 3, ("500", "lost", "drop"))

    def write(me: int) -> list[str]:
        writer = StoreWriter(s3)
        names = [f"w{me}x{i}" for i in range(5)]
        for name in names:
            writer.write_trial(make_record(name))
        return names

    with ThreadPoolExecutor(4) as pool:
        acknowledged = {name for names in pool.map(write, range(4)) for name in names}
    proxy.fault = lambda method, path: ""
    found = Store(s3).trials().collect()["trial_id"]
    assert sorted(found) == sorted(acknowledged)


def test_store_that_stays_away_is_one_sentence(proxy: Proxy, s3, make_sweep, make_record):
    """After the retries each operation ends in one sentence with the address, and nothing was stored."""
    store = Store(make_sweep(s3))
    frame, before = store.epochs(), store.files.list("trials")
    name = store.names("epochs")[0]
    proxy.fault = lambda method, path: "500"
    operations = {
        f"cannot write {s3}/trials/t00-0-running-x[0-9a-f]{{8}}.parquet": lambda: StoreWriter(s3).write_trial(
            make_record()
        ),
        f"cannot list {s3}/trials": store.trials,
        f"cannot read {s3}/{name}": lambda: store.files.open(name),
        f"cannot delete {s3}/{name}": lambda: store.files.delete(name),
        f"cannot list {s3}": store.files.empty,
        f"cannot read {store.files}": frame.collect,
    }

    def message(operation) -> str:
        with pytest.raises(StoreError) as error:
            operation()
        return str(error.value)

    with ThreadPoolExecutor(len(operations)) as pool:  # each asks for six seconds
        found = list(pool.map(message, operations.values()))
    for expected, text in zip(operations, found, strict=True):
        assert re.fullmatch(rf"{expected}: AWS Error .*", text), text
        assert "\n" not in text
    proxy.fault = lambda method, path: ""
    assert store.files.list("trials") == before


# Each writer does what a trial does, and says what was written once it is.
WRITER = """
    import pyarrow.dataset  # what a first write would import: a writer has a tenth of a second
    import os, sys
    from datetime import UTC, datetime
    from mopoe.config import TrialConfig
    from mopoe.reports import EpochReport
    from sweep.store.records import TrialRecord
    from sweep.store.write import StoreWriter

    def trial(root, number, say):
        config = TrialConfig(epochs=400, seed=number)
        writer, name = StoreWriter(root), f"t{number:04}"
        writer.write_trial(TrialRecord(
            trial_id=name, config_id=config.config_id, seed=number, status="running", epochs=0,
            epochs_max=400, started_at=datetime.now(UTC), config_json=config.to_json()))
        say(f"{name} 0")
        for epoch in range(1, 401):
            writer.write_reports(name, 0, [EpochReport(
                epoch=epoch, step=epoch, examples=epoch, seconds=1.0, loss=float(epoch), elbo=1.0,
                reconstruction={"m0": 1.0, "m1": 1.0}, kl=1.0, lr=1.0, grad_norm=1.0, evaluation=None,
            )], ("m0", "m1"))
            say(f"{name} {epoch}")

    # One process imports, its children write: two hundred starts of Python take minutes.
    for line in sys.stdin:
        number = int(line)
        if pid := os.fork():
            os.write(1, f"pid {number} {pid}\\n".encode())
        else:
            trial(sys.argv[1], number, lambda text: os.write(1, f"{text}\\n".encode()))
            os._exit(0)
"""


@pytest.mark.slow
def test_200_writers_killed_at_random(tmp_path, make_sweep, make_manifest):
    """SIGKILL at any moment: verify finds the half files alone, what was acknowledged is there once."""
    root, rng = tmp_path / "x", random.Random(0)
    StoreWriter(root).write_manifest(make_manifest(("m0", "m1")))
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(root)]
    acknowledged: set[tuple[str, int]] = set()
    killed = 0
    for batch in ([*range(200)], [*range(0, 200, 10)]):  # then twenty of them again, under the same names
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipe) as parent:
            assert parent.stdin is not None
            assert parent.stdout is not None
            timers, left = [], set(batch)
            for number in batch[:8]:
                parent.stdin.write(f"{number}\n")
                parent.stdin.flush()
            waiting = iter(batch[8:])
            for line in parent.stdout:
                what = line.split()
                if what[0] == "pid":
                    timers.append(threading.Timer(rng.uniform(0, 0.1), os.kill, (int(what[2]), 9)))
                    timers[-1].start()
                    killed += 1
                    left.discard(int(what[1]))
                    number = next(waiting, None)
                    if number is None and not left:
                        parent.stdin.close()
                    elif number is not None:
                        timers[-1].join()
                        parent.stdin.write(f"{number}\n")
                        parent.stdin.flush()
                else:
                    acknowledged.add((what[0], int(what[1])))
    assert killed == 220
    store = open_store(root)
    halves = store.files.leftovers(WRITTEN)
    assert halves, "no writer was killed while it wrote a file: the test tests nothing"
    left = "is left over from an interrupted write; the next `sweep run` deletes it"
    assert sorted(problems(store)) == sorted(f"{path} {left}" for path in halves)
    epochs = store.epochs().select("trial_id", "epoch", "loss").collect()
    found = set(epochs.select("trial_id", "epoch").iter_rows())
    found |= {(name, 0) for name in store.trials().collect()["trial_id"]}
    assert acknowledged <= found
    assert len(acknowledged) > 200
    assert epochs.select("trial_id", "epoch").is_unique().all()
    assert epochs.filter(pl.col("epoch") != pl.col("loss")).is_empty()


def test_a_store_that_keeps_bytes_as_they_are_sent_is_refused(s3, make_manifest, monkeypatch):
    """As a server that takes the checksums of today's clients for content; said before the first trial."""
    put = Files.put

    def kept(self, name, write):
        def framed(file):
            file.write(b"7b\r\n")
            write(file)
            file.write(b"\r\n0\r\nx-amz-checksum-crc64nvme:AAAA")

        put(self, name, framed)

    monkeypatch.setattr(Files, "put", kept)
    with pytest.raises(StoreError) as error:
        StoreWriter(s3).write_manifest(make_manifest())
    assert str(error.value) == (
        f"{s3} returns other bytes than were sent: its server stores the checksums of current clients as "
        "content; set AWS_REQUEST_CHECKSUM_CALCULATION=when_required and "
        "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required"
    )
    assert Files.list(files_at(s3)) == {}
