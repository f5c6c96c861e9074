"""Splits, the cache folder, files that appear whole or not at all, and memory mapping."""

import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mopoe.data.container import (
    MultimodalData,
    Split,
    cache_dir,
    cached_file,
    fingerprint,
    hold_out,
    map_splits,
    read_file,
    save_splits,
    stratified_order,
    to_unit,
)
from mopoe.errors import DataError

CPU = torch.device("cpu")


def test_a_batch_is_the_chosen_samples_in_0_to_1(tiny_data: MultimodalData) -> None:
    """Values are the bytes divided by 255, in the order asked for; images are channels-last."""
    split = tiny_data.train
    index = torch.tensor([5, 0, 21])
    batch = split.batch(index, CPU)
    assert list(batch) == ["grey", "colour"]
    for name, x in batch.items():
        expected = torch.tensor([split.x[name][i].tolist() for i in (5, 0, 21)]) / 255
        assert torch.equal(x, expected)
        assert x.is_contiguous(memory_format=torch.channels_last)
    by_slice = split.batch(slice(2, 4), CPU)
    assert torch.equal(by_slice["grey"], split.x["grey"][2:4] / 255)


def test_a_batch_leaves_the_data_as_it_was(tiny_data: MultimodalData) -> None:
    """Dividing happens in a copy."""
    before = tiny_data.train.x["grey"].clone()
    tiny_data.train.batch(slice(0, 5), CPU)
    tiny_data.train.batch(torch.arange(5), CPU)
    assert torch.equal(tiny_data.train.x["grey"], before)


def test_bytes_span_0_to_1() -> None:
    """0 is 0.0 and 255 is 1.0, for vectors too."""
    assert to_unit(torch.tensor([[0, 51, 255]], dtype=torch.uint8)).tolist() == [
        [0.0, pytest.approx(0.2), 1.0]
    ]


def test_a_split_knows_its_length_and_moves_whole(tiny_data: MultimodalData) -> None:
    """The length is the number of labels; moving keeps every tensor."""
    moved = tiny_data.train.to(CPU)
    assert len(moved) == len(tiny_data.train) == 22
    assert torch.equal(moved.x["colour"], tiny_data.train.x["colour"])
    assert torch.equal(moved.labels, tiny_data.train.labels)


def test_splits_are_found_by_name(tiny_data: MultimodalData) -> None:
    """Each of the three names gives its split."""
    assert [tiny_data.split(n) for n in ("train", "validation", "test")] == [
        tiny_data.train,
        tiny_data.validation,
        tiny_data.test,
    ]


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$MOPOE_CACHE wins; without it, ~/.cache/mopoe."""
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("MOPOE_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_dir() == Path("/home/someone/.cache/mopoe")


def test_a_file_is_built_once(tmp_path: Path) -> None:
    """The second call finds it and does not build."""
    calls: list[Path] = []

    def build(path: Path) -> None:
        calls.append(path)
        path.write_text("built")

    path = tmp_path / "deep" / "x.bin"
    assert cached_file(path, build) == cached_file(path, build) == path
    assert path.read_text() == "built"
    assert len(calls) == 1
    assert calls[0] != path
    assert calls[0].parent == path.parent


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    """Half a file never gets the name, and the next call builds anew."""

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    path = tmp_path / "x.bin"
    with pytest.raises(OSError, match="disk full"):
        cached_file(path, fail)
    assert {p.name for p in tmp_path.iterdir()} <= {"x.lock"}
    cached_file(path, lambda p: p.write_text("whole"))
    assert path.read_text() == "whole"


BUILDER = """
import os, sys, time
from pathlib import Path
from mopoe.data.container import cached_file
def build(path):
    with open(sys.argv[2], "a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(1)
    path.write_text(str(os.getpid()))
Path(f"{sys.argv[2]}.{os.getpid()}").touch()
while len(list(Path(sys.argv[2]).parent.glob("log.*"))) < 2:
    time.sleep(0.01)
print(cached_file(Path(sys.argv[1]), build).read_text())
"""


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_others_may_read_what_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    """A cached file has the permissions of any new file, although its writer makes it private."""
    before = os.umask(umask)
    try:
        path = cached_file(tmp_path / "x", lambda path: save_file({"a": torch.zeros(1)}, path))
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_two_processes_build_a_file_once(tmp_path: Path) -> None:
    """Both wait for each other's start, one builds, both read the same file."""
    path, log = tmp_path / "cache" / "x.bin", tmp_path / "log"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(path), str(log)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = {p.communicate(timeout=60)[0].strip() for p in both}
    assert [p.returncode for p in both] == [0, 0]
    assert answers == {log.read_text().strip()}
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.bin", "x.lock"]


def mapped_files(tensor: torch.Tensor) -> list[str]:
    """Return the files whose mapping in this process holds a tensor's memory."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, stop = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= tensor.data_ptr() < stop and len(line.split()) > 5:
            found.append(line.split()[5])
    return found


def by_name(data: MultimodalData) -> dict[str, Split]:
    """Return the splits of a data set by name."""
    return {"train": data.train, "validation": data.validation, "test": data.test}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mappings")
def test_saved_splits_come_back_mapped_and_equal(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """Every tensor is the saved one, and its memory is the file's."""
    path = tmp_path / "d.safetensors"
    save_splits(path, by_name(tiny_data), {})
    found = map_splits(path, tiny_data.modalities)
    assert list(found) == ["train", "validation", "test"]
    for name, split in by_name(tiny_data).items():
        assert torch.equal(found[name].labels, split.labels)
        assert list(found[name].x) == list(split.x)
        for m, x in split.x.items():
            assert torch.equal(found[name].x[m], x)
            assert found[name].x[m].dtype == torch.uint8
            assert mapped_files(found[name].x[m]) == [os.path.realpath(path)]


def test_a_damaged_file_is_named(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """A cut-off or foreign file is refused with its path and what to do."""
    path = tmp_path / "d.safetensors"
    save_splits(path, by_name(tiny_data), {})
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"garbage"):
        path.unlink()
        path.write_bytes(content)
        with pytest.raises(
            DataError,
            match=f"^{re.escape(str(path))}: not a readable data set .*; delete the file to",
        ):
            map_splits(path, tiny_data.modalities)


@pytest.mark.parametrize("missing", ["test/grey", "test/labels"])
def test_a_missing_tensor_is_named(tiny_data: MultimodalData, tmp_path: Path, missing: str) -> None:
    """Whether samples or labels are missing, the message names what is."""
    tensors = {
        f"{name}/{key}": value
        for name, split in by_name(tiny_data).items()
        for key, value in (split.x | {"labels": split.labels}).items()  # type: ignore[operator]
        if f"{name}/{key}" != missing
    }
    path = tmp_path / "d.safetensors"
    save_file(tensors, path)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: {missing} is missing"):
        map_splits(path, tiny_data.modalities)


def test_a_file_says_what_it_was_told_and_equal_data_make_equal_files(
    tiny_data: MultimodalData, tmp_path: Path
) -> None:
    """`about` comes back as it was."""
    about = {"seed": 3, "photographs": ["a", "b"], "samples": {"train": 22}}
    for name in ("a", "b"):
        save_splits(tmp_path / name, by_name(tiny_data), about)
    assert read_file(tmp_path / "a")[1] == about
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(DataError, match=r"/d: not a readable data set \("):
        read_file(tmp_path / "d")


def test_the_fingerprint_sees_every_byte_label_and_split(tiny_data: MultimodalData) -> None:
    """Equal content has one fingerprint; one other byte, label or place has another."""
    splits = by_name(tiny_data)
    test = splits["test"]
    byte = {m: x.clone() for m, x in test.x.items()}
    byte["grey"][3, 0, 0, 0] += 1
    label = test.labels.clone()
    label[3] += 1
    found = [
        fingerprint(splits | changed)
        for changed in (
            {},
            {"test": test.take(torch.arange(12))},
            {"test": Split(byte, test.labels)},
            {"test": Split(test.x, label)},
            {"test": splits["validation"], "validation": test},
        )
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 4
    assert re.fullmatch("[0-9a-f]{12}", found[0])


def test_taken_samples_are_those_at_the_index(tiny_data: MultimodalData) -> None:
    """By position or by mask."""
    taken = tiny_data.train.take(torch.tensor([7, 2]))
    assert taken.labels.tolist() == [3, 2]
    assert torch.equal(taken.x["colour"][1], tiny_data.train.x["colour"][2])
    assert len(tiny_data.train.take(tiny_data.train.labels == 0)) == 6


def test_each_tenth_of_a_stratified_order_is_a_tenth_of_each_class() -> None:
    """All positions once, sorted by class, each class in random order; the counts differ by less than one."""
    labels = np.random.default_rng(0).integers(0, 7, 1000)
    order = stratified_order(labels, np.random.default_rng(1))
    assert sorted(order) == list(range(1000))
    assert (np.diff(labels[order]) >= 0).all()
    assert not (np.diff(order[labels[order] == 3]) > 0).all()
    for start in range(10):
        tenth = labels[order[start::10]]
        assert len(tenth) == 100
        assert np.abs(np.bincount(tenth) - np.bincount(labels) / 10).max() < 1


def test_what_is_missing_goes_with_the_samples(tiny_data: MultimodalData, tmp_path: Path) -> None:
    """It is taken, saved, mapped and hashed with them; `complete` leaves out the samples that lack one."""
    here = torch.ones(22, 2, dtype=torch.bool)
    here[3, 0] = here[5, 1] = False
    split = replace(tiny_data.train, present=here)
    taken = split.take(torch.tensor([3, 4])).present
    assert taken is not None
    assert taken.tolist() == [[False, True], [True, True]]
    assert len(split.complete()) == 20
    assert torch.equal(split.complete().labels[3:5], split.labels[[4, 6]])
    assert tiny_data.train.complete() is tiny_data.train
    splits = {"train": split, "validation": tiny_data.validation, "test": tiny_data.test}
    save_splits(tmp_path / "s", splits, {})
    found = map_splits(tmp_path / "s", tiny_data.modalities)
    assert found["train"].present is not None
    assert torch.equal(found["train"].present, here)
    assert found["test"].present is None
    assert fingerprint(splits) != fingerprint(splits | {"train": tiny_data.train})


def test_reused_rows_are_saved_mapped_and_seen_by_the_fingerprint(
    tiny_data: MultimodalData, tmp_path: Path
) -> None:
    """A split whose samples share rows comes back with them; another row is another data set."""
    splits = by_name(tiny_data)
    rows = torch.arange(36, dtype=torch.int32) % 12
    splits["test"] = Split(tiny_data.test.x, torch.arange(36) % 4, {"grey": rows, "colour": rows.flip(0)})
    save_splits(tmp_path / "d", splits, {})
    found = map_splits(tmp_path / "d", tiny_data.modalities)["test"]
    assert len(found) == 36
    assert {name: row.tolist() for name, row in found.rows.items()} == {
        "grey": rows.tolist(),
        "colour": rows.flip(0).tolist(),
    }
    batch = found.batch(torch.tensor([13, 35]), CPU)
    assert torch.equal(batch["grey"], tiny_data.test.x["grey"][[1, 11]] / 255)
    assert torch.equal(batch["colour"], tiny_data.test.x["colour"][[10, 0]] / 255)
    other = splits | {"test": Split(found.x, found.labels, {"grey": rows, "colour": rows})}
    assert fingerprint(splits) != fingerprint(other)


@pytest.mark.parametrize("n_sources", [1, 2])
def test_held_out_images_are_a_tenth_of_each_class(n_sources: int) -> None:
    """No image is in two splits, and with two sources the second is the test split as it is."""
    labels = np.random.default_rng(0).integers(0, 10, 1000)
    numbered = [(np.arange(1000), labels) for _ in range(n_sources)]
    splits = hold_out(numbered, np.random.default_rng(1))  # type: ignore[arg-type]
    sizes = {name: len(images) for name, (images, _) in splits.items()}
    if n_sources == 2:
        assert splits["test"] is numbered[1]
        del splits["test"], sizes["test"]
        assert sizes == {"train": 900, "validation": 100}
    else:
        assert sizes == {"train": 800, "validation": 100, "test": 100}
    assert sorted(np.concatenate([images for images, _ in splits.values()])) == list(range(1000))
    assert all((labels[images] == found).all() for images, found in splits.values())
