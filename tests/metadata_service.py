"""EC2's instance metadata service, version 2, as far as it tells a spot machine that it is taken back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NOTICE = "/latest/meta-data/spot/instance-action"


class Metadata(ThreadingHTTPServer):
    """The service of all machines, which it tells apart by their addresses."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        """Listen there."""
        super().__init__((host, port), self.Handler)
        self.warned: set[str] = set()
        """Addresses of the machines that are taken back."""
        self.busy = False
        """Whether it answers that it is overloaded."""
        self.asked = 0
        """How often a token was asked for."""

    class Handler(BaseHTTPRequestHandler):
        """Answers as the EC2 User Guide writes; only who brings the token."""

        server: "Metadata"

        def do_PUT(self):
            """Give a token."""
            self.server.asked += 1
            lives = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            right = self.path == "/latest/api/token" and lives and not self.server.busy
            self.say(200 if right else 503, b"AQAE-token")

        def do_GET(self):
            """Tell of the notice once there is one."""
            if self.headers.get("X-aws-ec2-metadata-token") != "AQAE-token":
                self.say(401, b"")
            elif self.path == NOTICE and self.client_address[0] in self.server.warned:
                self.say(200, b'{"action": "terminate", "time": "2026-12-01T08:22:00Z"}')
            else:
                self.say(404, b"not found")

        def say(self, status, body):
            """Answer with this."""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""


@contextmanager
def metadata_at(host: str, port: int) -> Iterator[Metadata]:
    """Run the service at an address."""
    with Metadata(host, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
