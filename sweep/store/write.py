"""The writing side of a store: immutable files under names of their own, so that writers need no locks."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from mopoe.records import EpochReport
from sweep.errors import StoreError
from sweep.store import tables
from sweep.store.files import Files, files_at
from sweep.store.read import MANIFEST, Store
from sweep.store.records import EventRecord, Manifest, TrialRecord
from sweep.store.schema import table_name

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class StoreWriter:
    """Writes the files of one sweep's results folder; any number of processes may do so at once."""

    def __init__(self, root: str | Path | Files, kinds: Mapping[str, tables.Kind] | None = None) -> None:
        """Take the results folder, which is made with the first file, and the types of searched settings.

        Every file of the trials table has a column of each.
        """
        self.files = files_at(root)
        self._kinds = kinds or {}

    def write_manifest(self, manifest: Manifest) -> None:
        """Write `sweep.json`, replacing that of the same sweep.

        Raises:
            StoreError: the folder holds another sweep, cannot be written, or does not give back what it got.
        """
        known = MANIFEST in self.files.list()
        if known and (found := Store(self.files).manifest).sweep_id != manifest.sweep_id:
            raise StoreError(
                f"{self.files} holds the results of another sweep, {found.name!r} ({found.sweep_id}): "
                "choose another folder"
            )
        self.files.put_checked(MANIFEST, manifest.to_json().encode())

    def write_trial(self, record: TrialRecord) -> None:
        """Add where a trial stands; a `running` record and the final one are both kept.

        Raises:
            StoreError: the trial's name does not suit a file, or the folder cannot be written.
        """
        self._add(tables.trial_table(record, self._kinds), record.trial_id, record.attempt, record.status)

    def write_event(self, event: EventRecord) -> None:
        """Add something that happened to a trial.

        Raises:
            StoreError: the trial's name does not suit a file, or the folder cannot be written.
        """
        self._add(tables.event_table(event), event.trial_id, event.attempt, event.kind)

    def write_reports(
        self, trial_id: str, attempt: int, reports: Sequence[EpochReport], modalities: Sequence[str]
    ) -> None:
        """Add what some epochs of a trial reported: one file in each table that they have rows for.

        Raises:
            StoreError: the trial's name does not suit a file, or the folder cannot be written.
        """
        if not reports:
            return
        what = f"{reports[0].epoch:04}-{reports[-1].epoch:04}"
        of = (trial_id, attempt, reports, modalities)
        made = (tables.measured_table(name, *of) for name in ("subset_metrics", "pair_coherence", "samples"))
        for table in (tables.epoch_table(*of), *made):
            if table.num_rows:
                self._add(table, trial_id, attempt, what)

    def _add(self, table: pa.Table, trial_id: str, attempt: int, what: str) -> None:
        if not _SAFE.fullmatch(trial_id):
            raise StoreError(
                f"the trial is named {trial_id!r}, but must be named with letters, digits, dots, dashes and "
                "underscores only, the first no dot or dash"
            )
        # The checksum behind it keeps a restarted or forgotten process from replacing another's file.
        self.files.put_table(f"{table_name(table.schema)}/{trial_id}-{attempt}-{what}", table)
