"""Following a job over connections that break."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweep.cluster import jobs
from sweep.errors import ClusterError

LOG = ["one\n", "two\n", "three\n"]


class Client:
    """Tells as much of a log as its connection lives, then the job's end."""

    def __init__(self, lives, exit_code=0):
        self.lives = lives
        self.exit_code = exit_code

    async def tail_job_logs(self, job):
        for text in LOG[: self.lives]:
            yield text
        if self.lives < len(LOG):
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_info(self, job):
        status = SimpleNamespace(is_terminal=lambda: True)
        return SimpleNamespace(status=status, driver_exit_code=self.exit_code)


class Starting:
    """Has no agent for jobs at first; keeps what it is then given."""

    def __init__(self, refusals):
        self.refusals = refusals

    def submit_job(self, entrypoint, submission_id, runtime_env):
        if self.refusals:
            raise RuntimeError(f"Request failed with status code 500: {self.refusals.pop(0)}")
        self.entrypoint = entrypoint
        self.files = {p.name: p.read_text() for p in Path(runtime_env["working_dir"]).iterdir()}
        return submission_id


@pytest.fixture
def connections(monkeypatch):
    """Give a list of the clients, or errors, of the connections to come."""
    coming = []

    @contextmanager
    def connected(cluster):
        client = coming.pop(0)
        if isinstance(client, Exception):
            raise client
        yield client

    monkeypatch.setattr(jobs, "connected", connected)
    monkeypatch.setattr(jobs, "PAUSE", 0)
    return coming


def test_a_head_that_has_just_begun_is_asked_again(connections, tmp_path):
    """It answers before it can run jobs; any other refusal stands."""
    (tmp_path / "x.yaml").write_text("name: x")
    head = Starting(["No available agent to submit job, please try again later.."] * 2)
    connections += [head, Starting(["no such package"])]
    job = jobs.send(Path("c.yaml"), "x", ["sweep", "run", "a b"], {"sweep.yaml": tmp_path / "x.yaml"})
    assert job.startswith("x-20")
    assert (head.entrypoint, head.files) == ("sweep run 'a b'", {"sweep.yaml": "name: x"})
    with pytest.raises(RuntimeError, match="no such package"):
        jobs.send(Path("c.yaml"), "x", ["sweep"], {})


def test_a_broken_connection_is_made_again_and_no_line_written_twice(connections):
    """The log begins anew with each connection; what was seen is left out; the job's status is ours."""
    connections += [Client(1), ClusterError("no head"), Client(2), Client(2), Client(3, exit_code=2)]
    said = []
    assert jobs.follow(Path("c.yaml"), "j", said.append) == 2
    assert "".join(said) == "".join(LOG)
    assert connections == []


def test_a_head_that_is_gone_is_one_sentence_with_the_way_back(connections):
    """Five tries without a new line are enough."""
    connections += [Client(1), *(ClusterError("no head") for _ in range(5))]
    with pytest.raises(ClusterError) as error:
        jobs.follow(Path("c.yaml"), "j", str)
    assert str(error.value) == (
        "the connection to c.yaml is lost (no head); if the job still runs, follow it with: "
        "sweep attach --cluster c.yaml j"
    )


def test_a_job_without_an_exit_status_has_failed(connections):
    """As one that was stopped."""
    connections += [Client(3, exit_code=None)]
    assert jobs.follow(Path("c.yaml"), "j", str) == 1


def test_a_cluster_without_a_head_is_one_sentence(monkeypatch, tmp_path):
    """Ray's command line says why; the remedy is `ray up`."""
    monkeypatch.setattr(jobs, "ray_command", lambda *words: ["sh", "-c", "echo; echo no nodes found; exit 1"])
    monkeypatch.setattr(jobs, "find_spec", lambda name: True)
    with pytest.raises(ClusterError) as error, jobs.connected(tmp_path / "c.yaml"):
        pass
    assert str(error.value) == (
        f"the head of {tmp_path}/c.yaml does not answer (no nodes found); start it with: ray up -y "
        f"{tmp_path}/c.yaml"
    )


def test_a_missing_extra_is_named(monkeypatch):
    """What the jobs API needs is not part of the plain install."""
    monkeypatch.setattr(jobs, "find_spec", lambda name: None)
    with (
        pytest.raises(ClusterError, match=r"install them with: pip install 'mopoe-sweep\[cluster\]'$"),
        jobs.connected(Path("c.yaml")),
    ):
        pass
