"""Each promise broken alone is one line; a folder that keeps them all gives none."""

import json
import math
import re
import shutil
from dataclasses import replace
from typing import ClassVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from mopoe.config import TrialConfig
from mopoe.evaluation.classifiers import weights_hash
from sweep.errors import StoreError
from sweep.store.files import files_at
from sweep.store.layout import CHECKPOINTS, WRITTEN
from sweep.store.lease import driving
from sweep.store.maintenance import compact
from sweep.store.read import Store
from sweep.store.records import TrialRecord
from sweep.store.schema import TABLES
from sweep.store.write import StoreWriter
from sweep.verify import problems


@pytest.fixture(scope="module")
def sound(tmp_path_factory, make_sweep):
    """A sound folder with one file per table."""
    made = make_sweep(tmp_path_factory.mktemp("sound") / "x")
    compact(Store(made))
    return made


@pytest.fixture
def root(sound, tmp_path):
    """A copy of the sound folder, to be spoilt."""
    return shutil.copytree(sound, tmp_path / "x")


def spoil(root, table, where, **values):
    """Replace values in the rows that fit, in the one file of a table."""
    (path,) = (root / table).glob("*.parquet")
    found = pq.read_table(path)
    frame = pl.from_arrow(found).with_columns(
        pl.when(where).then(v if isinstance(v, pl.Expr) else pl.lit(v)).otherwise(pl.col(name)).alias(name)
        for name, v in values.items()
    )
    path.unlink()  # its name has the checksum of what it held
    pq.write_table(frame.to_arrow().cast(found.schema), path.with_name("spoilt.parquet"))


def test_sound_folders_have_no_problems(tmp_path, make_sweep):
    """Before and after a compaction nothing is wrong."""
    store = Store(make_sweep(tmp_path))
    assert list(problems(store)) == []
    compact(store)
    assert list(problems(store)) == []


def test_a_compaction_beside_it_is_no_problem(tmp_path, make_sweep):
    """Files that go away between listing and reading are looked for in what they became."""

    class Hurried(Store):
        listed: ClassVar[list[str]] = []

        def names(self, table):
            found = super().names(table)
            if table not in self.listed:
                self.listed.append(table)
                compact(Store(self.files))
            return found

    store = Hurried(make_sweep(tmp_path))
    assert list(problems(store)) == []
    assert sorted(store.listed) == sorted(TABLES)


def test_a_running_sweep_is_no_problem(tmp_path, make_sweep):
    """Trials that begin and end while tables are read lack no record, and no rows."""

    class Growing(Store):
        tables: ClassVar[list[str]] = []

        def names(self, table):
            self.tables.append(table)
            make_sweep(tmp_path, first=4 * len(self.tables))
            return super().names(table)

    assert list(problems(Growing(make_sweep(tmp_path)))) == []
    assert sorted(Growing.tables) == sorted((*TABLES, "trials"))


def config_by_trial(root):
    """Return the settings of each trial."""
    rows = Store(root).latest_trials().select("trial_id", "config_json").collect().rows()
    return {trial: TrialConfig.from_dict(json.loads(text)) for trial, text in rows}


T0 = pl.col("trial_id") == "t0000"
T1 = pl.col("trial_id") == "t0001"
KEY = "trial_id t0000, attempt 0"
FULL = (pl.col("epoch") == 2) & T0


EVALUATED = f"{KEY}, epoch 2, "
SUBSET_3 = T0 & (pl.col("subset_mask") == 3)
PAIR = T0 & (pl.col("target") == "m0")
STATUSES = "running, completed, stopped, failed, infeasible"
NO_TRIAL = f"{KEY} has a config_json of no trial: "
TRIALS = [
    (T0, {"status": "done"}, f"1 rows have a status other than {STATUSES}; "),
    (T0 | T1, {"epochs": 1}, f"2 rows completed short of epochs_max; the first: {KEY}"),
    (T0, {"epochs": 3}, f"1 rows have epochs outside 0 to epochs_max; the first: {KEY}"),
    (T0, {"o_log_likelihood": math.nan}, f"1 rows completed without finite objectives; the first: {KEY}"),
    (T0, {"o_log_likelihood": None}, f"1 rows completed without finite objectives; the first: {KEY}"),
    (T0, {"o_conditional_coherence": 1.01}, "1 rows have a o_conditional_coherence outside 0 to 1; "),
    (
        T0,
        {"ended_at": None},
        f"1 rows are running but have an end, or have ended without one; the first: {KEY}",
    ),
    (T0, {"ended_at": pl.col("started_at").dt.offset_by("-1s")}, "1 rows ended before they started; "),
    (T0, {"se_log_likelihood": -0.1}, f"1 rows have a se_log_likelihood below 0; the first: {KEY}"),
    (T0, {"seed": 7}, f"{KEY} has seed 7, but config_json says 0"),
    (T0, {"config_id": "c"}, f"{KEY} has config_id c, but config_json says "),
    (T0, {"config_json": '{"betta": 1}'}, f"{NO_TRIAL}unknown key 'betta'; did you mean 'beta'?"),
    (T0, {"config_json": "["}, f"{NO_TRIAL}Expecting value"),
]
EPOCHS = [
    (FULL, {"trial_id": "t9"}, "1 rows belong to no attempt in the trials table; the first: trial_id t9, "),
    (FULL, {"epoch": 3}, f"1 rows have epoch outside 0 to epochs_max; the first: {KEY}, epoch 3"),
    (FULL, {"seconds": -1.0}, f"1 rows have a seconds below 0; the first: {KEY}, epoch 2"),
    (FULL, {"trial_id": None}, "1 rows lack part of their key; the first: trial_id None, attempt 0, epoch 2"),
]
SUBSETS = [
    (SUBSET_3, {"subset_mask": 4}, f"1 rows have a subset_mask outside 0 to 3; the first: {EVALUATED}"),
    (SUBSET_3, {"stderr": -1.0}, f"1 rows have a stderr below 0; the first: {EVALUATED}"),
    (
        SUBSET_3,
        {"metric": "coherence_all"},
        f"1 rows have a coherence outside 0 to 1; the first: {EVALUATED}",
    ),
    (
        SUBSET_3,
        {"subset_mask": 1, "metric": "x"},
        f"{EVALUATED}split validation has rows for 2 of 3 values of subset_mask",
    ),
]
PAIRS = [
    (
        3,
        {"target": "m1"},
        f"{EVALUATED}split validation has rows for 5 of 6 values of source_mask and target",
    ),
    (1, {"value": -0.5}, f"1 rows have a coherence outside 0 to 1; the first: {EVALUATED}"),
    (1, {"chance": 2.0}, f"1 rows have a chance outside 0 to 1; the first: {EVALUATED}"),
]


@pytest.mark.parametrize(
    ("table", "where", "values", "line"),
    [
        *(("trials", *case) for case in TRIALS),
        *(("epochs", *case) for case in EPOCHS),
        *(("subset_metrics", *case) for case in SUBSETS),
        *(("pair_coherence", PAIR & (pl.col("source_mask") == mask), *rest) for mask, *rest in PAIRS),
    ],
)
def test_one_broken_promise_is_one_line(root, table, where, values, line):
    """The line names the table, the promise and the first row that breaks it."""
    spoil(root, table, where, **values)
    found = list(problems(Store(root)))
    assert any(problem.startswith(f"{table}: {line}") for problem in found), found
    assert len(found) <= 3  # a row that becomes another one leaves a gap too


def test_not_a_number_breaks_no_range(root):
    """A metric that was measured and is NaN, or was not measured, is allowed."""
    spoil(root, "pair_coherence", T0, value=math.nan, stderr=None)
    assert list(problems(Store(root))) == []


def test_files_that_are_not_of_the_schema_are_named(root):
    """A damaged file, a foreign one, a newer one, wrong types and unknown columns; the others are checked."""
    (good,) = (root / "epochs").glob("*.parquet")
    table = pq.read_table(good)
    (root / "epochs" / "a.parquet").write_bytes(good.read_bytes()[:-9])
    pq.write_table(pa.table({"colour": ["red"]}), root / "epochs" / "b.parquet")
    newer = table.replace_schema_metadata(table.schema.metadata | {b"schema_version": b"9"})
    pq.write_table(newer, root / "epochs" / "c.parquet")
    narrow = table.set_column(table.schema.get_field_index("loss"), "loss", table["loss"].cast(pa.float32()))
    pq.write_table(narrow, root / "epochs" / "d.parquet")
    spoil_me = root / "epochs" / "e.parquet"
    middle = bytearray(good.read_bytes())
    middle[40:400] = bytes(360)  # the footer is whole, the data are not
    spoil_me.write_bytes(middle)
    found = list(problems(Store(root)))
    starts = [
        f"{root}/epochs/a.parquet cannot be read: {root}/epochs/a.parquet cannot be read as Parquet: ",
        f"{root}/epochs/b.parquet does not say that it belongs to epochs",
        f"{root}/epochs/b.parquet has no column trial_id",
        f"{root}/epochs/b.parquet has no column attempt",
        f"{root}/epochs/b.parquet has no column epoch",
        f"{root}/epochs/b.parquet has an unknown column colour",
        f"{root}/epochs/c.parquet cannot be read: {root}/epochs/c.parquet has schema version 9, but ",
        f"{root}/epochs/d.parquet has loss as float, but must have it as double",
        f"{root}/epochs/e.parquet cannot be read: ",
    ]
    assert len(found) == len(starts), found
    assert all(line.startswith(start) for line, start in zip(found, starts, strict=True)), found


def test_weights_of_the_front_are_asked_for_where_any_are_kept(root, make_checkpoint):
    """With no checkpoints none is missed; with one, those of the other trials on the front are."""
    assert list(problems(Store(root))) == []
    configs = config_by_trial(root)
    make_checkpoint(root / "checkpoints" / "t0001.safetensors", configs["t0001"])
    line = "checkpoints: trial_id t0000 is on the front, but its weights are not kept"
    assert list(problems(Store(root))) == [line]
    # As `sweep trial` names it.
    make_checkpoint(root / "checkpoints" / "t0000-0.safetensors", configs["t0000"])
    assert list(problems(Store(root))) == []


def test_the_front_is_of_means_over_seeds(root, make_checkpoint, make_report, make_evaluation):
    """A first seed that alone would be on it is not missed; of a config on it, any seed's weights will do."""
    seventh = replace(config_by_trial(root)["t0001"], seed=7)
    make_checkpoint(root / "checkpoints" / "t0001-s1.safetensors", seventh)
    names = Store(root).manifest.modalities
    rows = {row["trial_id"]: row for row in Store(root).latest_trials().collect().iter_rows(named=True)}
    for trial, coherence, likelihood in (("t0000", 0.2, -1900.0), ("t0001", 0.5, -1501.0)):
        row = rows[trial]
        config = TrialConfig.from_dict(json.loads(row["config_json"]) | {"seed": 7})
        found = make_evaluation(names, coherence, likelihood)
        reports = [make_report(1, names), make_report(2, names, found=found)]
        StoreWriter(root).write_reports(f"{trial}-s1", 0, reports, names)
        StoreWriter(root).write_trial(
            TrialRecord(
                trial_id=f"{trial}-s1",
                config_id=config.config_id,
                seed=7,
                status="completed",
                epochs=2,
                epochs_max=2,
                started_at=row["started_at"],
                ended_at=row["ended_at"],
                config_json=config.to_json(),
                objectives=found.objectives,
            )
        )
    assert list(problems(Store(root))) == []


def test_settings_that_came_later_do_not_change_an_old_trials_id(root):
    """A config written before some setting existed keeps the id it had then."""
    trials = Store(root).trials().collect()
    old = {k: v for k, v in json.loads(trials.filter(T0)["config_json"][0]).items() if k != "unimodal_elbos"}
    text = json.dumps(old, sort_keys=True)
    spoil(root, "trials", T0, config_json=text)
    assert list(problems(Store(root))) == []


def test_measured_rows_alone_belong_to_nobody(root):
    """Without the trials table every row of the others is an orphan."""
    shutil.rmtree(root / "trials")
    found = list(problems(Store(root)))
    assert [line.partition(":")[0] for line in found] == [
        "epochs",
        "subset_metrics",
        "pair_coherence",
        "sample_values",
        "samples",
    ]
    assert "5 rows belong to no attempt in the trials table" in found[0]


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("epochs", "epochs: trial_id t0000 has rows of 0 of its 2 epochs"),
        ("subset_metrics", "subset_metrics: trial_id t0000 has no rows of its last epoch"),
        ("pair_coherence", "pair_coherence: trial_id t0000 has no rows of its last epoch"),
        ("samples", "samples: trial_id t0000 has no rows of its last epoch"),
    ],
)
def test_a_table_that_is_gone_is_missed(root, table, line):
    """A trial that completed has rows in each; one that failed need not have any."""
    shutil.rmtree(root / table)
    assert list(problems(Store(root))) == [line, line.replace("t0000", "t0001")]


def test_an_epoch_that_is_gone_is_missed(root):
    """Also if it is not the last one; rows of earlier attempts count."""
    spoil(root, "epochs", (pl.col("epoch") == 1) & T0, attempt=pl.lit(1, pl.Int32))
    (line,) = problems(Store(root))
    assert line.startswith(
        "epochs: 1 rows belong to no attempt in the trials table; the first: trial_id t0000, "
    )
    spoil(root, "epochs", (pl.col("epoch") == 1) & T0, epoch=pl.lit(2, pl.Int32))
    assert list(problems(Store(root)))[1:] == ["epochs: trial_id t0000 has rows of 1 of its 2 epochs"]


def test_rows_of_another_epoch_are_not_those_of_the_last(root):
    """What was measured at a rung does not stand for the end."""
    spoil(root, "pair_coherence", T0, epoch=pl.lit(1, pl.Int32))
    line = "pair_coherence: trial_id t0000 has no rows of its last epoch"
    assert list(problems(Store(root))) == [line]


def test_pictures_are_missed_unless_drawing_them_failed(root, make_spec):
    """A sweep without pictures has none; a trial that could not draw its own says so."""
    shutil.rmtree(root / "samples")
    trials = pl.col("trial_id").is_in(["t0000", "t0001"])
    metric = {"metric": pl.lit("pictures"), "value": math.nan}
    rows = pq.read_table(next((root / "subset_metrics").iterdir()))
    more = pl.from_arrow(rows).filter(trials, subset_mask=1).with_columns(subset_mask=0, **metric)
    pq.write_table(more.to_arrow().cast(rows.schema), root / "subset_metrics" / "more.parquet")
    assert list(problems(Store(root))) == []
    (root / "subset_metrics" / "more.parquet").unlink()
    assert len(list(problems(Store(root)))) == 2
    manifest = Store(root).manifest
    without = replace(manifest, spec=make_spec(evaluation={"pictures": 0}))
    StoreWriter(root).write_manifest(without)
    assert list(problems(Store(root))) == []


def test_a_file_of_another_table_is_named(root):
    """It is neither read with its neighbours nor merged into them."""
    (good,) = (root / "trials").iterdir()
    shutil.copy(good, root / "epochs")
    line = f"{root}/epochs/{good.name} is a file of the table trials, not of epochs"
    assert list(problems(Store(root))) == [f"{root}/epochs/{good.name} cannot be read: {line}"]
    with pytest.raises(StoreError, match=re.escape(line)):
        compact(Store(root))
    assert (root / "epochs" / good.name).exists()


@pytest.mark.parametrize("flip", range(0, 400, 31))
def test_every_flipped_bit_of_a_table_is_seen(root, flip):
    """By verify and by every reader; never as another value, never as an error of a library."""
    (path,) = (root / "epochs").iterdir()
    content = bytearray(path.read_bytes())
    bit = len(content) * 8 * flip // 400
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    line = f"{path} cannot be read: its content has changed since it was written"
    assert next(iter(problems(Store(root)))) == f"{path} cannot be read: {line}"
    with pytest.raises(StoreError, match=re.escape(line)):
        Store(root).epochs()


@pytest.fixture
def weighted(root, make_checkpoint):
    """The sound folder with a checkpoint of each completed trial, and its classifiers."""
    for trial in ("t0000", "t0001"):
        make_checkpoint(root / "checkpoints" / f"{trial}.safetensors", config_by_trial(root)[trial])
    (root / "classifiers").mkdir()
    made = root / "classifiers" / "made.safetensors"
    save_file({"m0/weight": torch.ones(3), "m1/weight": torch.zeros(2)}, made)
    made.rename(made.with_stem(weights_hash(made)))
    assert list(problems(Store(root))) == []
    return root


def test_damaged_weights_are_named(weighted):
    """Whatever byte it is in which a checkpoint or a file of classifiers has changed, or where it ends."""
    for path in [*(weighted / "checkpoints").iterdir(), *(weighted / "classifiers").iterdir()]:
        whole = path.read_bytes()
        for damage in [*range(8, len(whole), max(1, len(whole) // 15)), None]:
            broken = bytearray(whole)
            if damage is None:
                del broken[-3:]
            else:
                broken[damage] ^= 1
            path.write_bytes(broken)
            found = list(problems(Store(weighted)))
            assert len(found) == 1, (path, damage, found)
            assert str(path) in found[0]
        path.write_bytes(whole)


def test_weights_from_before_a_setting_came_are_those_of_their_trial(weighted):
    """The table's text lacks what has come since; the weights have it at its default."""
    for trial, config in config_by_trial(weighted).items():
        older = {name: value for name, value in config.to_dict().items() if name != "grad_clip"}
        spoil(weighted, "trials", pl.col("trial_id") == trial, config_json=json.dumps(older, sort_keys=True))
    assert list(problems(Store(weighted))) == []


def test_weights_of_another_trial_are_named(weighted, make_checkpoint):
    """Two that were swapped, those of no trial, and those of an epoch before the last."""
    first, second = (weighted / "checkpoints" / f"t000{n}.safetensors" for n in (0, 1))
    content = first.read_bytes(), second.read_bytes()
    first.write_bytes(content[1])
    second.write_bytes(content[0])
    swapped = [f"{path} does not hold the weights of the trial in its name" for path in (first, second)]
    assert list(problems(Store(weighted))) == swapped
    second.write_bytes(content[1])
    make_checkpoint(first, config_by_trial(weighted)["t0000"], epoch=1)
    assert list(problems(Store(weighted))) == [f"{first} holds weights after epoch 1, not 2"]
    first.write_bytes(content[0])
    first.rename(first.with_stem("t0009"))
    assert f"{first.with_stem('t0009')} does not hold the weights of the trial in its name" in problems(
        Store(weighted)
    )


@pytest.mark.parametrize(
    "name", ["checkpoints/.t0001.safetensors.0a1b2c3d", "checkpoints/.tmpXyZ123", "report/.figure.9f8e7d6c"]
)
def test_what_a_kill_has_left_is_seen_and_swept_up(root, name):
    """By verify, unless a driver holds the folder and may be writing; the next driver deletes it."""
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(100))
    (root / ".hidden").write_text("a user's own")
    line = f"{path} is left over from an interrupted write; the next `sweep run` deletes it"
    assert list(problems(Store(root))) == [line]
    with driving(files_at(root)):
        assert list(problems(Store(root))) == []
    assert files_at(root).leftovers((CHECKPOINTS, *WRITTEN)) == [path]
    assert files_at(root).leftovers((CHECKPOINTS, *WRITTEN), seconds=60) == []
