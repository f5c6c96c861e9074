"""MNIST's idx files, whole and damaged."""

import gzip
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mopoe.data.formats import read_idx
from mopoe.errors import DataError

IMAGES = struct.pack(">4I", 0x0803, 2, 2, 3) + bytes(range(12))
LABELS = struct.pack(">2I", 0x0801, 3) + bytes([7, 2, 1])


def test_images_and_labels_come_back_plain_and_gzipped(tmp_path: Path) -> None:
    """Values and shapes are those that the head gives."""
    for name, pack in (("x", bytes), ("x.gz", gzip.compress)):
        path = tmp_path / name
        path.write_bytes(pack(IMAGES))
        assert read_idx(path).tolist() == np.arange(12).reshape(2, 2, 3).tolist()
        path.write_bytes(pack(LABELS))
        assert read_idx(path).tolist() == [7, 2, 1]
        assert read_idx(path).dtype == np.uint8


def test_mnists_own_files_are_read(mnist: Path) -> None:
    """The test digits begin with a 7, a 2 and a 1, and there are 980 zeros."""
    images, labels = (read_idx(mnist / f"t10k-{n}-ubyte.gz") for n in ("images-idx3", "labels-idx1"))
    assert images.shape == (10000, 28, 28)
    assert labels[:3].tolist() == [7, 2, 1]
    assert (labels == 0).sum() == 980
    assert images[0, 7, 6] == 84


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x", None, "there is no such file; an idx file of MNIST is expected"),
        ("x", b"\0\0", "holds 2 bytes, but an idx file starts with a magic number of 4"),
        (
            "x",
            b"\0\0\x0d\x03" + IMAGES[4:],
            "starts with the magic number 0x00000d03, but must with 0x00000803 (images) or 0x00000801",
        ),
        ("x", IMAGES[:10], "ends after 10 bytes, within its head of 16 bytes"),
        ("x", IMAGES[:-1], "holds 27 bytes, but a head of 16 and 2 x 2 x 3 values are 28"),
        ("x", LABELS + b"\0", "holds at least 12 bytes, but a head of 8 and 3 values are 11"),
        (
            "x",
            struct.pack(">4I", 0x0803, 2**17, 2**7, 2**7),
            "promises 131072 x 128 x 128 values, but at most 2147483647 are read",
        ),
        ("x.gz", IMAGES, "not a gzip file, as its name says"),
        ("x.gz", gzip.compress(IMAGES, mtime=0)[:-9], "the gzip file is cut off or damaged ("),
        ("x.gz", gzip.compress(IMAGES, mtime=0) + b"more", "the gzip file is cut off or damaged ("),
        (
            "x.gz",
            gzip.compress(IMAGES, mtime=0)[:-8] + bytes(4) + IMAGES[-4:],
            "the gzip file is cut off or damaged (CRC check failed 0x0 != 0x",
        ),
    ],
)
def test_damage_is_one_sentence_with_the_path(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    """Whatever is wrong, it says what was found and what was expected."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_idx(path)
    assert str(error.value).startswith(f"{path}: {sentence}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("start", "found"), [(b"", "starts with the magic"), (LABELS, "holds at least 12 bytes")]
)
def test_of_a_bomb_no_more_is_inflated_than_its_head_promises(
    tmp_path: Path, start: bytes, found: str
) -> None:
    """A gibibyte of zeros in a megabyte is refused with less than a megabyte of memory."""
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(start + bytes(2**20)) + 1023 * gzip.compress(bytes(2**20)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=re.escape(f"{path}: {found}")):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    """The system's reason is in the sentence."""
    with pytest.raises(DataError, match=r": cannot be read \(Is a directory\)$"):
        read_idx(tmp_path)
