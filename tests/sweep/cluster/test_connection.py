"""The way to a Ray cluster: its tokens' mode is found, refusals are sentences, Ray's lines stay in a file."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.cluster import connection
from sweep.cluster.connection import MODE, choose_auth_mode, connect
from sweep.errors import ClusterError


@pytest.fixture
def head():
    """Give the address of something that listens, as a cluster's head does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Make this machine one with or without a token and mode, before a cluster that wants one or not."""

    def make(*, token: bool, mode: str | None, wanted: bool) -> Path:
        asked = tmp_path / "asked"
        for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", MODE):
            monkeypatch.setenv(name, "")  # so that it is restored, whoever sets it
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        if token:
            (tmp_path / ".ray").mkdir()
            (tmp_path / ".ray" / "auth_token").write_text("t")
        if mode is not None:
            monkeypatch.setenv(MODE, mode)
        status = f'echo "${MODE} $0 $*" > {asked}; exit {int(wanted)}'
        monkeypatch.setattr(connection, "ray_command", lambda *words: ["sh", "-c", status, *words])
        return asked

    return make


@pytest.mark.parametrize(
    ("token", "mode", "wanted", "then"),
    [
        (True, None, True, "token"),
        (True, None, False, None),
        (False, None, True, None),
        (True, "token", True, "token"),
        (True, "disabled", True, "disabled"),
        (True, "k8s", True, "k8s"),
    ],
)
def test_the_mode_is_found_from_what_is_there(machine, head, token, mode, wanted, then):
    """A token is sent only to a cluster that does not answer without, and what the user has set stays."""
    machine(token=token, mode=mode, wanted=wanted)
    choose_auth_mode(head)
    assert os.environ.get(MODE) == then


@pytest.mark.parametrize("variable", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_is_found_where_ray_finds_it(machine, head, monkeypatch, tmp_path, variable):
    """In the environment, and in a file that it names, too."""
    machine(token=False, mode=None, wanted=True)
    (tmp_path / "elsewhere").write_text("t")
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    choose_auth_mode(head)
    assert os.environ[MODE] == "token"


def test_the_cluster_is_asked_without_a_token(machine, head):
    """By Ray's own command; not at all if nothing listens there, or for this machine alone."""
    asked = machine(token=True, mode=None, wanted=False)
    choose_auth_mode("local")
    choose_auth_mode("127.0.0.1:1")
    assert not asked.exists()
    choose_auth_mode(head)
    assert asked.read_text() == f"disabled status --address={head}\n"
    choose_auth_mode("auto")
    assert asked.read_text() == "disabled status \n"


def test_a_token_for_a_cluster_without_is_refused(machine, head):
    """Ray would connect, and every trial would fail without a reason."""
    machine(token=True, mode="token", wanted=False)
    sentence = (
        f"the Ray cluster at '{head}' was started without a token, but RAY_AUTH_MODE=token is set here; "
        "unset it, or start the cluster with RAY_AUTH_MODE=token"
    )
    with pytest.raises(ClusterError, match=f"^{re.escape(sentence)}$"):
        choose_auth_mode(head)


def test_nobody_at_the_address_is_said_at_once(monkeypatch):
    """Without Ray, which would try for minutes."""
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was asked"))
    with pytest.raises(ClusterError, match=r"^no Ray cluster answered at '127.0.0.1:1' \(.*refused\)$"):
        connect("127.0.0.1:1")


REFUSALS = {
    (False, None): ", which has no token: copy ~/.ray/auth_token of the head's owner to this machine",
    (True, "token"): " and its token: copy the head's ~/.ray/auth_token to this machine",
    (True, "disabled"): ", which sends no token: set RAY_AUTH_MODE=token before Ray is imported",
}


@pytest.mark.parametrize(("token", "mode"), REFUSALS)
def test_a_refusal_says_what_is_missing(machine, head, monkeypatch, capfd, tmp_path, token, mode):
    """In one sentence, with the file that holds Ray's own lines, none of which reach the terminal."""
    machine(token=token, mode=mode, wanted=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def refuse(**_):
        os.write(2, b"[C++] W 1\n")
        sys.stderr.write("a warning of Ray's\n")
        raise ConnectionError(f"Failed to connect to Ray cluster at {head}\nand more")

    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(ClusterError) as error:
        connect(head)
    (log,) = tmp_path.glob("sweep-ray-*.log")
    assert str(error.value) == (
        f"the Ray cluster at '{head}' refuses this driver{REFUSALS[token, mode]} "
        f"(Failed to connect to Ray cluster at {head}); Ray's own words are in {log}"
    )
    assert log.read_bytes().startswith(b"[C++] W 1\n")
    assert "C++" not in capfd.readouterr().err


def test_nothing_is_left_after_a_connection(head, monkeypatch, capfd, tmp_path):
    """Neither the file nor the redirection; the arguments reach Ray."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    given = {}
    monkeypatch.setattr("ray.init", lambda **options: (given.update(options), os.write(2, b"noise")))
    connect(head, runtime_env={"env_vars": {}})
    os.write(2, b"heard")
    assert given["address"] == head
    assert given["runtime_env"] == {"env_vars": {}}
    assert list(tmp_path.glob("sweep-ray-*")) == []
    assert capfd.readouterr().err == "heard"


def test_nothing_is_left_after_ctrl_c(head, monkeypatch, tmp_path):
    """While Ray starts."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def interrupt(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ray.init", interrupt)
    with pytest.raises(KeyboardInterrupt):
        connect(head)
    assert list(tmp_path.glob("sweep-ray-*")) == []


INSIDE = """
mount -t tmpfs none /tmp/ray && ip link set lo up && export HOME=$1 && cd $1 || exit 9
ray get-auth-token --generate >/dev/null 2>&1 && chmod 600 ~/.ray/auth_token || exit 9
$2 ray start --head --port=6399 --num-cpus=1 --object-store-memory=80000000 --include-dashboard=false \\
    --node-ip-address=127.0.0.1 > start.log 2>&1 || cat start.log
python -m sweep doctor --address 127.0.0.1:6399; echo "with the token $?"
RAY_AUTH_MODE=token python -m sweep doctor --address 127.0.0.1:6399; echo "with the mode $?"
mv ~/.ray/auth_token kept
python -m sweep doctor --address 127.0.0.1:6399; echo "without the token $?"
"""
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["", "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"])
def test_clusters_of_every_mode_are_joined(tmp_path, mode):
    """Clusters by plain `ray start`: by default with a token file, with tokens, and without."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare, for namespaces of its own")
    Path("/tmp/ray").mkdir(exist_ok=True)  # a place to mount on
    plain = {name: value for name, value in os.environ.items() if name != MODE}
    done = subprocess.run(
        [*UNSHARE, "bash", "-c", INSIDE, "bash", str(tmp_path), f"env {mode}"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**plain, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("namespaces are not allowed here")
    wants = "disabled" not in mode
    statuses = [
        f"with the token {0}",
        f"with the mode {0 if wants else 2}",
        f"without the token {2 if wants else 0}",
    ]
    said = done.stdout.splitlines()
    assert [line for line in said if line.startswith("with")] == statuses, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    missing = "which has no token: copy" if wants else "was started without a token, but"
    assert missing in done.stderr
