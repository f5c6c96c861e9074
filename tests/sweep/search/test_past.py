"""What a sweep takes over from another one's tables."""

from dataclasses import replace

import pytest

from sweep.config.sweep_spec import load_spec
from sweep.errors import StoreError
from sweep.manifest import new_manifest
from sweep.search.past import warm_start
from sweep.search.trial import SuggestedTrial, TrialReport, begin_record, end_record
from sweep.store.records import SharedInputs
from sweep.store.write import StoreWriter

VALUES = {"conditional_coherence": 0.5, "joint_coherence": 0.1, "log_likelihood": -7000.0}


@pytest.fixture
def earlier(sweep_file, tmp_path):
    """Give the folder of an earlier sweep: two completed trials, one infeasible, stopped and failed each."""
    spec = load_spec(sweep_file)
    writer = StoreWriter(tmp_path / "earlier")
    writer.write_manifest(new_manifest(spec, spec.spec_hash, SharedInputs()))
    now = new_record(spec, "t0", 0.5).started_at
    ends = {
        "t0": (0.5, TrialReport(epoch=2, objectives=VALUES)),
        "t1": (3.0, TrialReport(epoch=2, objectives=VALUES | {"log_likelihood": -6000.0})),
        "t3": (0.5, TrialReport(epoch=1, objectives=VALUES, stopped="x")),
        "t4": (0.5, TrialReport(failure="boom")),
    }
    for name, (beta, last) in ends.items():
        writer.write_trial(end_record(new_record(spec, name, beta), last, spec.objectives, now))
    other = replace(
        end_record(new_record(spec, "t2", 0.25), ends["t0"][1], spec.objectives, now),
        status="infeasible",
    )
    writer.write_trial(other)
    return writer.files.folder


def new_record(spec, name, beta):
    """Return the record of a trial that starts."""
    from datetime import UTC, datetime

    suggestion = spec.space.suggestion(spec.space.complete({"beta": beta}))
    trial = SuggestedTrial(trial_id=name, attempt=0, suggestion=suggestion)
    return begin_record(spec, trial.config(spec), trial, datetime(2026, 1, 1, tzinfo=UTC))


def test_trials_of_full_budget_inside_the_space_are_taken(sweep_file, earlier):
    """Stopped and failed trials are not; an infeasible one is judged by this sweep's own limits."""
    found, sentence = warm_start(earlier, load_spec(sweep_file))
    assert sorted(t.name for t in found) == ["t0", "t1", "t2"]
    assert {t.status for t in found} == {"completed"}
    measured = {t.name: t.measured["log_likelihood"] for t in found}
    assert (measured["t0"], measured["t1"]) == (-7000.0, -6000.0)
    assert sentence == f"warm start: 3 of the 3 trials of {earlier} fit this sweep"


def test_trials_outside_the_space_are_left_out(sweep_file, earlier):
    """A narrower range leaves out what lies beyond it."""
    found, sentence = warm_start(earlier, load_spec(sweep_file, ["search_space.beta.high=1"]))
    assert sorted(t.name for t in found) == ["t0", "t2"]
    assert sentence == f"warm start: 2 of the 3 trials of {earlier} fit this sweep"


@pytest.mark.parametrize("override", ["fixed.epochs=3", "fixed.latent_dim=5"])
def test_trials_with_other_constants_are_left_out(sweep_file, earlier, override):
    """Their objectives are those of another model or budget; another seed does not matter."""
    assert warm_start(earlier, load_spec(sweep_file, [override]))[0] == []
    assert len(warm_start(earlier, load_spec(sweep_file, ["fixed.seed=7"]))[0]) == 3


@pytest.mark.parametrize(("override", "what"), [("data.seed=1", "data"), ("evaluation.seed=1", "evaluation")])
def test_another_measurement_gives_nothing(sweep_file, earlier, override, what):
    """Objectives on other data, or measured otherwise, are not comparable; the sentence says so."""
    found, sentence = warm_start(earlier, load_spec(sweep_file, [override]))
    assert found == []
    assert (
        sentence == f"warm start: none of the 3 trials of {earlier} can be used, because its {what} differs"
    )


def test_a_folder_without_results_is_refused(sweep_file, tmp_path):
    """The store's own sentence names the folder."""
    with pytest.raises(StoreError, match=r"^there is no results folder .*nothing$"):
        warm_start(tmp_path / "nothing", load_spec(sweep_file))
