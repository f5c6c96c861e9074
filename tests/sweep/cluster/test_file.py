"""What a cluster's file says, what is left to do before `ray up`, and where a sweep's results go."""

from pathlib import Path

import pytest

from mopoe.errors import ConfigError
from sweep.cluster.file import MAKE_TOKEN, ClusterFile, growth_overrides, read_cluster, shared_place
from sweep.config.sweep_spec import load_spec
from sweep.errors import ClusterError

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
        ":1: s3://REPLACE/ is not filled in; the comment beside it says how"
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
        f"{token} can be read by others on this machine; fix it with: chmod 600 {token}",
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
    with pytest.raises(ConfigError, match=r"^none\.yaml cannot be read: No such file or directory$"):
        read_cluster(Path("none.yaml"))


def cluster(results="s3://b/sweeps/", cpus=64.0, gpus=8.0):
    """Make a cluster's file."""
    return ClusterFile(path=Path("c.yaml"), results=results, workers=0, cpus=cpus, gpus=gpus, left=())


def test_results_go_where_the_file_or_the_option_says():
    """The sweep's name is a folder below the file's place."""
    assert shared_place(cluster(), "tiny", None) == "s3://b/sweeps/tiny"
    assert shared_place(cluster(), "tiny", "/mnt/x") == "/mnt/x"
    own = "s3://b/sweeps?endpoint_override=minio:9000&scheme=http"
    assert shared_place(cluster(own), "t", None) == "s3://b/sweeps/t?endpoint_override=minio:9000&scheme=http"


def test_a_place_that_is_not_shared_is_refused_here():
    """Before anything is sent."""
    with pytest.raises(ClusterError, match=r"^results cannot go to 'results/x', seen by one machine only"):
        shared_place(cluster(), "tiny", "results/x")
    with pytest.raises(ClusterError, match=r"^c\.yaml has no key metadata\.results; add it or give --out"):
        shared_place(cluster(None), "tiny", None)


def test_a_sweep_counts_on_machines_that_have_not_joined(sweep_file):
    """Eight GPUs of 64 cores: eight trials at once, unless the sweep's file says otherwise."""
    spec = load_spec(sweep_file)
    overrides = ["resources.gpu=1", "resources.concurrent=8"]
    assert growth_overrides(cluster(), spec) == overrides
    half = load_spec(sweep_file, ["resources.gpu=0.5"])
    assert growth_overrides(cluster(), half) == ["resources.concurrent=16"]
    own = load_spec(sweep_file, ["resources.concurrent=3", "resources.gpu=0"])
    assert growth_overrides(cluster(), own) == []
    assert growth_overrides(cluster(cpus=0.0, gpus=0.0), spec) == []
