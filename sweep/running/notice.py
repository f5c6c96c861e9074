"""Learns from EC2 that it takes this spot machine back, some two minutes before it does.

Only the machine itself is told in time, by its instance metadata service (version 2): `spot/instance-action`
is there once the notice is given (Amazon EC2 User Guide, "Spot Instance interruption notices").
"""

import http.client
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

SECONDS = 5.0
"""How often the machine is asked, as the EC2 guide advises."""
_PATIENCE = 2.0
_ADDRESS = "http://169.254.169.254"


@contextmanager
def reclaim_notice(seconds: float = SECONDS) -> Iterator[Callable[[], bool]]:
    """Give what tells whether this machine has been told that it is taken back.

    A thread asks as long as the context lasts; only once where no such service answers, and not at all where
    AWS_EC2_METADATA_DISABLED is "true". As for AWS's own tools, AWS_EC2_METADATA_SERVICE_ENDPOINT names
    another address.

    Args:
        seconds: how often the machine is asked.
    """
    given, ended = threading.Event(), threading.Event()
    host = urlsplit(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _ADDRESS)).netloc

    def ask() -> None:
        answered = False
        while not given.is_set():
            try:
                if _is_reclaimed(host):
                    given.set()
                answered = True
            except (OSError, http.client.HTTPException):
                if not answered:
                    return
            if ended.wait(seconds):
                return

    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true":
        threading.Thread(target=ask, name="reclaim-notice", daemon=True).start()
    try:
        yield given.is_set
    finally:
        ended.set()


def _is_reclaimed(host: str) -> bool:
    """Ask the service once.

    Raises:
        OSError: it cannot be reached, or is another service.
        HTTPException: it does not speak HTTP.
    """
    # Without a proxy: the address is one of the machine's own.
    with closing(http.client.HTTPConnection(host, timeout=_PATIENCE)) as service:
        life = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        status, token = _ask(service, "PUT", "/latest/api/token", life)
        if status != http.HTTPStatus.OK:
            raise OSError(f"{host} is not EC2's metadata service")
        key = {"X-aws-ec2-metadata-token": token}
        status, _ = _ask(service, "GET", "/latest/meta-data/spot/instance-action", key)
    return status == http.HTTPStatus.OK


def _ask(
    service: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]
) -> tuple[int, str]:
    """Return the status and the text of an answer."""
    service.request(method, path, headers=headers)
    answer = service.getresponse()
    return answer.status, answer.read().decode("ascii", "replace").strip()
