"""What other programs see: the study as optuna-dashboard opens it, epochs as TensorBoard does."""

from datetime import datetime, timedelta, timezone

import optuna
import pytest

from sweep.config.sweep_spec import load_spec
from sweep.running.dashboards import StudyMirror, open_storage, write_epoch
from sweep.search.trial import ConfigResult

SUGGESTION = {"beta": 0.5, **{f"subset_weights.{i}": 0.5 for i in range(4)}}
MEASURED = {"conditional_coherence": 0.5, "log_likelihood": -7.0}


@pytest.mark.parametrize("name", ["journal.log", "sqlite:///{folder}/sweep.db"])
def test_the_study_on_disk_has_every_config(sweep_file, tmp_path, monkeypatch, name):
    """Names, values, objectives and failures arrive; a second run replaces the study of its own name only."""
    monkeypatch.chdir(tmp_path)
    storage, said = name.format(folder=tmp_path), []
    spec = load_spec(sweep_file)
    for study in ("other", "mine", "mine"):
        mirror = StudyMirror(storage, study, spec, (), said.append)
        mirror.add(
            ConfigResult(
                name="t0000",
                suggestion=SUGGESTION,
                status="completed",
                measured={"conditional_coherence": 0.5, "log_likelihood": -7.0},
            )
        )
        mirror.add(ConfigResult(name="t0001", suggestion=SUGGESTION, status="failed"))
    assert said == []
    assert sorted(optuna.get_all_study_names(open_storage(storage))) == ["mine", "other"]
    found = optuna.load_study(study_name="mine", storage=open_storage(storage))
    assert [t.name for t in found.directions] == ["MAXIMIZE"] * 2
    assert found.metric_names == [o.name for o in spec.objectives]
    assert [(t.user_attrs["name"], t.state.name, t.values) for t in found.trials] == [
        ("t0000", "COMPLETE", [0.5, -7.0]),
        ("t0001", "FAIL", None),
    ]
    assert found.trials[0].params == SUGGESTION


@pytest.mark.parametrize("storage", ["{folder}/no/such/folder/x.log", "nothing://here"])
def test_a_mirror_that_cannot_be_written_is_one_warning(sweep_file, tmp_path, storage):
    """The sweep goes on; nothing is tried again."""
    said, storage = [], storage.format(folder=tmp_path)
    mirror = StudyMirror(storage, "mine", load_spec(sweep_file), (), said.append)
    mirror.add(ConfigResult(name="t0000", suggestion=SUGGESTION, status="failed"))
    assert len(said) == 1
    assert said[0].startswith(f"warning: the study is no longer copied to {storage} (")


def test_epochs_are_written_for_tensorboard(make_report, make_evaluation, tmp_path):
    """One event file per trial; losses by epoch."""
    tensorboard = pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    names = ("m0", "m1", "m2")
    with tensorboard.SummaryWriter(str(tmp_path / "t0000")) as writer:
        write_epoch(writer, make_report(1, names))
        write_epoch(writer, make_report(2, names, 1.0, make_evaluation(names, 0.5, -100.0)))
    (file,) = (tmp_path / "t0000").iterdir()
    content = file.read_bytes()
    for tag in (b"loss", b"reconstruction/m2", b"objective/log_likelihood"):
        assert tag in content


@pytest.mark.parametrize("name", ["journal.log", "sqlite:///{folder}/sweep.db"])
def test_the_dashboard_gets_constraints_dates_and_curves(sweep_file, tmp_path, monkeypatch, name):
    """Where it looks for them: excesses in the order of the file, local times, values by epoch."""
    monkeypatch.chdir(tmp_path)
    storage, said = name.format(folder=tmp_path), []
    one = ["objectives=[log_likelihood]", "reference_point={log_likelihood: -20000}"]
    spec = load_spec(sweep_file, [*one, 'constraints={parameters: "<= 10", seconds: "<= 100"}'])
    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5)))
    StudyMirror(storage, "mine", spec, (), said.append).add(
        ConfigResult(
            name="t0000",
            suggestion=SUGGESTION,
            status="infeasible",
            measured={"log_likelihood": -7.0, "parameters": 15.0, "seconds": 50.0},
            began=began,
            ended=began + timedelta(seconds=90),
            curve={1: -9.0, 2: -7.0},
        )
    )
    assert said == []
    (trial,) = optuna.load_study(study_name="mine", storage=open_storage(storage)).trials
    assert trial.system_attrs["constraints"] == [0.5, -0.5]
    assert trial.constraints.items() >= {("parameters", 0.5), ("seconds", -0.5)}
    assert (trial.datetime_start.timestamp(), trial.duration) == (began.timestamp(), timedelta(seconds=90))
    assert trial.intermediate_values == {1: -9.0, 2: -7.0}


def test_a_warning_shows_no_password(sweep_file):
    """Of a database that does not answer."""
    said = []
    StudyMirror("nothing://me:secret@host/db", "mine", load_spec(sweep_file), (), said.append)
    assert "secret" not in said[0]
    assert "nothing://***@host/db" in said[0]
