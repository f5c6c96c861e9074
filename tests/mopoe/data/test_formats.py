"""Files of data sets: idx arrays of MNIST, and pictures that are opened safely."""

import gzip
import io
import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageFile

from mopoe.data import celeba, digits, polymnist_build
from mopoe.data import polymnist as polymnist_folder
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
        ("x", None, "not a readable idx file ([Errno 2] No such file or directory"),
        ("x", b"\0\0", "has the magic number 0x0000, but must have 0x00000803 (images) or 0x00000801"),
        (
            "x",
            b"\0\0\x0d\x03" + IMAGES[4:],
            "has the magic number 0x00000d03, but must have 0x00000803 (images) or 0x00000801",
        ),
        ("x", IMAGES[:10], "not a readable idx file (unpack requires a buffer of 12 bytes)"),
        ("x", IMAGES[:-1], "declares 2 x 2 x 3 values, but contains 11"),
        ("x", LABELS + b"\0", "declares 3 values, but contains more"),
        (
            "x",
            struct.pack(">4I", 0x0803, 2**17, 2**7, 2**7),
            "declares 131072 x 128 x 128 values, but at most 2147483647 are read",
        ),
        ("x.gz", IMAGES, "not a readable idx file (Not a gzipped file ("),
        ("x.gz", gzip.compress(IMAGES, mtime=0)[:-9], "not a readable idx file ("),
        ("x.gz", gzip.compress(IMAGES, mtime=0) + b"more", "not a readable idx file ("),
        (
            "x.gz",
            gzip.compress(IMAGES, mtime=0)[:-8] + bytes(4) + IMAGES[-4:],
            "not a readable idx file (CRC check failed 0x0 != 0x",
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


@pytest.mark.parametrize(("start", "found"), [(b"", "has the magic"), (LABELS, "declares 3 values")])
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
    with pytest.raises(DataError, match=r": not a readable idx file \(.*Is a directory"):
        read_idx(tmp_path)


READERS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "photograph": (polymnist_build._read_photograph, "photograph", "JPEG or PNG"),
    "folder": (lambda file: polymnist_folder._read_png(file, (3, 28, 28)), "PNG file", "PNG"),
    "celeba": (lambda file: celeba._picture(file.parent, file.name), "image", "JPEG"),
    "digits": (lambda file: digits.read_photograph(str(file)), "photograph of scikit-image", "JPEG or PNG"),
}
"""By place: what reads a file, what it is called there, and the formats that are read."""
EVERYWHERE = pytest.mark.parametrize(("read", "what", "formats"), READERS.values(), ids=READERS)


def promising(kind: str, width: int, height: int) -> bytes:
    """Return a picture of one pixel whose head promises so many."""
    saved = io.BytesIO()
    Image.new("RGB", (1, 1)).save(saved, kind)
    content = saved.getvalue()
    if kind == "PNG":
        head = b"IHDR" + struct.pack(">2I", width, height) + content[24:29]
        return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">2H", height, width) + content[at + 4 :]


@EVERYWHERE
def test_a_bomb_is_refused_by_its_size_and_not_decoded(
    read: Callable[[Path], object],
    what: str,
    formats: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pillow counts the pixels that the head promises; its error is one sentence of ours."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    file = tmp_path / "p.png"
    for kind in formats.split(" or "):
        file.write_bytes(promising(kind, 40_000, 40_000))
        with pytest.raises(DataError) as error:
            read(file)
        assert str(error.value).startswith(
            f"{file}: not a readable {what} (Image size (1600000000 pixels) exceeds limit of"
        )


@EVERYWHERE
def test_only_the_formats_of_a_place_are_opened(
    read: Callable[[Path], object],
    what: str,
    formats: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostScript under another name is not handed to Ghostscript, and a GIF is no photograph."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("ran Ghostscript"))
    file = tmp_path / "p.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n" + bytes(50))
    Image.new("RGB", (28, 28)).save(tmp_path / "p.gif")
    for path in (file, tmp_path / "p.gif"):
        with pytest.raises(DataError) as error:
            read(path)
        assert str(error.value) == f"{path}: not a readable {what} (cannot identify image file '{path}')"


def test_the_name_decides_nothing(tmp_path: Path) -> None:
    """A PNG that is called a JPEG is read, as browsers do."""
    expected = digits.read_photograph("coffee.png")
    content = (resources.files("skimage") / "data" / "coffee.png").read_bytes()
    (tmp_path / "p.jpg").write_bytes(content)
    assert (polymnist_build._read_photograph(tmp_path / "p.jpg") == expected).all()
