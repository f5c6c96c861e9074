"""Machines on one box, real enough for a real `ray up`: namespaces, a copied-on-write root, sshd, a bridge.

It runs inside a network, mount and process namespace of its own (`tests/cluster/run` makes it): "the laptop".
Nothing of it is seen outside, and all of it is gone when that namespace ends.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Self, TypeVar

SHARED = Path("/mnt/shared")
"""The one folder that the laptop and all machines share, as by NFS."""

T = TypeVar("T")


PATIENCE = 300.0
"""Seconds after which a wait has failed; ten times what a quiet machine takes."""


def until(what: str, check: Callable[[], T], limit: float = PATIENCE) -> T:
    """Return the first true answer of `check`; fail after `limit` seconds with what was waited for."""
    end = time.monotonic() + limit
    while not (answer := check()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit:.0f} s in vain for {what}")
        time.sleep(0.3)
    return answer


@dataclass(slots=True)
class Machine:
    """A machine: its disk outlives its power."""

    address: str
    """Where it is reached."""
    disk: Path
    """What it has written."""
    cable: str
    """Its end of the bridge."""
    log: Path
    """What its first process said."""
    process: subprocess.Popen[bytes] | None = None
    """What holds its namespaces; none when it is off."""

    def first(self) -> str:
        """Return the id of its process 1, or "" before there is one."""
        assert self.process
        return Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().strip()


class Rack:
    """A bridge and the machines on it, by address."""

    def __init__(
        self, folder: Path, gateway: str, seen: Iterable[str | Path], environment: Mapping[str, str]
    ) -> None:
        """Describe a rack.

        Args:
            folder: for disks, logs and the ssh key; on a file system that may hold overlays.
            gateway: the laptop's own address and prefix on the bridge.
            seen: folders of this box that every machine has a copy of.
            environment: variables that every machine's image sets.
        """
        self.folder = folder
        self.gateway = IPv4Interface(gateway)
        self.key = folder / "key"
        self.machines: dict[str, Machine] = {}
        self._seen = [str(path) for path in seen]
        self._environment = dict(environment)

    def __enter__(self) -> Self:
        """Make the bridge and the key."""
        self.folder.mkdir(parents=True)
        SHARED.mkdir(exist_ok=True)
        _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        _do("ip", "link", "set", "lo", "up")
        _do("ip", "link", "add", "bridge", "type", "bridge")
        _do("ip", "address", "add", self.gateway, "dev", "bridge")
        _do("ip", "link", "set", "bridge", "up")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Power everything off; after an error, print what the head's autoscaler did last."""
        if kind and self.machines:
            with suppress(subprocess.TimeoutExpired):
                tail = "tail -n 30 /tmp/ray/session_latest/logs/monitor.log"
                print(self.ssh(next(iter(self.machines)), tail, status=None))  # noqa: T201 - the disks go next
        for address, machine in self.machines.items():
            if machine.process:
                self.off(address)
        _do("ip", "link", "del", "bridge")
        shutil.rmtree(self.folder)

    def on(self, address: str) -> None:
        """Power a machine on and wait for its sshd; one that was there before has its disk still."""
        number = len(self.machines)
        name = f"m{number}"
        fresh = Machine(address, self.folder / name, f"cable{number}", self.folder / f"{name}.log")
        machine = self.machines.setdefault(address, fresh)
        name = machine.disk.name
        home = machine.disk / "home"
        home.mkdir(parents=True, exist_ok=True)
        if not (home / ".bashrc").exists():
            lines = [f"export {key}={value}\n" for key, value in self._environment.items()]
            (home / ".bashrc").write_text("".join(lines))
        script = Path(__file__).with_name("machine.sh")
        arguments = [machine.disk, f"{address}/{self.gateway.network.prefixlen}", f"{self.key}.pub", SHARED]
        boot = f"hostname {name}; exec {script} {' '.join(map(str, [*arguments, *self._seen]))}"
        spaces = ["--net", "--mount", "--pid", "--uts", "--ipc"]
        with machine.log.open("a") as log:
            machine.process = subprocess.Popen(
                ["unshare", *spaces, "--fork", "--kill-child", "bash", "-c", boot],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        first = until(f"the first process of {name}", machine.first, 20)
        # A MAC address of its own for good: one that comes back is not lost to its neighbours' ARP caches.
        mac = IPv4Address(address).packed.hex(":")
        end = ["peer", "name", "eth0", "address", f"02:00:{mac}", "netns", first]
        _do("ip", "link", "add", machine.cable, "type", "veth", *end)
        _do("ip", "link", "set", machine.cable, "master", "bridge", "up")
        try:
            until(f"sshd of {name} at {address}", lambda: _answers(address), 30)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{machine.log.read_text()}") from None

    def off(self, address: str) -> None:
        """Cut a machine's power; its cable goes first, so that nobody is told."""
        machine = self.machines[address]
        self.cut(address)
        assert machine.process
        os.kill(int(machine.first()), signal.SIGKILL)
        machine.process.wait(20)
        machine.process = None
        # Gone with its other end, if the kernel has come to it.
        subprocess.run(["ip", "link", "del", machine.cable], check=False, capture_output=True)

    def cut(self, address: str) -> None:
        """Pull a machine's cable."""
        _do("ip", "link", "set", self.machines[address].cable, "down")

    def mend(self, address: str) -> None:
        """Plug a machine's cable in again."""
        _do("ip", "link", "set", self.machines[address].cable, "up")

    def ssh(self, address: str, command: str, *, status: int | None = 0) -> str:
        """Return what a command says on a machine, errors included; fail unless it ends with that status."""
        options = ["-q", "-i", str(self.key), "-o", "StrictHostKeyChecking=no"]
        target = ["-o", "UserKnownHostsFile=/dev/null", f"root@{address}", command]
        done = subprocess.run(
            ["ssh", *options, *target],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert status in (None, done.returncode), f"{command}: status {done.returncode}\n{done.stdout}"
        return done.stdout


def _do(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
