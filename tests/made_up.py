"""Writes small made-up sweeps with known numbers: every status, one replicated config, one retried trial."""

import io
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image, ImageDraw

from mopoe.config import TrialConfig
from mopoe.reports import EpochReport, Evaluation, PairCoherence, Picture, SampleValues, SubsetMetric
from mopoe.subsets import subset_masks, subset_members
from sweep.config.objectives import Objective
from sweep.store.records import EventRecord, Manifest, TrialRecord
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


def _shared_noise(mean: float, stderr: float) -> tuple[float, ...]:
    """Make 100 values with this mean and standard error; the same samples are the worst for every trial."""
    return tuple(mean + stderr * math.sqrt(99) * (1 if n % 2 else -1) for n in range(100))


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
        sample_values=(
            SampleValues(metric="conditional_coherence", values=_shared_noise(coherence, 0.015)),
            SampleValues(metric="log_likelihood", values=_shared_noise(likelihood, 2.5)),
        ),
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


def write_study_trial(
    writer: StoreWriter,
    number: int,
    seed: int,
    parameters: dict[str, object],
    values: dict[str, float],
) -> None:
    """Write a completed trial of five modalities; values are of the quantities of `docs/contrasts.py`."""
    names = tuple(f"m{m}" for m in range(5))
    found = evaluation(names, values["coherence"], values["log_likelihood"])
    metrics = [
        *(
            SubsetMetric(subset_mask=s, metric="representation", value=values["probe"], n=9)
            for s in range(1, 32)
        ),
        SubsetMetric(subset_mask=0, metric="joint_coherence", value=values["joint"], n=9),
        SubsetMetric(subset_mask=0, metric="joint_coherence_mixture", value=values["joint_mixture"], n=9),
    ]
    found = replace(found, subset_metrics=(*found.subset_metrics, *metrics), pictures=())
    trial = f"t{number:04}"
    writer.write_reports(trial, 0, [epoch_report(EPOCHS, names, 1.0, found)], names)
    more = {"status": "completed", "epochs": EPOCHS, "ended_at": START, "objectives": found.objectives}
    config = "-".join(str(value) for value in parameters.values())
    writer.write_trial(trial_record(trial, config_id=config, seed=seed, parameters=parameters, **more))
