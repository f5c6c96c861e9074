"""What is sent to a cluster's head."""

import pytest

FILE = """\
metadata: {results: s3://b/sweeps}
provider: {type: local, worker_ips: [a, b]}
setup_commands: [export RAY_AUTH_MODE=token]
"""


@pytest.fixture
def there(sweep, tmp_path, monkeypatch):
    """Run a command with --cluster where no head is; return what it said, and the words that were sent."""
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.touch(mode=0o600)
    (tmp_path / "c.yaml").write_text(FILE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sent = []
    monkeypatch.setattr("sweep.cluster.jobs.send", lambda *job: sent.append(job) or "job")
    monkeypatch.setattr("sweep.cluster.jobs.follow", lambda *_: 0)

    def run(*words):
        status, said, wrong = sweep(*words, "--cluster", "c.yaml")
        return (said, *sent[-1][1:]) if status == 0 else wrong

    return run


def test_a_sweep_is_run_there(there, sweep_file):
    """Its file is sent under one name; results go below the cluster's place; workers are waited for."""
    said, name, words, files = there("run", sweep_file, "-o", "trials=5")
    begin = ["sweep", "run", "sweep.yaml", "--out", "s3://b/sweeps/tiny"]
    assert words == [*begin, "--override", "trials=5", "--address", "auto", "--workers", "2"]
    assert (name, files) == ("tiny", {"sweep.yaml": sweep_file})
    assert said == "here:   sweep fetch s3://b/sweeps/tiny --cluster c.yaml\n"


@pytest.mark.parametrize("place", ["s3://b/sweeps/tiny", "/mnt/x/tiny"])
def test_a_sweep_goes_on_there_from_its_folder_alone(there, tmp_path, place):
    """The head reads the folder, which this machine need not reach; modules of the user's own go along."""
    (tmp_path / "mine.py").touch()
    said, name, words, files = there("resume", place, "-o", "trials=5", "--allow-changed", "seed")
    machines = ["--address", "auto", "--workers", "2"]
    assert words == ["sweep", "resume", place, "--override", "trials=5", "--allow-changed", "seed", *machines]
    assert (name, [*files]) == ("tiny", ["mine.py"])
    assert said == f"here:   sweep fetch {place} --cluster c.yaml\n"
    _, _, words, _ = there("resume", place, "--retry-failed", "--workers", "5")
    assert words == ["sweep", "resume", place, "--retry-failed", *machines[:-1], "5"]
    _, _, words, _ = there("extend", place, "--trials", 3, "--tensorboard")
    assert words == ["sweep", "extend", "--trials", "3", place, *machines, "--tensorboard"]


def test_a_folder_of_this_machine_is_no_place_to_go_on_there(there):
    """It is said here, and nothing is sent."""
    assert "results cannot go to 'results/tiny', seen by one machine only; possible: s3://" in there(
        "resume", "results/tiny"
    )
