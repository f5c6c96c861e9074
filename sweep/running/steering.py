"""Carries out what users ask of a sweep while it runs: a config more, or the end of a trial.

The driver looks for requests at its regular step. The file of one stays until the tables hold what came of
it: a driver that is lost loses none, and as a sweep trains a config once, the next one runs nothing twice.
"""

import time
from collections.abc import Callable
from contextlib import suppress

from mopoe.errors import ConfigError
from mopoe.wording import show
from sweep.config.space import Suggestion
from sweep.config.sweep_spec import SweepSpec
from sweep.errors import StoreError
from sweep.running.record_log import LogRecord
from sweep.search.asking import suggestion_of
from sweep.search.state import SweepState
from sweep.search.trial import SuggestedTrial, TrialReport
from sweep.store.files import Files
from sweep.store.layout import REQUESTS
from sweep.store.records import EventRecord, TrialRecord
from sweep.store.requests import Request, read_request
from sweep.store.write import StoreWriter

ADDED, STOPPED = "asked for by `sweep add`", "ended by `sweep stop`"
"""The reasons in the events table; the latter is also the trial's."""


def look_seconds(files: Files) -> float:
    """Return the seconds between two looks for requests: 2, or 18 where each costs a request itself."""
    return files.interval / 5


class Steering:
    """The requests that a sweep's driver has found and not carried out yet.

    Args:
        spec: the sweep.
        state: its trials by where they stand, which takes the configs.
        writer: the store.
        warn: called with a sentence about a file that is no possible request.
        log: called with every record of an event.
        say: called with a sentence about a trial that is a config asked for.
    """

    def __init__(
        self,
        spec: SweepSpec,
        state: SweepState,
        writer: StoreWriter,
        warn: Callable[[str], None] = lambda _: None,
        log: Callable[[LogRecord], None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._spec, self._state, self._writer = spec, state, writer
        self._warn, self._log, self._say = warn, log, say
        self._files = writer.files
        self._next_look = 0.0
        self._seen: set[str] = set()
        self._configs: dict[str, tuple[Request, Suggestion]] = {}
        self._ends: dict[str, tuple[str, Request]] = {}

    def look(self) -> None:
        """Take what was asked since the last look, if it is time for one; may be called at any time."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + look_seconds(self._files)
        with suppress(StoreError):  # a store that does not respond is looked at again later
            for name in [name for name in self._files.list(REQUESTS) if name not in self._seen]:
                with suppress(FileNotFoundError):
                    self._take(name)

    def _take(self, name: str) -> None:
        try:
            request = read_request(self._files, name)
            suggestion = suggestion_of(self._spec, request.settings) if request.kind == "add" else {}
        except (ConfigError, StoreError) as error:
            self._seen.add(name)
            self._warn(f"{name} is not carried out: {error}")
            return
        self._seen.add(name)
        if request.kind == "add":
            self._configs[name] = request, suggestion
            if (config := self._state.queue(suggestion)) is not None:  # it began before its driver was lost
                self._began(config, suggestion)
        elif (trial_id := request.trial_id) is not None:
            self._ends[trial_id] = name, request
            for record in self._state.ended:
                if record.trial_id == trial_id:
                    self.ended(record)

    def began(self, trial: SuggestedTrial) -> None:
        """Note that the table holds a trial that has begun: it may be one that was asked for."""
        self._began(trial.trial_id, trial.suggestion)

    def _began(self, trial_id: str, suggestion: Suggestion) -> None:
        for name, (request, asked) in [*self._configs.items()]:
            if asked == suggestion:
                self._done(
                    name, EventRecord(trial_id=trial_id, epoch=0, kind="add", at=request.at, reason=ADDED)
                )
                del self._configs[name]
                settings = ", ".join(f"{key} {show(value)}" for key, value in request.settings.items())
                self._say(f"{trial_id} is the added config: {settings}")

    def ends(self, trial_id: str, report: TrialReport) -> bool:
        """Return whether a trial is to end at a report, because a user asks and the tables hold it so far."""
        written = report.saved or report.objectives is not None
        return bool(written and trial_id in self._ends)

    def ended(self, record: TrialRecord) -> None:
        """Note that the table holds a trial that has ended, perhaps as was asked for."""
        name, request = self._ends.pop(record.trial_id, (None, None))
        if name is None or request is None:
            return
        event = EventRecord(
            trial_id=record.trial_id,
            attempt=record.attempt,
            epoch=record.epochs,
            kind="stop",
            at=request.at,
            decision="stop",
            reason=STOPPED,
        )
        self._done(name, event if record.stop_reason == STOPPED else None)

    def _done(self, name: str, event: EventRecord | None) -> None:
        if event is not None:
            self._writer.write_event(event)
            self._log(event)
        self._files.delete(name)
