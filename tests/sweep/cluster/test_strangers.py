"""A head that asks for the token: who holds it runs a sweep there, a stranger gets nothing."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from sweep.cluster.file import MAKE_TOKEN

# In namespaces of its own a `ray start` neither meets another Ray nor leaves one behind.
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
INSIDE = """
mount -t tmpfs none /tmp/ray && ip link set lo up && export HOME=$1 && cd $1 || exit 9
umask 022 && eval "$2"
stat -c 'token file %a' ~/.ray/auth_token
RAY_AUTH_MODE=token ray start --head --port=6399 --num-cpus=1 --object-store-memory=80000000 \
    --dashboard-host=127.0.0.1 --node-ip-address=127.0.0.1 > start.log 2>&1 || cat start.log
exec python inside.py
"""
PROGRAM = """
import contextlib, json, os, pathlib, subprocess, sys, urllib.error, urllib.request
from sweep.cluster import jobs
from sweep.errors import ClusterError

@contextlib.contextmanager
def here(cluster):
    yield "http://127.0.0.1:8265"

jobs._tunnel = here
file, shipped = pathlib.Path("c.yaml"), {"a.txt": pathlib.Path("a.txt")}
job = jobs.send(file, "tiny", ["sh", "-c", "cat a.txt; exit 3"], shipped)
said = []
print("status", jobs.follow(file, job, said.append), "shipped" in "".join(said))
print("jobs", [(name == job, str(j.status), j.entrypoint) for name, j in jobs.jobs(file).items()])
print("stopped", jobs.stop(file, job))
def ask(token):
    request = urllib.request.Request("http://127.0.0.1:8265/api/jobs/", headers=token)
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
token = pathlib.Path("~/.ray/auth_token").expanduser().read_text()
bearer = [{}, {"Authorization": "Bearer " + "0" * 64}, {"Authorization": f"Bearer {token}"}]
print("jobs API", *map(ask, bearer))
pathlib.Path("~/.ray/auth_token").expanduser().unlink()
for mode in ("token", "disabled"):
    join = "import ray; ray.init(address='127.0.0.1:6399', log_to_driver=False); print('joined')"
    done = subprocess.run([sys.executable, "-c", join], capture_output=True, text=True, timeout=100,
                          env={**os.environ, "RAY_AUTH_MODE": mode})
    print("stranger", mode, "joined" in done.stdout)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_runs_with_the_token_and_a_stranger_is_refused(tmp_path):
    """The jobs API answers 401 without the token and 403 with a wrong one; no stranger joins the cluster."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare, for namespaces of its own")
    if find_spec("aiohttp") is None:
        pytest.skip("needs the extra `cluster`")
    (tmp_path / "inside.py").write_text(PROGRAM)
    (tmp_path / "a.txt").write_text("shipped\n")
    Path("/tmp/ray").mkdir(exist_ok=True)  # a place to mount on
    # A laptop's environment says nothing of tokens: the command itself has to.
    plain = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    environment = {**plain, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*UNSHARE, "bash", "-c", INSIDE, "bash", str(tmp_path), MAKE_TOKEN],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=environment,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("namespaces are not allowed here")
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "token file 600" in said
    assert "status 3 True" in said
    assert "jobs [(True, 'FAILED', \"sh -c 'cat a.txt; exit 3'\")]" in said
    assert "stopped False" in said
    assert "jobs API 401 403 200" in said
    assert "stranger token False" in said
    assert "stranger disabled False" in said
