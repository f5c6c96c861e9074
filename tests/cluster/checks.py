"""What is asked of a cluster and of a store, whichever the provider."""

import re
from pathlib import Path

from cluster.rack import PATIENCE, Rack

from sweep.errors import StoreError
from sweep.store.read import open_store

TOKEN = "~/.ray/auth_token"
COUNT = """
import sys, time, ray
ray.init(address="auto", log_to_driver=False, logging_level=40)
wanted, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while (alive := sum(node["Alive"] for node in ray.nodes())) != wanted and time.monotonic() < end:
    time.sleep(0.5)
print("nodes alive:", alive)
"""
ASK = """
import sys, urllib.error, urllib.request
for headers in ({}, {"Authorization": "Bearer wrong"}):
    request = urllib.request.Request(sys.argv[1], headers=headers)
    try:
        print(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code)
    except urllib.error.URLError as error:
        print(type(error.reason).__name__)
"""
PUBLIC = {
    "sshd": "the way in",
    "gcs_server": "6379, asks for the token",
    "raylet": "node and object manager, ask for the token",
    "ray::DashboardA": "the agent: 52365 and its gRPC ask for the token; metrics are open",
    "ray::RuntimeEnv": "asks for the token",
    "python": "the head's 10001 (Ray Client, asks for the token), 44217 and 44227 (metrics, open)",
    "ray::": "workers, ask for the token",
    "sweep": "the driver, asks for the token",
}
"""Programs that listen for everybody, by the beginning of their names; Ray 2.60 cannot be told otherwise."""


def nodes_from_inside(rack: Rack, head: str, wanted: int) -> None:
    """Wait on the head until Ray itself counts that many nodes; the launcher's word is not taken for it."""
    limit = 0.9 * PATIENCE
    said = rack.ssh(head, f"python -c '{COUNT}' {wanted} {limit}")
    assert f"nodes alive: {wanted}\n" in said, f"not {wanted} nodes after {limit:.0f} s:\n{said}"


def a_stranger_is_refused(rack: Rack, head: str, stranger: str) -> None:
    """A machine on the same network but without the token gets nowhere: jobs API, GCS, as a worker."""
    ask = f"python -c '{ASK}'"
    refused = ["ConnectionRefusedError"] * 2
    assert rack.ssh(stranger, f"{ask} http://{head}:8265/api/jobs/").split() == refused
    assert rack.ssh(head, f"{ask} http://127.0.0.1:8265/api/jobs/").split() == ["401", "403"]
    assert rack.ssh(stranger, f"{ask} http://{head}:52365/api/job_agent/jobs/").split() == ["401", "403"]
    for command in ("status", "start"):
        said = rack.ssh(stranger, f"ray {command} --address={head}:6379", status=1)
        assert "AuthenticationError" in said, said
    rack.ssh(stranger, f"mkdir .ray && echo {'0' * 64} > {TOKEN}")
    said = rack.ssh(stranger, f"RAY_AUTH_MODE=token ray status --address={head}:6379", status=1)
    assert "AuthenticationError" in said, said


def secrets_are_kept(rack: Rack, address: str) -> None:
    """The token is its owner's alone and in no command line; only known programs listen for everybody."""
    # Files and processes of a sweep that runs come and go while they are read.
    search = f"find /root /tmp -xdev -type f -exec grep -lF -f {TOKEN} {{}} + 2>/dev/null"
    found = rack.ssh(address, f"{search} | xargs stat -c '%a %n'")
    assert found == "600 /root/.ray/auth_token\n", found
    lines = f"cat /proc/[0-9]*/cmdline 2>/dev/null | grep -caF -f {TOKEN}"
    assert (said := rack.ssh(address, lines, status=1)) == "0\n", said
    for line in rack.ssh(address, "ss -Hltnp").splitlines():
        where, program = line.split()[3], re.findall(r'\(\("([^"]+)"', line)[0]
        if not re.match(r"127\.|\[::1\]|\[::ffff:127\.", where):
            assert program.startswith(tuple(PUBLIC)), line
            assert not where.endswith(":8265"), line


def all_trials_completed(results: str | Path, trials: int) -> None:
    """Every trial is there once, completed, and no settings were run under two names."""
    last = open_store(results).latest_trials().collect()
    assert last["status"].to_list() == ["completed"] * trials
    assert last["trial_id"].n_unique() == last["config_id"].n_unique() == trials
    ended = open_store(results).trials().filter(status="completed").collect()
    assert ended.height == trials


def completed(results: str | Path) -> int:
    """Return how many trials have completed; none where there is no store yet."""
    try:
        return open_store(results).latest_trials().filter(status="completed").collect().height
    except StoreError:
        return 0
