"""What is read from a cluster's file, and what is left to do before `ray up`."""

from pathlib import Path

import pytest

from mopoe.errors import ConfigError
from sweep.cluster.file import MAKE_TOKEN, read_cluster

FILE = """\
metadata: {results: s3://b/sweeps}
max_workers: 3
provider: {type: aws}
available_node_types:
  head: {resources: {CPU: 0}, node_config: {}}
  big: {resources: {CPU: 8, GPU: 1}, min_workers: 1, max_workers: 2, node_config: {}}
  small: {resources: {CPU: 4}, max_workers: 4, node_config: {}}
head_node_type: head
setup_commands: [export RAY_AUTH_MODE=token]
"""


@pytest.fixture
def token(tmp_path):
    """Give a token that only its owner can read."""
    path = tmp_path / "token"
    path.write_text("t")
    path.chmod(0o600)
    return path


@pytest.fixture
def read(tmp_path, token):
    """Return a function that reads a text as a cluster's file."""

    def read(text):
        (tmp_path / "c.yaml").write_text(text)
        return read_cluster(tmp_path / "c.yaml", token)

    return read


def test_a_cluster_is_counted_as_large_as_it_may_grow(read):
    """Half of what the types would allow one by one: 3 machines of 6 at most in all."""
    found = read(FILE)
    assert (found.results, found.workers, found.left) == ("s3://b/sweeps", 1, ())
    assert (found.cpus, found.gpus) == (0.5 * (2 * 8 + 4 * 4), 0.5 * 2)


def test_machines_one_has_join_by_themselves(read):
    """Their sizes are not known before."""
    text = "provider: {type: local, worker_ips: [a, b]}\nsetup_commands: [RAY_AUTH_MODE=token]\n"
    found = read(text)
    assert (found.results, found.workers, found.cpus, found.gpus) == (None, 2, 0.0, 0.0)


def test_every_blank_is_named_with_its_line(read, tmp_path):
    """Comments do not count; two blanks in one line are two."""
    text = FILE.replace("s3://b/", "s3://REPLACE/ # not REPLACE\n#").replace("metadata: {results: ", "m: ")
    assert [line.rpartition("c.yaml")[2] for line in read(text).left] == [
        ":1: s3://REPLACE/ is not filled in; the comment beside it says with what"
    ]
    both = "a: [sg-REPLACE, ami-REPLACE]\nsetup_commands: [RAY_AUTH_MODE=token]\n"
    assert [line.split()[1] for line in read(both).left] == ["sg-REPLACE", "ami-REPLACE"]


def test_what_lets_strangers_in_is_named_with_the_remedy(read, token):
    """No authentication, a token that others can read, no token at all."""
    for without in ("[X=1]", "[X=1] # [RAY_AUTH_MODE=token]"):
        (sentence,) = read(FILE.replace("[export RAY_AUTH_MODE=token]", without)).left
        assert "does not set RAY_AUTH_MODE=token" in sentence
    token.chmod(0o644)
    assert read(FILE).left == (
        f"{token} can be read by others on this machine; mend it with: chmod 600 {token}",
    )
    token.unlink()
    assert read(FILE).left == (f"there is no token in {token}; make one with: {MAKE_TOKEN}",)


def test_what_is_left_empty_counts_as_nothing(read):
    """A type without a word, numbers without a value; metadata of another form is refused."""
    empty = FILE.replace("max_workers: 3", "max_workers:").replace("max_workers: 4,", "max_workers: ,")
    found = read(empty.replace("head_node_type", "  more:\nhead_node_type"))
    assert (found.workers, found.cpus, found.gpus) == (1, 16.0, 2.0)
    with pytest.raises(
        ConfigError, match=r"metadata is 's3://b/x', but must be a mapping with the key results"
    ):
        read(FILE.replace("{results: s3://b/sweeps}", "s3://b/x"))


def test_a_missing_file_is_one_sentence():
    """As for a sweep's file."""
    with pytest.raises(ConfigError, match=r"^there is no file none\.yaml$"):
        read_cluster(Path("none.yaml"))
