"""`sweep status` and `sweep watch` as a user meets them."""

import io
import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from mopoe.reports import SubsetMetric
from sweep.commands.watch import _state, live_screen
from sweep.store.files import files_at
from sweep.store.lease import LEASE, Lease, driving
from sweep.store.read import Store
from sweep.store.write import StoreWriter

GOOD = {"conditional_coherence": 0.5, "log_likelihood": -15000.0}


def page(folder):
    """Return the report's page as it is now."""
    with files_at(folder).open("report/report.html") as file:
        return file.read().decode()


@pytest.fixture(params=["folder", "s3"])
def begun(request, tmp_path, make_planned, make_planned_record):
    """A sweep of two trials, one completed and one begun a minute ago; with what ends the second."""
    spec, writer = make_planned(tmp_path / "sweep", trials=2)
    root = tmp_path / "sweep" if request.param == "folder" else request.getfixturevalue("s3")
    if request.param == "s3":
        writer = StoreWriter(root)
        writer.write_manifest(Store(tmp_path / "sweep").manifest)
    ago = datetime.now(UTC) - timedelta(seconds=60)
    end = {"status": "completed", "epochs": 2, "seconds": 30.0, "objectives": GOOD}
    first = make_planned_record(spec, 0, started_at=ago, ended_at=ago + timedelta(seconds=30), **end)
    second = make_planned_record(spec, 1, started_at=ago + timedelta(seconds=30))
    writer.write_trial(first)
    writer.write_trial(second)

    def finish():
        done = make_planned_record(spec, 1, started_at=ago, ended_at=datetime.now(UTC), **end)
        writer.write_trial(done)

    return root, finish


def test_status_says_where_a_sweep_stands(sweep, begun):
    """Trials, front, pace and the age of the last report, a line each, and the front as a table."""
    folder, finish = begun
    with driving(files_at(folder)):
        status, out, err = sweep("status", folder)
    assert (status, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[:4] == [
        "tiny: running",
        "trials       2: 1 completed, 0 failed, 1 running, 0 left",
        "front        1 config, hypervolume 2500",
        "pace         120 trials an hour, about 30 s (15 to 59) left",
    ]
    assert lines[4].startswith("last report  3")
    assert lines[4].endswith(" s ago")
    assert "knee" not in out
    assert "t0000" in out
    # Without a driver it is interrupted at once, not after some patience.
    first, *others = sweep("status", folder)[1].splitlines()
    assert first.rstrip() == "tiny: interrupted with 1 trial left; `sweep resume` continues it"
    assert not [line for line in others if line.startswith("pace")]
    finish()
    assert sweep("status", folder)[1].startswith("tiny: complete\ntrials       2: 2 completed, 0 failed,")


def test_a_stalled_sweep_is_said(sweep, tmp_path, make_planned, make_planned_record):
    """A trial begun in January that has said nothing since is no running sweep; nor is its driver's word."""
    spec, writer = make_planned(tmp_path / "sweep")
    record = make_planned_record(spec, 0)
    writer.write_trial(record)
    lease = asdict(Lease.of_this_process()) | {"began": record.started_at.isoformat()}
    writer.files.put(LEASE, lambda file: file.write(json.dumps(lease).encode()))
    status, out, _ = sweep("status", tmp_path / "sweep")
    assert status == 0
    assert out.startswith("tiny: stalled: trials are left, but the last report was ")
    assert "pace" not in out


def test_watch_goes_on_until_the_sweep_is_complete(sweep, begun, monkeypatch):
    """Each look that says something new is a line; the page reloads itself until the last look."""
    folder, finish = begun
    pages = []

    def wait(seconds):
        pages.append(page(folder))
        assert seconds == 7
        if len(pages) == 2:
            finish()

    monkeypatch.setattr("sweep.commands.watch.time.sleep", wait)
    status, out, err = sweep("watch", folder, "--every", "7")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"page: {folder}/report/report.html",
        "trials       2: 1 completed, 0 failed, 1 running, 0 left",
        "trials       2: 2 completed, 0 failed, 0 running, 0 left",
    ]
    assert ["1000 * 7)" in page for page in pages] == [True, True]
    last = page(folder)
    assert "location.reload" not in last
    assert "2 trials: 2 completed." in last
    assert "report/tables/front.tex" in files_at(folder).list("report/tables")


@pytest.mark.parametrize("begun", ["folder"], indirect=True)
def test_watch_shows_on_a_terminal_what_the_run_shows(begun):
    """The sweep's state, the trials that run, the best so far, the age of the last report, and the front."""
    folder, _ = begun
    out = io.StringIO()
    with driving(files_at(folder)):
        state, now = _state(folder)
    Console(file=out, width=80).print(live_screen(state, now))
    text = "\n".join(line.rstrip() for line in out.getvalue().splitlines())
    assert text.startswith(
        "tiny: running\n"
        "1 of 2 trials done · 1 running\n"
        "front 1 config, hypervolume 2500 · about 30 s (15 to 59) left\n"
        "\n"
        "             conditional          log\n"
        "trial  epoch coherence ↑ likelihood ↑ elapsed\n"
        "t0001    0/2                             30 s\n"
        "\n"
        "best                 0.5       -15000\n"
        "config             t0000        t0000\n"
        "\n"
        "last report  3"
    )
    assert "\ntrial    coherence  likelihood  beta " in text
    assert text.endswith("best log likelihood: t0000")


@pytest.mark.parametrize("begun", ["folder"], indirect=True)
@pytest.mark.parametrize(
    ("driver", "said"),
    [(True, "the sweep continues"), (False, "the sweep is interrupted, and `sweep resume` continues it")],
)
def test_ctrl_c_ends_a_watch_and_not_the_sweep(sweep, begun, monkeypatch, driver, said):
    """It says whether the sweep goes on, exits with 0 and leaves a page that does not reload."""
    folder, _ = begun

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("sweep.commands.watch.time.sleep", interrupt)
    with driving(files_at(folder)) if driver else nullcontext():
        status, out, err = sweep("watch", folder)
    assert (status, err) == (0, "")
    assert out.endswith(f"stopped watching; {said}\n")
    assert "location.reload" not in page(folder)


@pytest.mark.parametrize("begun", ["folder"], indirect=True)
def test_a_complete_sweep_with_added_configs_is_not_interrupted(sweep, begun):
    """They wait for a driver, and are counted as left; before it was complete it was interrupted."""
    folder, finish = begun
    assert sweep("add", folder, "--set", "beta=2")[0] == 0
    assert sweep("status", folder)[1].startswith("tiny: interrupted with 2 trials left; `sweep resume` cont")
    finish()
    assert [line.rstrip() for line in sweep("status", folder)[1].splitlines()[:2]] == [
        "tiny: complete, but 1 added config waits; `sweep resume` trains it",
        "trials       3: 2 completed, 0 failed, 0 running, 1 left",
    ]
    assert sweep("add", folder, "--set", "beta=3")[0] == 0
    first = sweep("status", folder)[1].partition("\n")[0].rstrip()
    assert first == "tiny: complete, but 2 added configs wait; `sweep resume` trains them"
    with driving(files_at(folder)):
        assert sweep("status", folder)[1].startswith("tiny: running")


@pytest.mark.parametrize("begun", ["folder"], indirect=True)
def test_neither_needs_torch_or_ray(begun):
    """Both run where the two are not installed."""
    folder, finish = begun
    finish()
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name in ('torch', 'ray'):\n            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from sweep.cli import main\n"
        f"for command in ('status', 'watch'):\n    sys.argv = ['sweep', command, {str(folder)!r}]\n"
        "    try:\n        main()\n    except SystemExit as stop:\n        assert not stop.code\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny: complete\n")


def test_status_says_what_failed_and_what_to_look_at(
    sweep, tmp_path, make_planned, make_planned_record, make_report, make_evaluation
):
    """Reasons by how often, the user's own line in them, and modalities that stay at their constant."""
    spec, writer = make_planned(tmp_path / "sweep")
    for number, why in enumerate(["KeyError: 'x'; own.py:7", "KeyError: 'x'; own.py:7", "it diverged"]):
        writer.write_trial(make_planned_record(spec, number, status="failed", error=why))
    row = SubsetMetric(subset_mask=31, metric="explained", target="m3", value=0.01, n=10)
    found = replace(make_evaluation(spec.modalities, 0.5, -7000.0), subset_metrics=(row,))
    writer.write_trial(make_planned_record(spec, 3))
    writer.write_reports("t0003", 0, [make_report(1, spec.modalities, found=found)], spec.modalities)
    lines = [" ".join(line.split()) for line in sweep("status", tmp_path / "sweep")[1].splitlines()]
    assert "failed 2 x KeyError: 'x'; own.py:7" in lines
    assert "failed 1 x it diverged" in lines
    assert "warning m3 is hardly better than a constant prediction in 1 of 1 trials (t0003)" in lines
