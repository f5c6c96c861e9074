"""What the command on the head is."""

from pathlib import Path

import pytest

from sweep.cluster.file import ClusterFile, growth, shared_place
from sweep.config.sweep_spec import load_spec
from sweep.errors import ClusterError


def cluster(results="s3://b/sweeps/", workers=0, cpus=64.0, gpus=8.0):
    """Make a cluster's file."""
    return ClusterFile(path=Path("c.yaml"), results=results, workers=workers, cpus=cpus, gpus=gpus, left=())


def test_results_go_where_the_file_or_the_option_says():
    """The sweep's name is a folder below the file's place."""
    assert shared_place(cluster(), "tiny", None) == "s3://b/sweeps/tiny"
    assert shared_place(cluster(), "tiny", "/mnt/x") == "/mnt/x"
    own = "s3://b/sweeps?endpoint_override=minio:9000&scheme=http"
    assert shared_place(cluster(own), "t", None) == "s3://b/sweeps/t?endpoint_override=minio:9000&scheme=http"


def test_a_place_that_is_not_shared_is_refused_here():
    """Before anything is sent."""
    with pytest.raises(ClusterError, match=r"^results cannot go to 'results/x', a folder of one machine"):
        shared_place(cluster(), "tiny", "results/x")
    with pytest.raises(ClusterError, match=r"^c\.yaml has no key metadata\.results; add it or give --out"):
        shared_place(cluster(None), "tiny", None)


def test_a_sweep_counts_on_machines_that_have_not_joined(sweep_file):
    """Eight GPUs of 64 cores: eight trials at once, unless the sweep's file says otherwise."""
    spec = load_spec(sweep_file)
    words = ["-o", "resources.gpu=1", "-o", "resources.concurrent=8"]
    assert growth(cluster(), spec) == words
    assert growth(cluster(workers=2), spec) == ["--workers", "2", *words]
    half = load_spec(sweep_file, ["resources.gpu=0.5"])
    assert growth(cluster(), half) == ["-o", "resources.concurrent=16"]
    assert growth(cluster(), load_spec(sweep_file, ["resources.concurrent=3", "resources.gpu=0"])) == []
    assert growth(cluster(cpus=0.0, gpus=0.0, workers=3), spec) == ["--workers", "3"]
