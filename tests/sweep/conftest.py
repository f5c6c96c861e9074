"""Fixtures of the tests of `sweep`: made-up sweeps and their parts, sweeps that train in seconds, S3."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import made_up
import pytest
from s3_server import BUCKET, S3_KEYS, server

from mopoe.errors import ConfigError
from mopoe.reports import EpochReport, Evaluation
from sweep.config.sweep_spec import SweepSpec, load_spec
from sweep.manifest import new_manifest
from sweep.search.trial import SuggestedTrial, begin_record
from sweep.store.records import Manifest, SharedInputs, TrialRecord
from sweep.store.write import StoreWriter


@pytest.fixture(scope="session")
def made_up_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the results folder of the made-up sweep; read it only."""
    return made_up.write_made_up_sweep(tmp_path_factory.mktemp("results") / "digits")


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., None]:
    """Give the maker of checkpoints."""
    return made_up.write_checkpoint


@pytest.fixture(scope="session")
def make_sweep() -> Callable[..., Path]:
    """Give the maker of a small sound sweep."""
    return made_up.write_sound_sweep


@pytest.fixture(scope="session")
def make_record() -> Callable[..., TrialRecord]:
    """Give the maker of trial records."""
    return made_up.trial_record


@pytest.fixture(scope="session")
def make_report() -> Callable[..., EpochReport]:
    """Give the maker of epoch reports."""
    return made_up.epoch_report


@pytest.fixture(scope="session")
def make_evaluation() -> Callable[..., Evaluation]:
    """Give the maker of evaluations."""
    return made_up.evaluation


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., dict[str, object]]:
    """Give the maker of the made-up sweep's file."""
    return made_up.made_up_spec


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., Manifest]:
    """Give the maker of manifests."""
    return made_up.manifest


TINY_SWEEP = """\
name: tiny
data: {name: digits, seed: 0}
trials: 3
sampler: random
reference_point: {conditional_coherence: 0.0, log_likelihood: -20000}
search_space:
  beta: {type: log_uniform, low: 0.1, high: 4}
  subset_weights: {type: simplex, over: size}
fixed: {epochs: 2, batch_size: 500, latent_dim: 4, channels: [2, 2, 2], lr: 0.001}
evaluation:
  {coherence_samples: 20, joint_samples: 20, likelihood_samples: 4, importance_samples: 31, pictures: 2}
"""


@pytest.fixture(scope="session")
def tiny_sweep() -> str:
    """Give the text of a sweep's file that trains in seconds on the built-in digits."""
    return TINY_SWEEP


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    """Give the file of the tiny sweep."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_SWEEP, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def few_digits(cache: Path) -> Path:
    """Give a file of 160 + 40 + 40 of the built-in digits, in the format of `sweep data build polymnist`."""
    import torch

    from mopoe.cache import cached_file
    from mopoe.data import digits
    from mopoe.data.container import fingerprint
    from mopoe.data.stored import save_splits

    def build(path: Path) -> None:
        whole = digits.load()
        sizes = {"train": 160, "validation": 40, "test": 40}
        few = {name: whole.split(name).take(torch.arange(n)) for name, n in sizes.items()}
        save_splits(path, few, {"data": "polymnist", "seed": 0, "fingerprint": fingerprint(few)})

    return cached_file(cache / "few digits.safetensors", build)


@pytest.fixture(scope="session")
def quick_sweep(few_digits: Path) -> str:
    """Give the text of the tiny sweep on a few digits, whose trials train in a fraction of a second."""
    text = TINY_SWEEP.replace("{name: digits, seed: 0}", f"{{name: polymnist, path: '{few_digits}'}}")
    return text.replace("batch_size: 500", "batch_size: 40")


@pytest.fixture
def quick_file(tmp_path: Path, quick_sweep: str) -> Path:
    """Give the file of the quick sweep."""
    path = tmp_path / "quick.yaml"
    path.write_text(quick_sweep, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory, quick_sweep: str) -> Path:
    """Give a folder `results/digits` with two trained trials of the quick sweep; copy it to write."""
    from sweep.config.sweep_spec import trial_config_for
    from sweep.running.local import run_single

    base = tmp_path_factory.mktemp("trained")
    (base / "quick.yaml").write_text(quick_sweep, encoding="utf-8")
    spec, root = load_spec(base / "quick.yaml"), base / "results" / "digits"
    for beta in (0.5, 2.0):
        config = trial_config_for(spec, [f"beta={beta}"])
        run_single(spec, config, root, resume=False, device="cpu", on_report=lambda _: None)
    return root


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Give the address of an S3-compatible server on loopback, for as long as the tests run."""
    with server() as address:
        yield address


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the address of an empty folder on that server; this process and its children reach it."""
    for name, value in (S3_KEYS | {"AWS_ENDPOINT_URL": s3_server}).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid4().hex[:8]}"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that writes x.yaml in the current folder and loads it."""
    monkeypatch.chdir(tmp_path)

    def load(text, overrides=()):
        (tmp_path / "x.yaml").write_text(text)
        return load_spec("x.yaml", overrides)

    return load


@pytest.fixture
def refusal(load):
    """Return a function that gives the message of the ConfigError of a text."""

    def refusal(text, overrides=()):
        with pytest.raises(ConfigError) as caught:
            load(text, overrides)
        message = str(caught.value)
        assert "pydantic" not in message
        assert "_type" not in message
        return message

    return refusal


def write_planned_sweep(root: Path, trials: int = 5) -> tuple[SweepSpec, StoreWriter]:
    """Write the manifest of the tiny sweep with so many trials, and no trial yet."""
    file = root.parent / "planned.yaml"
    file.write_text(TINY_SWEEP, encoding="utf-8")
    spec = load_spec(file, [f"trials={trials}"])
    writer = StoreWriter(root)
    writer.write_manifest(new_manifest(spec, spec.spec_hash, SharedInputs()))
    return spec, writer


def planned_record(spec: SweepSpec, number: int, **changes: object) -> TrialRecord:
    """Make a trial of a planned sweep, with real settings, that runs or as the changes say."""
    suggested = {"beta": 0.5 + number, **{f"subset_weights.{i}": 0.5 for i in range(4)}}
    trial = SuggestedTrial(trial_id=f"t{number:04}", attempt=0, suggestion=suggested)
    return replace(begin_record(spec, trial.config(spec), trial, made_up.START), **changes)


@pytest.fixture(scope="session")
def make_planned() -> Callable[..., tuple[SweepSpec, StoreWriter]]:
    """Give the maker of a sweep that can be resumed, without trials."""
    return write_planned_sweep


@pytest.fixture(scope="session")
def make_planned_record() -> Callable[..., TrialRecord]:
    """Give the maker of trials of such a sweep."""
    return planned_record
