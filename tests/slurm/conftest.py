"""The Slurm that all scenarios share, and a small sweep."""

import os
from pathlib import Path

import pytest
from slurm.lab import Slurm

collect_ignore = [] if "SWEEP_SLURM" in os.environ else ["test_slurm.py"]
"""Only `make test-slurm` installs what they need."""


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """Give a running Slurm."""
    lab = Slurm(tmp_path_factory.mktemp("slurm"))
    yield lab
    lab.stop()


@pytest.fixture
def sweep_file(tmp_path):
    """Return a sweep whose trials last some seconds each."""
    path = tmp_path / "small.yaml"
    text = Path(__file__).with_name("sweep.yaml").read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    return path
