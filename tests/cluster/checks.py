"""What is asked of a cluster and of a store, whichever the provider."""

import re
from pathlib import Path

from cluster.rack import Rack
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
for token in (None, "wrong"):
    request = urllib.request.Request(sys.argv[1], headers={"Authorization": f"Bearer {token}"} if token else {})
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
}
"""Programs that Ray lets listen for everybody, by the beginning of their names; 2.60 cannot be told otherwise."""


def nodes_from_inside(rack: Rack, head: str, wanted: int, limit: float = 120) -> None:
    """Wait on the head until Ray itself counts that many nodes; the launcher's word is not taken for it."""
    said = rack.ssh(head, f"python -c '{COUNT}' {wanted} {limit}", limit + 60)
    assert f"nodes alive: {wanted}\n" in said, f"not {wanted} nodes after {limit:.0f} s:\n{said}"


def a_stranger_is_refused(rack: Rack, head: str, stranger: str) -> None:
    """A machine on the same network but without the token gets nowhere: jobs API, GCS, as a worker."""
    ask = f"python -c '{ASK}'"
    refused = ["ConnectionRefusedError"] * 2
    assert rack.ssh(stranger, f"{ask} http://{head}:8265/api/jobs/").split() == refused
    assert rack.ssh(head, f"{ask} http://127.0.0.1:8265/api/jobs/").split() == ["401", "403"]
    assert rack.ssh(stranger, f"{ask} http://{head}:52365/api/job_agent/jobs/").split() == ["401", "403"]
    for command in ("status", "start"):
        said = rack.ssh(stranger, f"ray {command} --address={head}:6379", 120, status=1)
        assert "AuthenticationError" in said, said
    said = rack.ssh(stranger, f"mkdir .ray; echo {'0' * 64} > {TOKEN}; ray status --address={head}:6379", status=1)
    assert "AuthenticationError" in said, said


def secrets_are_kept(rack: Rack, address: str) -> None:
    """The token is its owner's alone wherever it lies, and in no command line; only known programs are public."""
    modes = f"grep -rlF -f {TOKEN} /root /tmp 2>/dev/null | xargs stat -c '%a %n'"
    assert rack.ssh(address, modes) == "600 /root/.ray/auth_token\n"
    assert rack.ssh(address, f"cat /proc/[0-9]*/cmdline | grep -caF -f {TOKEN}", status=1) == "0\n"
    for line in rack.ssh(address, "ss -Hltnp").splitlines():
        where, program = line.split()[3], re.findall(r'\(\("([^"]+)"', line)[0]
        if not re.match(r"127\.|\[::1\]|\[::ffff:127\.", where):
            assert program.startswith(tuple(PUBLIC)), line
            assert not where.endswith(":8265"), line


def all_trials_ended(results: str | Path, trials: int) -> None:
    """Every trial is there once, has completed, and none was run under two names."""
    found = open_store(results).trials().collect()
    assert found["trial_id"].n_unique() == found["config_id"].n_unique() == trials
    last = open_store(results).latest_trials().collect()
    assert last.height == trials
    assert last["status"].to_list() == ["completed"] * trials
    assert found.filter(status="completed").height == trials
