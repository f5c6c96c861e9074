"""What a page says first, and a terminal too where no config is of use."""

import io
from dataclasses import replace

import polars as pl
import pytest
from rich.console import Console

from sweep.report.summary import futility, mean_chance, summary_card
from sweep.report.tables import print_front
from sweep.report.view import view
from sweep.store.read import open_store
from sweep.store.write import StoreWriter

CHANCE = (
    "No config is above chance (0.12) in conditional coherence by more than two standard errors: what is "
    "generated does not fit what was observed."
)
BEYOND = (
    "No config is better than the reference point (conditional coherence 0, log likelihood -1700) in every "
    "objective, so the hypervolume is 0."
)


@pytest.fixture(scope="module")
def seen(made_up_sweep):
    """Give the view of the made-up sweep."""
    return view(open_store(made_up_sweep))


def test_three_sentences(seen):
    """Trade-offs, how sure they are, and what to be wary of: nothing else where the sweep is of use."""
    trade_offs, sure, wary = summary_card(seen).finding.split("\n")
    assert trade_offs == (
        "5 configs of 7 are on the front; on it conditional coherence runs from 0.42 to 0.8 and log "
        "likelihood runs from -1640 to -1480; the knee, t02, gives up 0.08 ± 0.20 of conditional coherence "
        "and 32 ± 58 nats of log likelihood against the best."
    )
    assert sure == (
        "The probability that a pick is the right one is undecided for the best conditional coherence, the "
        "best log likelihood, the knee."
    )
    assert wary == "Be wary: 5 of 5 configs of the front have fewer than 3 seeds."


def small(root, make_manifest, make_record, make_report, make_evaluation, coherence, likelihood):
    """Write two configs with one seed each and the same coherence, with a standard error of 0.015."""
    writer = StoreWriter(root)
    writer.write_manifest(make_manifest())
    for k in range(2):
        found = make_evaluation(("m0", "m1", "m2"), coherence, likelihood - k)
        writer.write_reports(
            f"t{k}", 0, [make_report(1, ("m0", "m1", "m2"), found=found)], ("m0", "m1", "m2")
        )
        ended = {"status": "completed", "objectives": found.objectives, "stderr": found.stderr}
        writer.write_trial(make_record(f"t{k}", epochs=1, epochs_max=1, **ended))
    return open_store(root)


@pytest.mark.parametrize(
    ("coherence", "likelihood", "said"),
    [
        (0.16, -1600.0, []),
        (0.14, -1600.0, [CHANCE]),  # 0.14 - 2 x 0.015 = 0.11
        (0.5, -1700.0, [BEYOND]),
        (0.1, -1800.0, [CHANCE, BEYOND]),
    ],
)
def test_a_sweep_of_no_use_is_said_first(
    tmp_path, make_manifest, make_record, make_report, make_evaluation, coherence, likelihood, said
):
    """On the page and on the terminal, before the front; how sure it is needs a second seed."""
    made = (make_manifest, make_record, make_report, make_evaluation)
    store = small(tmp_path, *made, coherence, likelihood)
    finding = summary_card(view(store)).finding
    assert finding.startswith("\n".join([*said, "1 config of 2 is on the front"]))
    assert "How sure this is cannot be told, because no config has a second seed" in finding
    console = Console(file=io.StringIO(), width=300)
    print_front(store, console)
    lines = console.file.getvalue().splitlines()
    assert [line for line in lines if line.startswith("No config")] == said
    assert lines[: 2 * len(said) : 2] == said


def test_without_labels_there_is_no_chance(seen):
    """Neither a level nor a sentence; an objective of another name is not compared with it."""
    assert mean_chance(seen.pairs.clear()) is None
    assert futility(seen.tradeoff, None) == []
    assert futility(seen.tradeoff, 0.9) == [CHANCE.replace("0.12", "0.9")]


def test_many_warnings_are_counted(seen):
    """Two are told, without their advice; the table of checks has all."""
    spec = {**seen.tradeoff.manifest.spec, "evaluation": {"split": "test"}}
    trials = seen.tradeoff.trials.with_columns(status=pl.lit("failed"))
    manifest = replace(seen.tradeoff.manifest, spec=spec)
    found = replace(seen, tradeoff=replace(seen.tradeoff, manifest=manifest, trials=trials))
    assert summary_card(found).finding.endswith(
        "Be wary: 5 of 5 configs of the front have fewer than 3 seeds; 11 of 11 finished trials have failed; "
        "and 1 more warning below."
    )


def test_unfinished_training_is_to_be_wary_of(seen):
    """It is told first, as all else may change with more epochs."""
    curves = seen.curves.with_columns(elbo=-1000.0 / pl.col("epoch"))
    assert summary_card(replace(seen, curves=curves)).finding.endswith(
        "Be wary: 8 of 8 completed trials still raised the ELBO by more than 1 % in the last tenth of the "
        "epochs; 5 of 5 configs of the front have fewer than 3 seeds."
    )


def test_a_warning_keeps_a_modalitys_name(seen):
    """It may begin with one, as MNIST; without any warning that is said."""
    row = {"trial_id": "t02", "attempt": 0, "epoch": 1, "target": "MNIST", "value": 0.01}
    worried = replace(seen, explained=pl.DataFrame([row]))
    said = "; MNIST is hardly better than a constant prediction in 1 of 1 trials (t02)."
    assert summary_card(worried).finding.endswith(said)
    sound = seen.tradeoff.configs.with_columns(seeds=pl.lit(3))
    calm = replace(seen, tradeoff=replace(seen.tradeoff, configs=sound))
    assert summary_card(calm).finding.endswith("\nThe checks warn of nothing more.")
