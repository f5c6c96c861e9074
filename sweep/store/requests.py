"""What users ask of a sweep while it runs: small files in its results folder, which its driver looks for.

So it works wherever the folder can be written, and what is asked while no driver runs waits for the next one.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import uuid4

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError

from sweep.errors import StoreError
from sweep.store.files import Files
from sweep.store.layout import REQUESTS
from sweep.store.records import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The content of a request's file."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Literal["add", "stop"]
    """A config to train, or a trial to end."""
    at: AwareDatetime = field(default_factory=lambda: datetime.now(UTC))
    """When it was asked."""
    trial_id: Key | None = None
    """The trial to end."""
    settings: Annotated[Mapping[str, Any], Field(max_length=1000)] = field(default_factory=dict)
    """Value by searched setting of the config to train."""


def ask(files: Files, request: Request) -> str:
    """Store a request in a results folder and return its name; those asked earlier are first by name.

    Raises:
        StoreError: the folder cannot be written, or returns other bytes.
    """
    name = f"{REQUESTS}/{request.at:%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}.json"
    content = asdict(request) | {"at": request.at.isoformat()}
    files.put_checked(name, json.dumps(content).encode())
    return name


def read_request(files: Files, name: str) -> Request:
    """Return a request by its name; FileNotFoundError if it was taken meanwhile.

    Raises:
        StoreError: its file cannot be read, or is none of a request.
    """
    with files.open(name) as file:
        content = file.read()
    try:
        return TypeAdapter(Request).validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at, why = ".".join(map(str, first["loc"])) or "it", first["msg"]
        raise StoreError(f"{files}/{name} is no request: {at}: {why[0].lower()}{why[1:]}") from error


def waiting(files: Files) -> dict[str, Request]:
    """Return the requests that no driver has carried out yet by name, those asked earlier first.

    What cannot be read is left out: the driver tells of it.
    """
    found = {}
    for name in files.list(REQUESTS):
        with suppress(FileNotFoundError, StoreError):
            found[name] = read_request(files, name)
    return found
