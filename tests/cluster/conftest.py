"""The laptop of the rack, and what is the same in every scenario."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from cluster.laptop import CACHE, ROOT, SWEEP, Laptop

collect_ignore = [] if "SWEEP_RACK" in os.environ else ["test_local.py", "test_aws.py"]
"""Only `make test-cluster` makes the namespaces that they need."""


@pytest.fixture
def laptop(request, monkeypatch):
    """Give the laptop, with a token and with the data set built; /mnt is new and gone at the end."""
    # The launcher keeps its ssh connections at a path made of the user's name alone: no other rack's here.
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    sockets = Path(f"/tmp/ray_ssh_{sha256(user.encode()).hexdigest()[:10]}")
    sockets.mkdir(exist_ok=True)
    mounted = (Path("/mnt"), sockets)
    for path in mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", path], check=True)
    monkeypatch.setenv("MOPOE_CACHE", str(CACHE))
    laptop = Laptop(Path("/mnt/laptop"))
    laptop.run("ray", "get-auth-token", "--generate")
    (laptop.home / ".ray" / "auth_token").chmod(0o600)
    build = (
        "from sweep.running.shared_inputs import load_inputs; from sweep.config.sweep_spec import load_spec;"
        f"load_inputs(load_spec({str(ROOT / SWEEP)!r}, ()))"
    )
    laptop.run(sys.executable, "-c", build)
    failed = request.session.testsfailed
    yield laptop
    if request.session.testsfailed > failed:
        laptop.tell()
    for path in mounted:
        subprocess.run(["umount", "--lazy", path], check=True)
