"""A small made-up sweep with known numbers: every status, one replicated config, one retried trial."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image, ImageDraw
from s3_server import BUCKET, S3_KEYS, server

from mopoe.config import TrialConfig
from mopoe.reports import EpochReport, Evaluation, PairCoherence, Picture, SubsetMetric
from mopoe.subsets import subset_masks, subset_members
from sweep.cli import main
from sweep.config.objectives import Objective
from sweep.config.sweep_spec import SweepSpec, load_spec
from sweep.errors import SpecError
from sweep.manifest import new_manifest
from sweep.search.trial import SuggestedTrial, begin_record
from sweep.store.records import EventRecord, Manifest, SharedInputs, TrialRecord
from sweep.store.write import StoreWriter

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EPOCHS = 20
# trial, config, seed, beta, latent_dim, prior_expert, coherence, log-likelihood. Over configs, the front is
# c0, c1, c2 (mean 0.72, -1512 over its two seeds), c3, c4; its knee is c2; c5 and c6 are dominated.
COMPLETED = (
    ("t00", "c0", 0, 0.5, 32, "full", 0.42, -1480.0),
    ("t01", "c1", 0, 1.0, 64, "full", 0.55, -1490.0),
    ("t02", "c2", 0, 2.5, 64, "all", 0.74, -1510.0),
    ("t03", "c3", 0, 5.0, 128, "full", 0.78, -1570.0),
    ("t04", "c4", 0, 8.0, 32, "none", 0.80, -1640.0),
    ("t05", "c5", 0, 1.5, 16, "none", 0.40, -1530.0),
    ("t06", "c6", 0, 4.0, 16, "all", 0.60, -1600.0),
    ("t07", "c2", 1, 2.5, 64, "all", 0.70, -1514.0),
)


@pytest.fixture
def sweep(monkeypatch, capsys):
    """Run a command in this process; return its exit status, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sweep", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        found = capsys.readouterr()
        return status, found.out, found.err

    return run


def strip(target: int, labels: tuple[int, ...]) -> bytes:
    """Draw one 28 x 28 picture per label, side by side, and return the PNG."""
    colours = ("navy", "darkgreen", "maroon", "indigo", "saddlebrown")
    image = Image.new("RGB", (28 * len(labels), 28), colours[target])
    draw = ImageDraw.Draw(image)
    for k, label in enumerate(labels):
        draw.text((28 * k + 9, 4), str(label), fill="white", font_size=18)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def evaluation(names: tuple[str, ...], coherence: float, likelihood: float) -> Evaluation:
    """Make an evaluation whose coherence grows by 0.02 with every further observed modality."""
    truth = (3, 1, 4, 1, 5, 9, 2, 6)
    pairs, metrics, pictures = [], [], []
    for m, name in enumerate(names):
        pictures.append(Picture(kind="input", source_mask=0, target=name, png=strip(m, truth), labels=truth))
    for mask in subset_masks(len(names)):
        size = mask.bit_count()
        seen = min(coherence + 0.02 * (size - 1), 1.0)
        metrics.append(SubsetMetric(subset_mask=mask, metric="kl", value=10.0 * size, stderr=0.1, n=100))
        for m, name in enumerate(names):
            value = 0.95 if m in subset_members(mask) else seen
            pairs.append(
                PairCoherence(source_mask=mask, target=name, value=value, stderr=0.02, n=100, chance=0.12)
            )
            guess = (*truth[:-1], 8 if value < 0.9 else 6)
            pictures.append(
                Picture(kind="conditional", source_mask=mask, target=name, png=strip(m, guess), labels=guess)
            )
    return Evaluation(
        split="validation",
        objectives={"conditional_coherence": coherence, "log_likelihood": likelihood},
        stderr={"conditional_coherence": 0.015, "log_likelihood": 2.5},
        subset_metrics=tuple(metrics),
        pair_coherence=tuple(pairs),
        pictures=tuple(pictures),
        seconds=1.5,
    )


def epoch_report(
    epoch: int, names: tuple[str, ...], beta: float = 1.0, found: Evaluation | None = None
) -> EpochReport:
    """Make the report of an epoch whose loss falls as 1000 * (1 + beta / 10 + 1 / epoch)."""
    loss = 1000 * (1 + beta / 10 + 1 / epoch)
    return EpochReport(
        epoch=epoch,
        step=4 * epoch,
        examples=1000 * epoch,
        seconds=2.0,
        loss=loss,
        elbo=-loss,
        reconstruction={name: 100.0 + m for m, name in enumerate(names)},
        kl=20.0,
        lr=0.001,
        grad_norm=3.0,
        evaluation=found,
    )


def trial_record(trial: str = "t00", **changes: object) -> TrialRecord:
    """Make a running trial, or what the changes say."""
    fields = {
        "trial_id": trial,
        "config_id": "c" + trial[1:],
        "seed": 0,
        "status": "running",
        "epochs": 0,
        "epochs_max": EPOCHS,
        "started_at": START,
        "device": "cpu",
        "host": "desk",
        "config_json": "{}",
    }
    return TrialRecord(**fields | changes)


def made_up_spec(**changes: object) -> dict[str, object]:
    """Make the file of the made-up sweep, as its manifest holds it."""
    spec = {
        "name": "made-up",
        "data": {"name": "digits", "seed": 0},
        "trials": 11,
        "reference_point": {"conditional_coherence": 0.0, "log_likelihood": -1700.0},
        "search_space": {
            "beta": {"type": "log_uniform", "low": 0.5, "high": 8.0},
            "latent_dim": {"type": "int", "low": 16, "high": 128},
            "prior_expert": {"type": "choice", "values": ["full", "all", "none"]},
        },
        "fixed": {"epochs": EPOCHS},
    }
    return spec | changes


def manifest(names: tuple[str, ...] = ("m0", "m1", "m2")) -> Manifest:
    """Make the manifest of the made-up sweep."""
    return Manifest(
        sweep_id="digits-20260102",
        name="made-up",
        created_at=START.isoformat(),
        objectives=(Objective(name="conditional_coherence"), Objective(name="log_likelihood")),
        reference_point={"conditional_coherence": 0.0, "log_likelihood": -1700.0},
        modalities=names,
        data="digits",
        spec=made_up_spec(),
        spec_hash="0f1e2d3c",
        versions={"mopoe-sweep": "0.1.0", "torch": "2.9.0"},
        git_revision="abc1234",
        classifier_accuracy=dict.fromkeys(names, 0.97),
    )


def write_made_up_sweep(root: Path, modalities: int = 3) -> Path:
    """Write eight completed trials, one retried, one failed, one stopped, one running; return the folder."""
    names = tuple(f"m{m}" for m in range(modalities))
    writer = StoreWriter(root)
    writer.write_manifest(manifest(names))
    end = START + timedelta(seconds=40)
    for trial, config, seed, beta, latent, prior, coherence, likelihood in COMPLETED:
        parameters = {"beta": beta, "latent_dim": latent, "prior_expert": prior}
        found = evaluation(names, coherence, likelihood)
        same = {"config_id": config, "seed": seed, "parameters": parameters}
        settings = json.dumps({"beta": beta, "seed": seed})
        writer.write_trial(trial_record(trial, **same))
        attempt = 0
        if trial == "t05":
            writer.write_trial(
                trial_record(trial, **same, status="failed", error="the node was lost", ended_at=end)
            )
            attempt = 1
        reports = [epoch_report(e, names, beta, found if e == EPOCHS else None) for e in range(1, EPOCHS + 1)]
        writer.write_reports(trial, attempt, reports[:10], names)
        writer.write_reports(trial, attempt, reports[10:], names)
        writer.write_trial(
            trial_record(
                trial,
                **same,
                attempt=attempt,
                status="completed",
                epochs=EPOCHS,
                ended_at=end,
                seconds=40.0,
                config_json=settings,
                objectives=found.objectives,
                stderr=found.stderr,
            )
        )
    writer.write_reports("t08", 0, [epoch_report(1, names, 20.0)], names)
    failure = {"status": "failed", "error": "the loss is nan at step 5", "epochs": 1, "ended_at": end}
    decision = {
        "decision": "stop",
        "reason": "rung 5: last of 3",
        "front_rank": 1,
        "ahead": 2,
        "compared_to": 2,
    }
    writer.write_event(
        EventRecord(trial_id="t09", epoch=5, kind="rung", at=end, rung=0, bracket=0, **decision)
    )
    stop = {"status": "stopped", "stop_reason": "rung 5: last of 3", "epochs": 5, "ended_at": end}
    for trial, beta, outcome in (("t08", 20.0, failure), ("t09", 3.0, stop), ("t10", 2.0, {})):
        parameters = {"beta": beta, "latent_dim": 16, "prior_expert": "full"}
        writer.write_trial(trial_record(trial, parameters=parameters))
        if outcome:
            writer.write_trial(trial_record(trial, parameters=parameters, **outcome))
    return root


@pytest.fixture(scope="session")
def made_up_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the results folder of the made-up sweep; read it only."""
    return write_made_up_sweep(tmp_path_factory.mktemp("results") / "digits")


def write_sound_sweep(root: Path, sweep_id: str = "run-1", first: int = 0) -> Path:
    """Write a small sweep that keeps every promise: two completed trials, one failed, one running.

    Args:
        root: the folder.
        sweep_id: tells this run from others of the same sweep.
        first: number of its first trial, from which the settings follow.
    """
    names = ("m0", "m1")
    writer = StoreWriter(root)
    writer.write_manifest(replace(manifest(names), sweep_id=sweep_id))
    end = START + timedelta(seconds=40)
    for number in range(first, first + 4):
        config = TrialConfig(beta=0.5 + number, latent_dim=16 + number, epochs=2, seed=number)
        record = trial_record(
            f"t{number:04}",
            config_id=config.config_id,
            seed=config.seed,
            epochs_max=2,
            config_json=config.to_json(),
            parameters={"beta": config.beta, "latent_dim": config.latent_dim, "unimodal_elbos": "true"},
            started_at=START + timedelta(seconds=number),
        )
        writer.write_trial(record)
        found = evaluation(names, 0.4 + 0.1 * (number - first), -1500.0 - number)
        reports = [epoch_report(e, names, config.beta, found if e == 2 else None) for e in (1, 2)]
        if number - first < 2:
            for report in reports:
                writer.write_reports(record.trial_id, 0, [report], names)
            ended = {"status": "completed", "epochs": 2, "seconds": 40.0}
            ended |= {"objectives": found.objectives, "stderr": found.stderr}
            writer.write_trial(replace(record, ended_at=end, **ended))
        elif number - first == 2:
            writer.write_reports(record.trial_id, 0, reports[:1], names)
            writer.write_trial(replace(record, status="failed", error="it diverged", epochs=1, ended_at=end))
    return root


def write_checkpoint(path: Path, config: TrialConfig, epoch: int = 2) -> None:
    """Write the checkpoint of a trial, with a model of two numbers."""
    from torch import nn, optim

    from mopoe.checkpoint import Progress, save

    model, counts = nn.Linear(1, 1), {"epoch": epoch, "step": 4 * epoch, "examples": 1000 * epoch}
    progress = Progress(config=config, data="digits", data_options={"seed": 0}, **counts)
    save(path, progress, model, optim.Adam(model.parameters()))


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., None]:
    """Give the maker of checkpoints."""
    return write_checkpoint


@pytest.fixture(scope="session")
def make_sweep() -> Callable[..., Path]:
    """Give the maker of a small sound sweep."""
    return write_sound_sweep


@pytest.fixture(scope="session")
def make_record() -> Callable[..., TrialRecord]:
    """Give the maker of trial records."""
    return trial_record


@pytest.fixture(scope="session")
def make_report() -> Callable[..., EpochReport]:
    """Give the maker of epoch reports."""
    return epoch_report


@pytest.fixture(scope="session")
def make_evaluation() -> Callable[..., Evaluation]:
    """Give the maker of evaluations."""
    return evaluation


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., dict[str, object]]:
    """Give the maker of the made-up sweep's file."""
    return made_up_spec


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., Manifest]:
    """Give the maker of manifests."""
    return manifest


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

    from mopoe.data import digits
    from mopoe.data.container import cached_file, fingerprint, save_splits

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
    """Return a function that gives the message of the SpecError of a text."""

    def refusal(text, overrides=()):
        with pytest.raises(SpecError) as caught:
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
    return replace(begin_record(spec, trial.config(spec), trial, START), **changes)


@pytest.fixture(scope="session")
def make_planned() -> Callable[..., tuple[SweepSpec, StoreWriter]]:
    """Give the maker of a sweep that can be resumed, without trials."""
    return write_planned_sweep


@pytest.fixture(scope="session")
def make_planned_record() -> Callable[..., TrialRecord]:
    """Give the maker of trials of such a sweep."""
    return planned_record
