"""The records of a store: a trial, an event and the manifest of a sweep, as frozen dataclasses."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from sweep.config.constraints import LIMIT, Limit, limit
from sweep.config.objectives import Objective
from sweep.errors import StoreError
from sweep.store.layout import OBJECTIVE, PARAMETER, SCHEMA_VERSION, STDERR


def _as_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"a name occurs twice: {', '.join(names)}")
    return names


Status = Literal["running", "completed", "stopped", "failed", "infeasible"]
"""The status of a trial; `stopped` means stopped early by the scheduler or a user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One row of the trials table: the state of one attempt at a trial."""

    trial_id: str
    """The trial: one config with one seed."""
    attempt: int = 0
    """Counts the starts of the trial, from 0."""
    config_id: str
    """Hash of the settings without the seed: replicates share it."""
    seed: int
    """Fixes initialisation, data order and noise."""
    status: Status
    """One of running, completed, stopped, failed, infeasible."""
    stop_reason: str | None = None
    """Why the trial was stopped before its full budget."""
    error: str | None = None
    """What went wrong, if the trial failed or is infeasible."""
    traceback: str | None = None
    """Where it went wrong, if the trial raised: the end of Python's traceback."""
    epochs: int
    """Budget reached."""
    epochs_max: int
    """Full budget."""
    started_at: datetime
    """When the attempt began."""
    ended_at: datetime | None = None
    """When the attempt ended; null while it runs."""
    seconds: float | None = None
    """Time of its epochs and evaluations, in whichever process."""
    n_parameters: int | None = None
    """Trained parameters of the model."""
    device: str | None = None
    """The device trained on; of a CPU also whether the convolutions of small networks were compiled."""
    host: str | None = None
    """The machine trained on."""
    config_json: str
    """All settings of the trial, as JSON."""
    suggestion_json: str | None = None
    """The sampler's own parameters, as JSON."""
    data_fingerprint: str | None = None
    """Hash of the data it was trained on."""
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    """Searched settings by name; each component of a simplex is one, as subset_weights_1."""
    objectives: Mapping[str, float] = field(default_factory=dict)
    """Measured value by objective; an objective that is absent was not measured."""
    stderr: Mapping[str, float] = field(default_factory=dict)
    """Standard error over held-out samples, by objective."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the record that a row of the trials table was written from."""

        def by_name(prefix: str) -> dict[str, Any]:
            pairs = ((k.removeprefix(prefix), v) for k, v in row.items() if k.startswith(prefix))
            return {name: value for name, value in pairs if value is not None}

        families = {"parameters": PARAMETER, "objectives": OBJECTIVE, "stderr": STDERR}
        given: dict[str, Any] = {name: by_name(prefix) for name, prefix in families.items()}
        return cls(**given, **{f.name: row[f.name] for f in fields(cls) if f.name in row})

    @property
    def measured(self) -> dict[str, float]:
        """Return all that was measured, by the names that objectives and constraints have."""
        return measured_values(self.objectives, self.n_parameters, self.seconds)


def measured_values(
    objectives: Mapping[str, float], n_parameters: int | None, seconds: float | None
) -> dict[str, float]:
    """Return what a trial measured, by the names that objectives and constraints have.

    >>> measured_values({"a": 2}, 10, None)
    {'a': 2.0, 'parameters': 10.0}
    """
    values = {**objectives, "parameters": n_parameters, "seconds": seconds}
    return {name: float(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One row of the events table: something that happened to a trial."""

    trial_id: str
    """The trial: one config with one seed."""
    attempt: int = 0
    """Counts the starts of the trial, from 0."""
    epoch: int
    """Epochs finished when it happened, counted from 1."""
    kind: str
    """What happened: `rung`, a decision of the scheduler; `seed`, a further seed begins; `add` or `stop`, a
    config or the trial's end that a user asked for."""
    at: datetime
    """When it happened."""
    bracket: int | None = None
    """The bracket of the trial, from 0; later brackets have later first rungs."""
    rung: int | None = None
    """Counts the rungs of the bracket, from 0."""
    decision: Literal["continue", "stop"] | None = None
    """One of continue, stop."""
    reason: str | None = None
    """Why, as a sentence."""
    front_rank: int | None = None
    """Rank of the trial's front at the rung; 0 is not dominated."""
    ahead: int | None = None
    """Trials at the rung that came before it."""
    compared_to: int | None = None
    """Trials at the rung, itself not counted."""
    objectives: Mapping[str, float] = field(default_factory=dict)
    """Value by objective that the decision rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One row of the epochs table, as the function of the option --log is given it."""

    trial_id: str
    """The trial: one config with one seed."""
    attempt: int
    """Counts the starts of the trial, from 0."""
    epoch: int
    """Epochs finished, counted from 1."""
    values: Mapping[str, float]
    """Number by column, of those that the epoch has: loss, reconstruction_NAME, o_NAME, ..."""


_CHECKED = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A hash or an id, which may become part of a path."""
Word = Annotated[str, Field(pattern=r"^[\w.:-]{1,200}$")]
"""A name of letters, digits and a few signs."""
_Count = Annotated[int, Field(ge=1, lt=2**31)]
_Modality = Annotated[str, Field(pattern=r"^[\w-]{1,100}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedInputs:
    """What all trials of a sweep were trained and judged with."""

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    data_fingerprint: Key | None = None
    """Hash of the data."""
    shapes: Mapping[str, Annotated[tuple[_Count, ...], Field(min_length=1)]] = field(default_factory=dict)
    """Shape of a sample by modality."""
    n_classes: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """Number of classes, or of attributes; 0 without labels, null if not known."""
    classes: tuple[str, ...] = ()
    """Their names in the order of their numbers, if they have any."""
    classifier_accuracy: Mapping[str, Annotated[float, Field(ge=0, le=1)]] = field(default_factory=dict)
    """Held-out accuracy of the classifier that judges coherence, by modality."""
    classifier_hash: Key | None = None
    """Hash of the weights of these classifiers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(SharedInputs):
    """What holds for the whole sweep: the content of `sweep.json`."""

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    sweep_id: Key
    """Identifies the sweep."""
    name: Word
    """The sweep's name for people."""
    created_at: Annotated[str, AfterValidator(_as_time)]
    """When the sweep began, ISO 8601 in UTC."""
    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    """Version of this file and of the tables."""
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)]
    """What is optimised, in order."""
    reference_point: Mapping[str, float]
    """The corner from which hypervolume is measured, by objective."""
    modalities: Annotated[tuple[_Modality, ...], Field(min_length=1, max_length=31), AfterValidator(_unique)]
    """Names of the modalities, in the order of the bits of a subset mask."""
    data: Word
    """Name of the data set."""
    spec: Mapping[str, Any]
    """The YAML file as plain data."""
    spec_hash: Key
    """Hash of the YAML file, by which the same sweep is recognised."""
    versions: Mapping[str, str]
    """Version by package."""
    git_revision: str | None = None
    """Revision of the source tree, if there was one, followed by `+` if it had uncommitted changes."""
    allowed_changes: tuple[str, ...] = ()
    """Changes between two runs of the sweep that its trials depend on, as sentences."""

    @property
    def split(self) -> str:
        """Return the split that the sweep's trials are measured on."""
        return str(self.spec.get("evaluation", {}).get("split", "validation"))

    @property
    def folds(self) -> int | None:
        """Return the number of folds of the data, if those are a config's replicates and not seeds."""
        return (self.spec.get("replicates") or {}).get("folds")

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Return the constraints on a config.

        Raises:
            StoreError: one of them is not a limit.
        """
        texts = {name: str(text) for name, text in (self.spec.get("constraints") or {}).items()}
        for name, text in texts.items():
            if not re.match(LIMIT, text):
                raise StoreError(f"sweep.json is damaged: constraints.{name} is {text!r}, which is no limit")
        return tuple(limit(name, text) for name, text in texts.items())

    def to_json(self) -> str:
        """Return the text of `sweep.json`."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, path: Path | str) -> Self:
        """Return the manifest of the text of `sweep.json`; `path` says in messages where it came from.

        Raises:
            StoreError: the text is damaged or of a newer schema.
        """
        try:
            newest = json.loads(text)["schema_version"]
            if isinstance(newest, int) and newest > SCHEMA_VERSION:
                raise StoreError(newer_schema(path, newest))
            return TypeAdapter(cls).validate_json(text)
        except KeyError as error:
            raise StoreError(f"{path} is damaged: it has no {error.args[0]!r}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            at, why = ".".join(map(str, first["loc"])) or "it", first["msg"]
            raise StoreError(f"{path} is damaged: {at}: {why[0].lower()}{why[1:]}") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(f"{path} is damaged: {error}") from error


def searched_by_logarithm(written: Mapping[str, Any]) -> bool:
    """Return whether a parameter, as the manifest's spec has it, is searched on a logarithmic scale."""
    return written.get("type") == "log_uniform" or bool(written.get("log"))


def newer_schema(path: Path | str, found: int) -> str:
    """Return the error message for a file that a newer release wrote."""
    return (
        f"{path} has schema version {found}, but this release reads versions up to {SCHEMA_VERSION}: "
        "install the release that wrote it, or a newer one"
    )
