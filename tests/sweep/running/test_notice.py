"""The notice of a spot machine that is taken back, from a metadata service of the test's own."""

import threading
import time

import pytest
from metadata_service import metadata_at

from sweep.running import notice
from sweep.running.notice import reclaim_notice


@pytest.fixture
def metadata(monkeypatch):
    """Run the service at an address that the environment names."""
    with metadata_at("127.0.0.1", 0) as server:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        yield server


def until(true):
    """Wait until this is true."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_notice_is_seen_once_it_is_given(metadata):
    """Before, the service answers that there is none; a busy service in between changes nothing."""
    with reclaim_notice(0.01) as leaving:
        until(lambda: metadata.asked > 2)
        assert not leaving()
        metadata.busy = True
        seen = metadata.asked
        until(lambda: metadata.asked > seen + 2)
        metadata.busy = False
        metadata.warned.add("127.0.0.1")
        until(leaving)
    assert leaving()


def test_nobody_is_asked_after_the_trial(metadata):
    """The thread ends with it."""
    with reclaim_notice(0.01):
        until(lambda: metadata.asked)
    until(lambda: all(thread.name != "reclaim-notice" for thread in threading.enumerate()))


@pytest.mark.parametrize("variable", ["TRUE", "true"])
def test_users_may_forbid_to_ask(metadata, monkeypatch, variable):
    """By the variable that forbids it to AWS's own tools."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", variable)
    with reclaim_notice(0.01) as leaving:
        assert all(thread.name != "reclaim-notice" for thread in threading.enumerate())
        assert not leaving()
    assert metadata.asked == 0


def test_another_service_is_left_alone(metadata):
    """Some other cloud's machine is asked once and no more."""
    metadata.busy = True
    with reclaim_notice(0.01) as leaving:
        until(lambda: metadata.asked)
        until(lambda: all(thread.name != "reclaim-notice" for thread in threading.enumerate()))
        assert not leaving()
    assert metadata.asked == 1


def test_no_service_at_all(monkeypatch):
    """On a machine of one's own nobody answers, and that is no fault."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    for address in ("http://127.0.0.1:1", "no address"):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
        with reclaim_notice(0.01) as leaving:
            until(lambda: all(thread.name != "reclaim-notice" for thread in threading.enumerate()))
            assert not leaving()


def test_the_address_is_that_of_ec2(monkeypatch):
    """Without the variable it is the one that the guide names."""
    asked = []
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
    monkeypatch.delenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", raising=False)
    monkeypatch.setattr(notice, "_is_reclaimed", lambda host: asked.append(host) or True)
    with reclaim_notice() as leaving:
        until(leaving)
    assert asked == ["169.254.169.254"]
