import io
from dataclasses import replace

import polars as pl
from rich.console import Console

from sweep.analysis.tradeoff import tradeoff
from sweep.config.objectives import Objective
from sweep.report.tables import front_rows, nothing_yet, print_front
from sweep.store.read import Store, open_store
from sweep.store.write import StoreWriter


def printed(root, width=120) -> str:
    """Print the front of a store and return the text."""
    console = Console(file=io.StringIO(), width=width)
    print_front(Store(root), console)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_front_rows_hold_the_front_best_first(made_up_sweep):
    """One row per front config by falling coherence, with picks, errors, settings and seeds."""
    found = front_rows(tradeoff(open_store(made_up_sweep)))
    assert found.columns == [
        "trial_id",
        "config_id",
        "seeds",
        "picks",
        "o_conditional_coherence",
        "se_conditional_coherence",
        "o_log_likelihood",
        "se_log_likelihood",
        "p_beta",
        "p_latent_dim",
        "p_prior_expert",
    ]
    assert found.select("trial_id", "seeds", "picks", "p_beta").rows() == [
        ("t04", 1, "best conditional coherence", 8.0),
        ("t03", 1, "", 5.0),
        ("t02", 2, "knee", 2.5),
        ("t01", 1, "", 1.0),
        ("t00", 1, "best log likelihood", 0.5),
    ]
    assert found["o_log_likelihood"].to_list() == [-1640.0, -1570.0, -1512.0, -1490.0, -1480.0]
    assert found["se_log_likelihood"].to_list() == [2.5, 2.5, 2.0, 2.5, 2.5]


def test_printed_front(made_up_sweep):
    """The terminal shows the table, the picks, the counts, the hypervolume and why trials failed."""
    assert printed(made_up_sweep).splitlines() == [
        "         conditional            log        latent   prior",
        "trial      coherence     likelihood  beta     dim  expert  seeds",
        "t04    0.800 ± 0.015  -1640.0 ± 2.5     8      32    none      1",
        "t03    0.780 ± 0.015  -1570.0 ± 2.5     5     128    full      1",
        "t02    0.720 ± 0.020  -1512.0 ± 2.0   2.5      64     all      2",
        "t01    0.550 ± 0.015  -1490.0 ± 2.5     1      64    full      1",
        "t00    0.420 ± 0.015  -1480.0 ± 2.5   0.5      32    full      1",
        "",
        "best conditional coherence: t04",
        "best log likelihood: t00",
        "knee: t02",
        "11 trials: 8 completed, 1 stopped, 1 failed, 1 running; front: 5 configs of 7; hypervolume 161",
        "  1 failed: the loss is nan at step 5",
    ]


def test_nothing_completed_is_said_in_a_sentence(tmp_path, make_manifest, make_record):
    """Without a completed trial there is no table but a sentence, also before the first trial."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    yet = "No trial has completed with finite objectives yet, so there is nothing to compare"
    assert printed(tmp_path) == f"{yet} (no trials)."
    assert front_rows(tradeoff(open_store(tmp_path))).height == 0
    writer.write_trial(make_record("t1"))
    writer.write_trial(make_record("t2", status="failed", error="[bold]no memory\nat step 3"))
    assert printed(tmp_path).splitlines() == [
        f"{yet} (2 trials: 1 failed, 1 running).",
        "  1 failed: [bold]no memory",
    ]


def test_a_minimised_first_objective_is_sorted_upwards(tmp_path, make_manifest, make_record):
    """The best of a minimised objective comes first; a lone front point is picked for all."""
    writer = StoreWriter(tmp_path)
    objectives = (Objective(name="cost", direction="minimize"), Objective(name="gain"))
    writer.write_manifest(
        replace(make_manifest(), objectives=objectives, reference_point={"cost": 10.0, "gain": 0.0})
    )
    for trial, cost, gain in (("t1", 3.0, 5.0), ("t2", 1.0, 2.0), ("t3", 4.0, 5.0)):
        writer.write_trial(
            make_record(trial, status="completed", objectives={"cost": cost, "gain": gain}, config_id=trial)
        )
    found = front_rows(tradeoff(Store(tmp_path)))
    assert found.select("trial_id", "picks", "se_cost").rows() == [
        ("t2", "best cost", None),
        ("t1", "best gain", None),
    ]
    assert "hypervolume 39" in printed(tmp_path)
    assert found.schema["seeds"].is_integer()
    assert isinstance(found, pl.DataFrame)


def test_a_sweep_of_infeasible_trials_says_what_is_nearest(tmp_path, make_manifest, make_record, make_spec):
    """And not that nothing has completed: by the smallest excess over its largest, with what it misses."""
    limits = {"parameters": "<= 100", "seconds": "<= 10"}
    manifest = replace(make_manifest(), spec=make_spec(constraints=limits))
    writer = StoreWriter(tmp_path)
    writer.write_manifest(manifest)
    values = {"conditional_coherence": 0.5, "log_likelihood": -9.0}
    for trial, parameters, seconds in (("t1", 150, 1.0), ("t2", 120, 11.0), ("t3", 90, 40.0)):
        fields = {"status": "infeasible", "epochs": 20, "objectives": values}
        more = {"n_parameters": parameters, "seconds": seconds, "error": f"{parameters} and {seconds:g}"}
        writer.write_trial(make_record(trial, **fields, **more))
    sentence = "All 3 trials of full budget are infeasible; the nearest is t2: 120 and 11"
    assert nothing_yet(tradeoff(open_store(tmp_path))) == f"{sentence}."
    assert printed(tmp_path).startswith(f"{sentence} (")
