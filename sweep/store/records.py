"""What is stored about a trial and about the sweep as a whole, as frozen dataclasses."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from sweep.errors import StoreError
from sweep.store.schema import SCHEMA_VERSION

Status = Literal["running", "completed", "stopped", "failed", "infeasible"]
"""Where a trial stands; `stopped` is stopped early by the scheduler, before its full budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One row of the trials table: one attempt at a trial."""

    trial_id: str
    """The trial: one config with one seed. Letters, digits, dot, dash and underscore."""
    attempt: int = 0
    """Counts the starts of the trial, from 0."""
    config_id: str
    """Hash of the settings without the seed."""
    seed: int
    """Fixes initialisation, data order and noise."""
    status: Status
    """Where the trial stands."""
    stop_reason: str | None = None
    """Why it was stopped before its full budget."""
    error: str | None = None
    """What went wrong, if it failed or is infeasible."""
    epochs: int
    """Budget reached, in epochs."""
    epochs_max: int
    """Full budget, in epochs."""
    started_at: datetime
    """When the attempt began, with a time zone."""
    ended_at: datetime | None = None
    """When it ended, with a time zone; None while it runs."""
    seconds: float | None = None
    """Wall time of the attempt."""
    n_parameters: int | None = None
    """Trained parameters of the model."""
    device: str | None = None
    """The device trained on."""
    host: str | None = None
    """The machine trained on."""
    config_json: str
    """All settings of the trial, as JSON."""
    suggestion_json: str | None = None
    """The sampler's own parameters, as JSON."""
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    """Searched settings by name; a simplex by its components, as subset_weights_1."""
    objectives: Mapping[str, float] = field(default_factory=dict)
    """Measured value by objective; an objective that is absent was not measured."""
    stderr: Mapping[str, float] = field(default_factory=dict)
    """Standard error over held-out samples, by objective."""

    def __post_init__(self) -> None:
        """Reject a time without a zone: it could not be stored as UTC."""
        _check_zone("started_at", self.started_at)
        _check_zone("ended_at", self.ended_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One row of the events table: something that happened to a trial at a time."""

    trial_id: str
    """The trial."""
    attempt: int = 0
    """Counts the starts of the trial, from 0."""
    epoch: int
    """Epochs finished when it happened."""
    kind: str
    """What happened; `rung` is a decision of the scheduler."""
    at: datetime
    """When it happened, with a time zone."""
    bracket: int | None = None
    """The bracket of the trial, from 0."""
    rung: int | None = None
    """Counts the rungs of the bracket, from 0."""
    decision: Literal["continue", "stop"] | None = None
    """What was decided."""
    reason: str | None = None
    """The decision for people."""
    front_rank: int | None = None
    """Rank of the trial's front at the rung; 0 is not dominated."""
    ahead: int | None = None
    """Trials at the rung that came before it."""
    compared_to: int | None = None
    """Trials at the rung, itself not counted."""
    objectives: Mapping[str, float] = field(default_factory=dict)
    """What the decision rests on, by objective."""

    def __post_init__(self) -> None:
        """Reject a time without a zone: it could not be stored as UTC."""
        _check_zone("at", self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One quantity that the sweep optimises."""

    name: str
    """Its name in the tables, without the prefix."""
    maximize: bool = True
    """Whether larger is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What holds for the whole sweep: the content of `sweep.json`."""

    sweep_id: str
    """Tells this sweep from all others."""
    name: str
    """The sweep's name for people."""
    created_at: str
    """When the sweep began, ISO 8601 in UTC."""
    schema_version: int = SCHEMA_VERSION
    """Version of this file and of the tables."""
    objectives: tuple[Objective, ...]
    """What is optimised, in order."""
    reference_point: Mapping[str, float]
    """The corner from which hypervolume is measured, by objective."""
    modalities: tuple[str, ...]
    """Names of the modalities, in the order of the bits of a subset mask."""
    data: str
    """Name of the data set."""
    spec: Mapping[str, Any]
    """The YAML file as plain data."""
    spec_hash: str
    """Hash of the YAML file, to recognise the same sweep."""
    versions: Mapping[str, str]
    """Version by package."""
    git_revision: str | None = None
    """Revision of the source tree, where there was one."""
    classifier_accuracy: Mapping[str, float] = field(default_factory=dict)
    """Held-out accuracy of the classifier that judges coherence, by modality."""
    allowed_changes: tuple[str, ...] = ()
    """What was changed between two runs of the sweep although trials depend on it, as sentences."""
    classifier_hash: str | None = None
    """Of the weights of all of them; null in files of earlier releases."""

    def to_json(self) -> str:
        """Return the text of `sweep.json`."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, path: Path | str) -> Self:
        """Build a manifest from the text of `sweep.json`; `path` is where it came from, for messages.

        Raises:
            StoreError: the text is damaged or of a newer schema.
        """
        try:
            found = json.loads(text)
            newest = int(found["schema_version"])
            if newest > SCHEMA_VERSION:
                raise StoreError(newer_schema(path, newest))
            found["objectives"] = tuple(Objective(**o) for o in found["objectives"])
            found["modalities"] = tuple(found["modalities"])
            # Files of earlier releases have no such key.
            found["allowed_changes"] = tuple(found.get("allowed_changes", ()))
            found.setdefault("classifier_hash", None)
            return cls(**{f.name: found[f.name] for f in fields(cls)})
        except KeyError as error:
            raise StoreError(f"{path} is damaged: it has no {error.args[0]!r}") from error
        except (ValueError, TypeError) as error:
            raise StoreError(f"{path} is damaged: {error}") from error


def _check_zone(name: str, time: datetime | None) -> None:
    if time is not None and time.tzinfo is None:
        raise ValueError(f"{name} is {time}, but must have a time zone")


def newer_schema(path: Path | str, found: int) -> str:
    """Return the sentence about a file that a newer release wrote."""
    return (
        f"{path} has schema version {found}, but this release reads versions up to {SCHEMA_VERSION}: "
        "install the release that wrote it, or a newer one"
    )
