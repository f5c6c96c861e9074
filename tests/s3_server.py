"""An S3-compatible server on loopback, and a proxy in front of it that fails as real ones do."""

import http.client
import importlib.util
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

S3_KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "bucket"
_UNFIT = {"host", "connection", "transfer-encoding"}


@contextmanager
def server() -> Iterator[str]:
    """Run moto's server as a process of its own and give its address, with an empty bucket in it."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto is not installed; `make setup` installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=os.environ | S3_KEYS, **quiet) as process:
        try:
            for _ in range(600):
                assert process.poll() is None, "moto's server ended"
                try:
                    status, _, _ = exchange(port, "PUT", f"/{BUCKET}", {}, b"")
                    assert status == 200
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def exchange(
    port: int, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Send a request to loopback and return status, headers and body of the answer."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        link.request(method, path, body, headers)
        answer = link.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        link.close()


class Proxy(ThreadingHTTPServer):
    """Passes requests on, but for those to which `fault` gives a fault; counts what it passed and refused.

    Faults: `500` is not passed on; `lost` is passed on and answered with 500; `drop` closes the connection
    without an answer; `slow` waits half a second.
    """

    daemon_threads = True

    def __init__(self, address: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = int(address.rpartition(":")[2])
        self.fault: Callable[[str, str], str] = lambda method, path: ""
        self.seen: list[tuple[str, str, str]] = []

    @property
    def address(self) -> str:
        """Return the proxy's own address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is what is being tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        fault = self.server.fault(self.command, self.path)
        self.server.seen.append((self.command, self.path, fault))
        body = self._body()
        if fault.startswith("slow"):
            time.sleep(float(fault[4:] or 0.5))
        if fault == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, answer = 500, [], b"<Error><Code>InternalError</Code></Error>"
        if fault != "500":
            given = {k: v for k, v in self.headers.items() if k.lower() not in _UNFIT}
            found = exchange(self.server.target, self.command, self.path, given, body)
            status, headers, answer = found if fault != "lost" else (status, headers, answer)
        self.send_response_only(status)
        length = {k.lower(): v for k, v in headers}.get("content-length")
        for key, value in headers:
            if key.lower() not in {*_UNFIT, "content-length"}:
                self.send_header(key, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass


@contextmanager
def proxied(address: str) -> Iterator[Proxy]:
    """Run a proxy in front of a server."""
    with Proxy(address) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


def at_random(seed: int, share: float, faults: tuple[str, ...]) -> Callable[[str, str], str]:
    """Return what gives one of the faults to a share of the requests."""
    rng, lock = random.Random(seed), threading.Lock()

    def fault(method: str, path: str) -> str:
        with lock:
            return rng.choice(faults) if rng.random() < share else ""

    return fault
