"""One driver a results folder, by whatever path, user or machine it comes; and what it finds on a store."""

import json
import os
import re
import signal
import threading
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from sweep.errors import StoreError
from sweep.store import lease as module
from sweep.store.files import files_at
from sweep.store.lease import EXPIRES, LEASE, Lease, driving, holder


@pytest.fixture(params=["folder", "s3"])
def files(request, tmp_path):
    """An empty results folder."""
    return files_at(tmp_path / "r" if request.param == "folder" else request.getfixturevalue("s3"))


def leave(files, **changes):
    """Leave the lease of another machine, renewed a moment ago, or what the changes say."""
    other = replace(Lease.of_this_process(), host="elsewhere", pid=7, **changes)
    with module._guard(files):
        files.put(LEASE, lambda file: file.write(json.dumps(asdict(other)).encode()))
    return other


def ago(seconds):
    """Return a time in the past, as a lease has it."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


def test_a_held_folder_is_refused_with_how_to_break_it(files):
    """The sentence names the process, its machine and the file to delete; afterwards the folder is free."""
    with driving(files):
        assert holder(files).pid == os.getpid()
        assert files.list() == {}
        assert files.empty()
        with pytest.raises(StoreError) as error, driving(files):
            pass
        assert re.fullmatch(
            rf"{re.escape(str(files))}: process {os.getpid()} on \S+ has been running this sweep since \S+; "
            rf"`sweep watch` shows its progress. If it is gone, delete {re.escape(str(files))}/\.lease\.json"
            ", or wait 90 s",
            str(error.value),
        )
    assert holder(files) is None
    with driving(files):
        pass


def test_a_lease_is_of_the_folder_and_not_of_its_path(tmp_path):
    """Through a symbolic link, or from a parent that is one."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with (
        driving(files_at(tmp_path / "real" / "r")),
        pytest.raises(StoreError, match="has been running this sweep since"),
        driving(files_at(tmp_path / "link" / "r")),
    ):
        pass


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"renewed": EXPIRES - 30}, True),
        ({"renewed": EXPIRES + 1}, False),
        ({"job": "12", "restarts": 0}, False),
        ({"job": "12", "restarts": 1}, True),
        ({"job": "11", "restarts": 0}, True),
    ],
)
def test_a_lease_of_another_machine_holds_until_it_expires(files, monkeypatch, changes, holds):
    """One of the same scheduler's job is void at once after the job was requeued: its node is lost."""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    if "renewed" in changes:
        changes = {"renewed": ago(changes["renewed"])}
    other = leave(files, **{"job": None, "restarts": 0} | changes)
    assert (holder(files) == other) is holds
    if holds:
        with (
            pytest.raises(StoreError, match="process 7 on elsewhere has been running this sweep"),
            driving(files),
        ):
            pass
    else:
        with driving(files):
            assert holder(files).pid == os.getpid()


def test_a_lease_of_a_process_that_is_gone_is_void_at_once(files):
    """As after a kill: the next run on the same machine need not wait."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    leave(files)
    gone = replace(Lease.of_this_process(), pid=child)
    files.put(LEASE, lambda file: file.write(json.dumps(asdict(gone)).encode()))
    assert holder(files) is None
    with driving(files):
        assert holder(files).pid == os.getpid()


@pytest.mark.parametrize("foreground", [True, False])
def test_a_driver_renews_its_lease_and_stops_when_another_has_taken_over(files, monkeypatch, foreground):
    """As after Ctrl-C, in whatever it waits, also in a shell's background, where Ctrl-C is ignored.

    A store that is away for a while is no reason to stop.
    """

    def away(_):
        raise StoreError("away")

    def drive():
        with driving(files):
            first, read = holder(files), module._Place.read
            monkeypatch.setattr(module._Place, "read", away)
            time.sleep(0.3)
            monkeypatch.setattr(module._Place, "read", read)
            time.sleep(1.5)  # whole seconds are written
            assert holder(files).renewed > first.renewed
            assert holder(files).token == first.token
            leave(files)
            time.sleep(60)

    began = time.monotonic()
    monkeypatch.setattr(module, "RENEWED", 0.05)
    handlers = {
        signal.SIGINT: signal.default_int_handler if foreground else signal.SIG_IGN,
        signal.SIGTERM: signal.SIG_DFL if foreground else signal.default_int_handler,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with pytest.raises(KeyboardInterrupt):
            drive()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert time.monotonic() - began < 30
    assert holder(files).host == "elsewhere"


def test_of_two_that_look_at_once_one_takes_hold(files):
    """On a store by what was there when it looked, in a folder by a lock."""
    taken, start = [], threading.Barrier(6)

    def drive():
        start.wait()
        try:
            with driving(files):
                taken.append(1)
                time.sleep(1.5)
        except StoreError:
            pass

    threads = [threading.Thread(target=drive) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"token": "a"}', '{"token": 1}', '"x"', "null", "\xff"], ids=repr
)
def test_a_damaged_lease_is_one_sentence(tmp_path, text):
    """With what to do about it."""
    files = files_at(tmp_path)
    files.put(LEASE, lambda file: file.write(text.encode("latin-1")))
    with pytest.raises(StoreError) as error, driving(files):
        pass
    assert str(error.value) == f"{tmp_path}/.lease.json is damaged; delete it if no driver runs this sweep"
    odd = asdict(Lease.of_this_process()) | {"pid": "7", "renewed": "yesterday"}
    files.put(LEASE, lambda file: file.write(json.dumps(odd).encode()))
    with pytest.raises(StoreError, match="is damaged; delete it"):
        holder(files)


def test_an_s3_that_does_not_respond_is_a_store_error():
    """The thread that renews the lease outlives a StoreError only."""

    class Away:
        exceptions = SimpleNamespace(NoSuchKey=KeyError)

        def get_object(self, **_):
            raise ConnectionError("no route")

        put_object = get_object

    place = module._S3Place(files_at("s3://bucket/r?region=eu-north-1"), Away(), {})
    with pytest.raises(StoreError, match=r"^cannot read s3://bucket/r.*/\.lease\.json: no route"):
        place.read()
    with pytest.raises(StoreError, match=r"^cannot write s3://bucket/r.*/\.lease\.json: no route"):
        place.write(Lease.of_this_process(), None)


def test_other_signals_are_left_as_they_were(tmp_path):
    """A lease takes hold of a folder and of nothing else."""
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with driving(files_at(tmp_path)):
        assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert [p.name for p in tmp_path.iterdir()] in ([], [".lease.lock"])
