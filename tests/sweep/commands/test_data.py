"""`sweep data` as a user meets it, and a sweep on what it made."""

import struct
from functools import partial

import numpy as np
import polars as pl
import pytest
from PIL import Image

from sweep.config.sweep_spec import load_spec
from sweep.running.driver import run_sweep
from sweep.store.read import open_store


@pytest.fixture
def sources(tmp_path):
    """Give folders of 200 made-up test digits (bars whose place is the class) and five photographs."""
    (tmp_path / "mnist").mkdir()
    labels = (np.arange(200) % 10).astype(np.uint8)
    images = np.zeros((200, 28, 28), np.uint8)
    images[np.arange(200), 4 + 2 * labels] = 255
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
        (tmp_path / "mnist" / f"t10k-{name}-ubyte").write_bytes(head + array.tobytes())
    (tmp_path / "photographs").mkdir()
    for m in range(5):
        Image.new("RGB", (40, 40), (50 * m, 10, 30)).save(tmp_path / "photographs" / f"{m}.png")
    return tmp_path


@pytest.fixture
def sweep(sources, monkeypatch, sweep):
    """Run `sweep data` in the folder of the sources; return its exit status, output and error output."""
    monkeypatch.chdir(sources)
    return partial(sweep, "data")


BUILD = ("build", "polymnist", "--mnist", "mnist", "--photographs", "photographs", "--out", "data/p")


def test_list_names_every_data_set_with_its_options(sweep):
    """The defaults, and what a required option is."""
    status, out, err = sweep("list")
    assert (status, err) == (0, "")
    pictures = "m0 3x28x28, m1 3x28x28, m2 3x28x28, m3 3x28x28, m4 3x28x28"
    lines = [line.rstrip() for line in out.splitlines()]
    start = lines.index(f"digits                {pictures}")
    assert lines[start : start + 5] == [
        f"digits                {pictures}",
        "                      seed: 0 by default",
        f"polymnist             {pictures}",
        f"{'':22}path: required; the folder MMNIST, or a file made by `sweep data build polymnist`",
        "                      seed: 0 by default",
    ]
    assert f"translated_polymnist  {pictures}" in lines
    start = lines.index("mnist_svhn_text       mnist 1x28x28, svhn 3x32x32, text 8")
    assert lines[start + 2 : start + 4] == [
        "                      seed: 0 by default",
        "                      pairings: 20 by default",
    ]
    assert "celeba                image 3x64x64, text 256" in lines
    assert lines[-1] == (
        "your own              a function, named as package.module:function; see docs/own_data.md"
    )


def test_the_splits_of_tables_are_told(sweep, sources):
    """Which subject is where; of other data there are no subjects."""
    ids = [f"{i:03}" for i in range(40)]
    pl.DataFrame({"subject": ids, "a": range(40)}).write_csv("a.csv")
    head = "name: t\nobjectives: [log_likelihood]\nreference_point: {log_likelihood: -9}\n"
    space = "trials: 1\nsearch_space: {beta: {type: uniform, low: 0.5, high: 1}}\n"
    data = "data: {name: tables, modalities: {a: a.csv}, id: subject, split: {validation: 0.2, test: 0.1}}\n"
    (sources / "t.yaml").write_text(head + data + space)
    status, out, err = sweep("splits", "t.yaml", "--out", "splits.csv")
    assert (status, out, err) == (0, "splits.csv: 28 train, 8 validation, 4 test\n", "")
    found = pl.read_csv("splits.csv", schema_overrides={"subject": pl.String})
    assert sorted(found["subject"]) == ids
    assert dict(found["split"].value_counts().iter_rows()) == {"train": 28, "validation": 8, "test": 4}
    assert sweep("splits", "digits", "--out", "x.csv")[0] == 2
    assert sweep("splits", "t.yaml", "--out", "x.txt")[0] == 2


def test_build_writes_the_file_and_says_how_to_use_it(sweep, sources):
    """The line it prints is the `data` of a sweep's file; PNG files are written on demand."""
    from mopoe.data import load_data

    status, out, err = sweep(*BUILD, "--seed", "4", "--png")
    assert (status, err) == (0, "")
    assert out == "data/p\nnext: data: {name: polymnist, path: data/p, seed: 4} in a sweep's file\n"
    assert sorted(p.name for p in (sources / "data").iterdir()) == ["MMNIST", "p"]
    assert len(load_data("polymnist", path="data/p", seed=4).train) == 160
    assert len(list((sources / "data" / "MMNIST" / "train" / "m3").iterdir())) == 180


def test_the_translated_variant_is_built_by_the_same_command(sweep):
    """What it prints names it, and the file is its own."""
    from mopoe.data import load_data

    status, out, _ = sweep("build", "translated_polymnist", *BUILD[2:])
    assert status == 0
    assert out == (
        "data/p\nnext: data: {name: translated_polymnist, path: data/p, seed: 0} in a sweep's file\n"
    )
    assert load_data("translated_polymnist", path="data/p").modalities[0].network.endswith("resnet:image")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("build", "digits", *BUILD[2:]),
            "data set 'digits' cannot be built from files; possible: polymnist, translated_polymnist",
        ),
        (
            (*BUILD[:3], "photographs", *BUILD[4:]),
            "photographs: contains no idx files of MNIST such as t10k-images-idx3-ubyte.gz",
        ),
        (
            (*BUILD[:5], "mnist", *BUILD[6:]),
            "mnist: contains 0 photographs (.jpg, .jpeg, .png), but 5 are needed, one per modality",
        ),
        ((*BUILD[:7], "mnist"), "mnist: exists already; delete it or choose another name"),
        (
            (*BUILD[:7], "photographs/0.png/p"),
            "photographs/0.png/p: cannot be written ([Errno 17] File exists: 'photographs/0.png')",
        ),
    ],
)
def test_bad_input_is_one_sentence_exit_2_and_nothing_written(sweep, sources, arguments, sentence):
    """Nothing appears beside what was there."""
    before = sorted(sources.rglob("*"))
    assert sweep(*arguments) == (2, "", f"sweep: {sentence}\n")
    assert sorted(sources.rglob("*")) == before


@pytest.mark.ray
def test_a_sweep_finds_the_data_by_a_relative_path(sweep, sources, tiny_sweep, shared_ray):
    """The workers of Ray see the same file as the driver, and every trial ends with numbers."""
    assert sweep(*BUILD)[0] == 0
    file = sources / "p.yaml"
    file.write_text(tiny_sweep.replace("{name: digits, seed: 0}", "{name: polymnist, path: data/p}"))
    run_sweep(
        load_spec(file, ["trials=2", "fixed.epochs=1", "resources.concurrent=1"]),
        sources / "results",
        say=lambda _: None,
    )
    trials = open_store(sources / "results").latest_trials().collect()
    assert trials["error"].to_list() == [None, None]
    assert trials["status"].to_list() == ["completed"] * 2
    assert trials.select(pl.col("o_log_likelihood").is_finite().all()).item()


def test_fetch_says_what_to_do_next(sweep, monkeypatch):
    """The line it prints is the `data` of a sweep's file; what is fetched goes to `data` unless told."""
    asked = []
    monkeypatch.setattr("mopoe.data.fetch.fetch", lambda name, to: asked.append((name, str(to))) or "do this")
    assert sweep("fetch", "celeba") == (0, "next: do this\n", "")
    assert sweep("fetch", "mnist", "--to", "there") == (0, "next: do this\n", "")
    assert asked == [("celeba", "data"), ("mnist", "there")]
