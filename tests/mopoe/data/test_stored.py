"""Splits that are saved come back memory-mapped; a damaged file is named."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mopoe.data.container import MultimodalData, Split, fingerprint
from mopoe.data.stored import map_splits, read_file, save_splits
from mopoe.errors import DataError

CPU = torch.device("cpu")


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
