"""Splits: batches, what is missing, the fingerprint, and how samples are held out."""

import re

import numpy as np
import pytest
import torch

from mopoe.data.container import (
    SPLITS,
    MultimodalData,
    Split,
    fingerprint,
    hold_out,
    stratified_order,
    to_unit,
)

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


def test_the_fingerprint_sees_every_byte_label_and_split(tiny_data: MultimodalData) -> None:
    """Equal content has one fingerprint; one other byte, label or place has another."""
    splits = {name: tiny_data.split(name) for name in SPLITS}
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
