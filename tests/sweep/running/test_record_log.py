"""Every record of a sweep goes to a function of the user's own, which cannot end the sweep."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mopoe.errors import ConfigError
from mopoe.plugins import plugin
from sweep.running.record_log import epoch_record, logging_to, named_logger
from sweep.running.reporting import DriverReports
from sweep.search.trial import TrialReport
from sweep.store.read import open_store
from sweep.store.records import EpochRecord, EventRecord, Manifest, TrialRecord
from sweep.store.write import epoch_row

GUIDE = Path(__file__).parents[3] / "docs" / "guide.md"
NAMES = ("m0", "m1", "m2")
MODULE = """
import mopoe

seen = []

@mopoe.plugin
def keep(record):
    seen.append(record)

@mopoe.plugin
def broken(record):
    seen.append(record)
    if len(seen) > 2:
        raise OSError("the server is gone")

def unmarked(record):
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Give the name of a module with loggers, new for each test, in the current folder."""
    name = f"own_loggers_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return name


def test_records_are_passed_on_in_order_until_one_fails(make_record: Callable[..., TrialRecord]) -> None:
    """All have been taken in the end; the first error is the only warning, and nothing follows it."""
    records = [make_record(f"t{n:04}") for n in range(200)]
    taken: list[object] = []
    said: list[str] = []
    with logging_to(taken.append, said.append) as tell:
        for record in records:
            tell(record)
    assert (taken, said) == (records, [])

    def fails(record: object) -> None:
        taken.append(record)
        raise ValueError("no\nroom at http://me:secret@host")

    taken.clear()
    with logging_to(fails, said.append) as tell:
        for record in records:
            tell(record)
    assert taken == records[:1]
    place = f"{__file__}:{fails.__code__.co_firstlineno + 2}"
    (warning,) = said
    assert warning == (
        f"warning: records are no longer logged (ValueError: no room at http://***@host; {place})"
    )


def test_a_logger_that_cannot_be_called_is_refused_before_anything(
    module: str, sweep: Callable[..., tuple[int, str, str]], quick_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not found, not marked, or without the package that it needs; nothing is written."""
    for reference, message in (
        ("absent:log", "cannot be imported (ModuleNotFoundError"),
        (f"{module}:unmarked", "is not marked as a plugin"),
    ):
        status, _, err = sweep("run", quick_file, "--log", reference)
        assert status == 2
        assert f"--log: '{reference}' {message}" in " ".join(err.split())
    assert not Path("results").exists()
    assert named_logger(None) is None

    @plugin
    def needy(record: object) -> None:
        pass

    needy.needs = "no_such_package"  # type: ignore[attr-defined]
    monkeypatch.setitem(vars(sys.modules[module]), "needy", needy)
    missing = r"^--log \w+:needy needs the package no_such_package, which is not installed: pip install "
    with pytest.raises(ConfigError, match=missing):
        named_logger(f"{module}:needy")


@pytest.mark.parametrize("wanted", [False, True])
def test_no_epoch_is_lost_between_two_reports(
    make_report: Callable[..., Any], make_evaluation: Callable[..., Any], *, wanted: bool
) -> None:
    """Epochs that the driver is not told of at once come with the next report, as the table has them."""
    told: list[TrialReport] = []
    reports = DriverReports(told.append, TrialReport(), 1e9, rows=wanted)
    made = [make_report(n, NAMES) for n in (1, 2)] + [
        make_report(3, NAMES, 1.0, make_evaluation(NAMES, 0.5, -9.0))
    ]
    for report in made:
        reports.add_row(report)
        found = report.evaluation
        reports.add(TrialReport(epoch=report.epoch, objectives=dict(found.objectives) if found else None))
    reports.tell(TrialReport(failure="lost"))
    rows = [TrialReport.from_ray(report.to_ray()).rows for report in told]
    assert rows == [[epoch_row(report) for report in made] if wanted else None, None]
    if wanted:
        record = epoch_record(TrialRecord(**_MINIMAL), epoch_row(made[2]))
        assert (record.trial_id, record.attempt, record.epoch) == ("t0", 1, 3)
        assert record.values["o_log_likelihood"] == -9.0
        assert record.values["loss"] == made[2].loss
        assert "epoch" not in record.values


_MINIMAL: Mapping[str, Any] = {
    "trial_id": "t0",
    "attempt": 1,
    "config_id": "c",
    "seed": 0,
    "status": "running",
    "epochs": 0,
    "epochs_max": 3,
    "started_at": None,
    "config_json": "{}",
}


def test_the_guides_logger_writes_what_it_says(
    make_record: Callable[..., TrialRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for a trial that has ended, none for anything else."""
    code = re.search(
        r"```python\n(\"\"\"A line in a file.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert code is not None
    (tmp_path / f"{(name := 'guides_logger')}.py").write_text(code[1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with logging_to(named_logger(f"{name}:to_file"), lambda _: None) as tell:
        tell(make_record("t0001"))
        tell(EpochRecord(trial_id="t0001", attempt=0, epoch=1, values={"loss": 1.0}))
        tell(make_record("t0001", status="completed", objectives={"log_likelihood": -7.0}))
    del sys.modules[name]
    assert (tmp_path / "ended.txt").read_text() == "t0001 completed {'log_likelihood': -7.0}\n"


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
def test_a_logger_sees_what_the_tables_hold(
    module: str, sweep: Callable[..., tuple[int, str, str]], quick_file: Path, tmp_path: Path
) -> None:
    """The manifest first, both records of each trial, every number of every epoch, every decision."""
    root = tmp_path / "results"
    more = [
        "-o",
        "scheduler={type: halving, grace: 1}",
        "-o",
        "resources.concurrent=1",
        "-o",
        "fixed.epochs=3",
    ]
    status, out, err = sweep("run", quick_file, "--out", root, "--log", f"{module}:keep", *more)
    assert status == 0, err
    store, seen = open_store(root), sys.modules[module].seen
    assert seen[0] == store.manifest
    assert [type(record) for record in seen].count(Manifest) == 1
    trials = [record for record in seen if isinstance(record, TrialRecord)]
    assert {t.trial_id: t.status for t in trials} == dict(
        store.trials().select("trial_id", "status").collect().rows()
    )
    assert [t.status for t in trials].count("running") == 3
    epochs = [record for record in seen if isinstance(record, EpochRecord)]
    rows = {(r["trial_id"], r["epoch"]): r for r in store.epochs().collect().iter_rows(named=True)}
    assert len(epochs) == len(rows) >= 5
    for record in epochs:
        row = rows[record.trial_id, record.epoch]
        assert record.values == {
            k: v for k, v in row.items() if isinstance(v, int | float) and k not in ("epoch", "attempt")
        }
    events = [record for record in seen if isinstance(record, EventRecord)]
    assert sorted((e.trial_id, e.epoch, e.reason) for e in events) == sorted(
        store.events().select("trial_id", "epoch", "reason").collect().rows()
    )
    assert events
    assert "warning" not in out + err
    del seen[:]
    status, out, err = sweep(
        "extend", root, "--trials", "1", "--log", f"{module}:broken", "-o", "resources.concurrent=1"
    )
    assert status == 0, err
    assert err.count("warning: records are no longer logged (OSError: the server is gone; ") == 1
    assert len(seen) == 3
    assert open_store(root).latest_trials().collect().height == 4
