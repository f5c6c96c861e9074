"""When a trial writes, saves a checkpoint and tells the driver, on a clock of the test's own."""

import numpy as np
import pytest

from sweep.running.reporting import CHECKPOINT_SHARE, DriverReports, ReportWriter
from sweep.search.trial import TrialReport
from sweep.store.files import Files, LocalFiles
from sweep.store.read import Store
from sweep.store.write import StoreWriter

NAMES = ("m0", "m1", "m2")


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """Return a clock of the test's own."""
    return Clock()


@pytest.fixture
def reports(tmp_path, make_manifest, clock):
    """Return the writer of a trial's reports in a folder of this machine."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    return ReportWriter(writer, "t0000", 0, NAMES, clock)


def test_reports_gather_until_a_checkpoint_is_due(reports, make_report, clock, tmp_path):
    """Nothing is written at first; after the interval all that gathered is one file."""
    reports.add(make_report(1, NAMES, 1.0))
    assert not reports.due
    assert Store(tmp_path).epochs().collect().height == 0
    clock.now += LocalFiles.interval
    reports.add(make_report(2, NAMES, 1.0))
    assert reports.due
    assert sorted(Store(tmp_path).epochs().collect()["epoch"]) == [1, 2]
    assert len(list((tmp_path / "epochs").iterdir())) == 1


def test_an_evaluation_is_written_at_once(reports, make_report, make_evaluation, clock, tmp_path):
    """What others wait for does not wait; its checkpoint only until the last one has paid for itself."""
    reports.add(make_report(1, NAMES, 1.0, make_evaluation(NAMES, 0.5, -100.0)))
    assert reports.due
    clock.now += 2.0
    reports.saved()
    reports.add(make_report(2, NAMES, 1.0, make_evaluation(NAMES, 0.5, -100.0)))
    assert not reports.due
    assert sorted(Store(tmp_path).epochs().collect()["epoch"]) == [1, 2]
    clock.now += 2.0 / CHECKPOINT_SHARE
    reports.add(make_report(3, NAMES, 1.0, make_evaluation(NAMES, 0.5, -100.0)))
    assert reports.due
    assert Store(tmp_path).pair_coherence().collect().height == 3 * 7 * 3


def test_flushing_nothing_writes_nothing(tmp_path):
    """A trial that fails in its first epoch leaves no empty files."""
    ReportWriter(StoreWriter(tmp_path), "t0000", 0, NAMES).flush()
    assert list(tmp_path.iterdir()) == []


def test_a_drained_trial_writes_at_once(reports, make_report):
    """What is asked for is due, whatever the clock says."""
    reports.add(make_report(1, NAMES, 1.0))
    reports.save_now()
    assert reports.due


@pytest.mark.parametrize(("epoch", "cost", "wanted"), [(1.0, 0.2, 10), (1.0, 3.0, 4), (0.5, 1.0, 5)])
def test_a_machine_that_is_taken_back_saves_every_epoch(
    tmp_path, make_manifest, make_report, clock, epoch, cost, wanted
):
    """Ten epochs after the notice; where a checkpoint takes longer than an epoch, they share the time."""
    writer, leaving = StoreWriter(tmp_path), []
    writer.write_manifest(make_manifest())
    reports = ReportWriter(writer, "t0000", 0, NAMES, clock, lambda: bool(leaving))
    saved = []
    for number in range(1, 16):
        clock.now += epoch
        if number > 5:
            leaving.append(True)
        reports.add(make_report(number, NAMES, 1.0))
        if reports.due:
            saved.append(number)
            clock.now += cost
        reports.saved()
    assert all(number > 5 for number in saved)
    assert sorted(Store(tmp_path).epochs().collect()["epoch"]) == list(range(1, saved[-1] + 1))
    assert len(saved) == wanted


@pytest.mark.parametrize("cost", [0.01, 0.4, 3.0, 10.0])
@pytest.mark.parametrize("epoch", [0.5, 0.85, 20.0])
def test_checkpoints_take_a_small_share_of_the_time(reports, make_report, clock, cost, epoch):
    """Over many epochs, at most a twentieth beside the first; cheap ones come every ten seconds, or epoch."""
    saved, checkpoints = [], 0.0
    for number in range(1, 2000):
        clock.now += epoch
        reports.add(make_report(number, NAMES, 1.0))
        if reports.due:
            clock.now += cost
            checkpoints += cost
            saved.append(clock.now)
        reports.saved()
    assert (checkpoints - cost) / (clock.now - saved[0]) <= CHECKPOINT_SHARE
    steps = np.diff(saved)
    assert steps.max() <= max(LocalFiles.interval, cost / CHECKPOINT_SHARE) + cost + epoch + 1e-6


def test_an_object_store_gets_fewer_files():
    """A request takes time there, and is paid for."""
    assert Files.interval > LocalFiles.interval


def test_the_driver_is_told_what_it_acts_on(clock):
    """Evaluations and checkpoints at once, other epochs when the driver has heard nothing for long."""
    told = []
    reports = DriverReports(told.append, TrialReport(device="cpu", host="here"), 10.0, clock)
    for epoch in range(1, 8):
        clock.now += 4.5
        measured = {"x": 0.5} if epoch == 2 else None
        reports.add(
            TrialReport(epoch=epoch, seconds=float(epoch), objectives=measured, saved=epoch in (2, 6, 7))
        )
    assert [report.epoch for report in told] == [2, 5, 6, 7]
    assert [report.objectives for report in told] == [{"x": 0.5}, None, None, None]
    assert {(report.device, report.host) for report in told} == {("cpu", "here")}


def test_a_failure_says_how_far_the_trial_was(clock):
    """Also where the driver has not heard of the last epochs."""
    told = []
    reports = DriverReports(told.append, TrialReport(host="here"), 10.0, clock)
    reports.add(TrialReport(epoch=3, seconds=2.0))
    reports.tell(TrialReport(failure="no memory"))
    assert told == [TrialReport(epoch=3, seconds=2.0, failure="no memory", host="here")]
