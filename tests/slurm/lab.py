"""A Slurm of two nodes on one machine: its real daemons, each node a slurmd under another name."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

CONFIG = """
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=10
KillWait=15
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP
"""
NODES = ("n1", "n2")


class Slurm:
    """The daemons, and what tests ask of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = folder / "slurm.conf"
        (folder / "state").mkdir(parents=True)
        config.write_text(CONFIG.format(folder=folder, host=socket.gethostname().partition(".")[0]))
        os.environ["SLURM_CONF"] = str(config)
        if not Path("/run/munge/munge.socket.2").exists() or self.run("munge", "-n", check=False)[0]:
            _start_munge()
        self.run("slurmctld", "-f", config)
        for node in NODES:
            self.run("slurmd", "-f", config, "-N", node)
        self.until(lambda: self.run("sinfo", "-h", "-o", "%t")[1].split() == ["idle"], 30, "idle nodes")

    def stop(self) -> None:
        """End the daemons."""
        for file in self.folder.glob("*.pid"):
            self.run("kill", file.read_text().strip(), check=False)

    def kill_node(self, node: str) -> None:
        """Kill a node's daemon and all that runs in its job steps, as a power cut would."""
        daemon = int((self.folder / f"slurmd-{node}.pid").read_text())
        pids = {daemon, *_below([p for p in _processes() if f"-N {node}" in _words(p)])}
        # A step's daemon is no child of slurmd; it names itself by the job, and its children by their node.
        pids |= {p for p in _processes() if f"SLURMD_NODENAME={node}" in _environment(p)}
        for pid in pids - {os.getpid()}:
            self.run("kill", "-KILL", pid, check=False)

    def run(self, *words: object, check: bool = True, seconds: float = 60) -> tuple[int, str]:
        """Return the status and the output of a command."""
        done = subprocess.run(
            [str(w) for w in words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}"
        return done.returncode, done.stdout

    def state(self, job: str) -> str:
        """Return a job's state, as PENDING, RUNNING or COMPLETED."""
        shown = self.run("scontrol", "show", "job", job)[1]
        return shown.partition("JobState=")[2].split()[0]

    def until(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until something is true."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"no {what} within {seconds} s"
            time.sleep(0.5)


def left(job: str) -> list[str]:
    """Return what is left of a job's Ray: processes and its temporary folder."""
    folder = f"/tmp/ray-{job}"
    return [
        *(words for p in _processes() if folder + "/" in (words := _words(p))),
        *([folder] if Path(folder).exists() else []),
    ]


def _start_munge() -> None:
    key, sockets = Path("/etc/munge/munge.key"), Path("/run/munge")
    sockets.mkdir(exist_ok=True)
    if not key.exists():
        key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for path in (key, sockets, Path("/var/log/munge"), Path("/var/lib/munge")):
        shutil.chown(path, "munge", "munge")
    subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", "/usr/sbin/munged --force"], check=True)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""


def _words(pid: int) -> str:
    return _read(pid, "cmdline")


def _environment(pid: int) -> str:
    return _read(pid, "environ")


def _below(pids: list[int]) -> list[int]:
    """Return processes and all their descendants."""
    parents = {p: int(stat.rpartition(")")[2].split()[1]) for p in _processes() if (stat := _read(p, "stat"))}
    found = list(pids)
    for pid in found:
        found += [p for p, parent in parents.items() if parent == pid]
    return found
