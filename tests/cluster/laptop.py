"""The laptop of the rack: runs the commands a user runs, with a home of its own, and keeps what they said."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cluster.rack import PATIENCE

ROOT = Path(__file__).parents[2]
SWEEP = "tests/cluster/sweep.yaml"
# Data and classifiers are built once, where the project keeps them; each machine gets a copy on write.
CACHE = Path(os.environ.get("MOPOE_CACHE") or Path.home() / ".cache" / "mopoe")
# The launcher and the autoscaler look every five seconds by default, and mostly sleep in between.
HASTE = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "AUTOSCALER_NODE_SSH_INTERVAL_S": "1"}
IMAGE = HASTE | {
    "PATH": f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "MOPOE_CACHE": CACHE,
    "RAY_USAGE_STATS_ENABLED": 0,
    # Ray runs workers at niceness 15: beside a busy test suite they would starve.
    "RAY_worker_niceness": 0,
    # Nor does each machine start as many idle workers as this box has cores for every driver that comes.
    "RAY_prestart_worker_first_driver": 0,
    # A silent death is seen in seconds; with Ray's defaults it takes about a minute.
    "RAY_health_check_period_ms": 1000,
    "RAY_health_check_timeout_ms": 3000,
    "RAY_health_check_failure_threshold": 5,
    "AUTOSCALER_HEARTBEAT_TIMEOUT_S": 15,
}
"""What the environment of every machine holds."""
SEEN = [sys.base_prefix, sys.prefix, CACHE]
"""The folders of this box that every machine has."""
INSTALL = f"echo ~/mopoe-sweep > {sys.prefix}/lib/python3.11/site-packages/_editable_impl_mopoe_sweep.pth"
"""Stands for the set-up's `pip install`: machines have no way to an index, and all else is in their image."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A command that runs beside the test."""

    words: tuple[str, ...]
    """What was typed."""
    process: subprocess.Popen[bytes]
    """The process."""
    log: Path
    """What it has said."""

    def end(self, limit: float = PATIENCE, *, status: int | None = 0) -> str:
        """Wait for its end and return what it said; fail unless it ends in time, with that status."""
        try:
            found = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} took longer than {limit:.0f} s:\n{self.said}") from None
        assert status in (None, found), f"{self.name} ended with status {found}:\n{self.said}"
        return self.said

    @property
    def said(self) -> str:
        """What it has said until now."""
        return self.log.read_text(errors="replace")

    @property
    def name(self) -> str:
        """What was typed, as one line."""
        return " ".join(self.words)


class Laptop:
    """A home folder, an environment, and a clock for the steps of a scenario."""

    def __init__(self, folder: Path) -> None:
        """Give it a folder for its home, its temporary files and the logs of its commands."""
        self.home = folder / "home"
        self.logs = folder / "logs"
        self.environment = {
            **os.environ,
            **HASTE,
            "HOME": str(self.home),
            "TMPDIR": str(folder / "tmp"),  # the launcher keeps a local cluster's state there
            "RAY_TMPDIR": str(folder / "tmp"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        for path in (self.home, self.logs, folder / "tmp"):
            path.mkdir(parents=True)
        self._began = time.monotonic()

    def say(self, what: str) -> None:
        """Print a step with its time since the beginning."""
        print(f"{time.monotonic() - self._began:5.0f} s  {what}", flush=True)  # noqa: T201 - the test is minutes long

    def tell(self) -> None:
        """Print the end of what every command said."""
        for log in sorted(self.logs.iterdir()):
            self.say("\n".join([log.name, *log.read_text(errors="replace").splitlines()[-20:]]))

    def begin(self, *words: object) -> Begun:
        """Start a command in the project's folder."""
        typed = tuple(map(str, words))
        log = self.logs / f"{len(list(self.logs.iterdir())):02} {Path(typed[0]).name} {typed[1]}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                typed,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self.environment,
            )
        return Begun(typed, process, log)

    def run(self, *words: object, status: int | None = 0) -> str:
        """Run a command to its end and return what it said; fail unless it ends in time, with that status."""
        said = self.begin(*words).end(status=status)
        self.say(" ".join(Path(str(word)).name for word in words[:3]))
        return said

    def cluster_file(self, shipped: str, **replaced: Any) -> Path:
        """Write a shipped cluster file to the home folder, with addresses, image and `pip install` replaced.

        A key is a path, as in `provider__head_ip`; a mapping replaces what it names and leaves the rest.
        """
        document = yaml.safe_load((ROOT / shipped).read_text(encoding="utf-8"))
        for path, value in replaced.items():
            *above, last = path.split("__")
            node = document
            for name in above:
                node = node[name]
            node[last] = {**node[last], **value} if isinstance(value, dict) else value
        commands = document["setup_commands"]
        (installed,) = [number for number, command in enumerate(commands) if "pip install" in command]
        commands[installed] = INSTALL
        document.pop("docker", None)  # the machines are what its containers would be
        file = self.home / shipped
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        return file
