"""What a user asks of a sweep that may be running: one more config, or the end of a trial.

Everything is checked against the tables before it is asked. The driver carries it out, `running/steering.py`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic_core import PydanticCustomError

from mopoe.errors import ConfigError
from mopoe.network_options import distinct, named
from mopoe.wording import did_you_mean
from search_spaces import split_assignment
from sweep.config.settings import check_point
from sweep.config.space import Suggestion
from sweep.config.sweep_spec import SweepSpec
from sweep.search.past import trial_records
from sweep.store.files import Files
from sweep.store.read import Store
from sweep.store.records import TrialRecord
from sweep.store.requests import Request, ask, waiting


def ask_for_config(store: Store, assignments: Sequence[str], base: str | None = None) -> Mapping[str, Any]:
    """Ask for a config, beside those of `trials`, and return its searched settings.

    Args:
        store: the sweep's results folder.
        assignments: searched settings, as in beta=2.5.
        base: the trial that the other settings are taken from; None for the middle of their ranges.

    Raises:
        ConfigError: there is no such searched setting or trial, a value is impossible or outside the search
            space, or the sweep has or awaits this config already.
        StoreError: the folder holds single trials, or cannot be written.
    """
    spec, trials = store.spec, _trials(store)
    taken = {} if base is None else json.loads(_known(base, trials).config_json)
    taken = {name: taken[name] for name in spec.space.active(taken) if name in taken}
    given = distinct(pair for text in assignments for pair in named(dict([split_assignment(text)])))
    for name in given:
        if name not in spec.search_space:
            is_not = f"{name} is not searched by this sweep, so it is the same for all of its trials"
            raise ConfigError(f"{is_not}; {did_you_mean(name, spec.search_space)}")
    try:
        settings = spec.space.complete(check_point(given, spec.space, base=taken))
    except PydanticCustomError as error:
        raise ConfigError(f"{error}; only configs of the search space can be added") from None
    suggestion = suggestion_of(spec, settings)
    for trial in trials.values():
        if _same(json.loads(trial.suggestion_json or "{}"), suggestion):
            raise ConfigError(
                f"{trial.trial_id} has these settings already, which give the same numbers again"
            )
    if any(_same(other, suggestion) for other in queued(store.files, spec)):
        raise ConfigError("a config with these settings waits already")
    ask(store.files, Request(kind="add", settings=settings))
    return settings


def ask_for_end(store: Store, trial_id: str) -> None:
    """Ask for the end of a running trial.

    Raises:
        ConfigError: there is no such trial, or it has ended.
        StoreError: the folder holds single trials, or cannot be written.
    """
    trials = _trials(store)
    running = {name: trial for name, trial in trials.items() if trial.status == "running"}
    if trial_id in trials and trial_id not in running:
        ended = f"{trial_id} has ended already ({trials[trial_id].status})"
        raise ConfigError(f"{ended}; running: {', '.join(running) or 'none'}")
    _known(trial_id, running)
    ask(store.files, Request(kind="stop", trial_id=trial_id))


def suggestion_of(spec: SweepSpec, settings: Mapping[str, Any]) -> Suggestion:
    """Return the suggestion of a config that is asked for; ConfigError if it is impossible or outside."""
    try:
        suggestion = spec.space.suggestion(spec.space.complete(check_point(settings, spec.space)))
    except PydanticCustomError as error:
        raise ConfigError(str(error)) from None
    spec.trial_config(spec.space.settings(suggestion))
    return suggestion


def queued(files: Files, spec: SweepSpec) -> list[Suggestion]:
    """Return the configs that are asked for and have not begun."""
    found = []
    for request in waiting(files).values():
        with suppress(ConfigError):
            if request.kind == "add":
                found.append(suggestion_of(spec, request.settings))
    return found


def _same(one: Suggestion, other: Suggestion) -> bool:
    """Return whether two suggestions agree but for rounding, as weights do that were numbers of a cube."""
    return one.keys() == other.keys() and all(
        value == other[axis] or (isinstance(value, float) and math.isclose(value, float(other[axis])))
        for axis, value in one.items()
    )


def _trials(store: Store) -> dict[str, TrialRecord]:
    """Return a sweep's trials by name; ConfigError if the folder holds single ones."""
    if store.manifest.spec_hash.startswith("t"):
        raise ConfigError(
            f"{store.files} holds single trials, which no sweep runs; `sweep trial` trains more"
        )
    return {record.trial_id: record for record in trial_records(store)}


def _known(trial_id: str, trials: Mapping[str, TrialRecord]) -> TrialRecord:
    if trial_id not in trials:
        raise ConfigError(f"there is no trial {trial_id!r}; {did_you_mean(trial_id, trials)}")
    return trials[trial_id]
