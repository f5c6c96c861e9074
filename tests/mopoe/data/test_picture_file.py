"""Pictures that are something else, damaged, or bombs, wherever a picture is opened."""

import io
import struct
import zlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image, ImageFile

from mopoe.data import celeba, digits, polymnist_build
from mopoe.data import polymnist as polymnist_folder
from mopoe.errors import DataError

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
@pytest.mark.parametrize("side", [10_001, 40_000])
def test_a_bomb_is_refused_by_its_size_and_not_decoded(
    read: Callable[[Path], object],
    what: str,
    formats: str,
    side: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pillow raises for the larger and warns of the smaller; both are one sentence of ours."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    file = tmp_path / "p.png"
    for kind in formats.split(" or "):
        file.write_bytes(promising(kind, side, side))
        with pytest.raises(DataError) as error:
            read(file)
        assert str(error.value) == (
            f"{file}: is {side} x {side} pixels, more than the 100000000 in all that are decoded"
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
        assert str(error.value) == f"{path}: not a readable {what} (it is no {formats} file)"


def test_the_name_decides_nothing(tmp_path: Path) -> None:
    """A PNG that is called a JPEG is read, as browsers do."""
    expected = digits.read_photograph("coffee.png")
    content = (resources.files("skimage") / "data" / "coffee.png").read_bytes()
    (tmp_path / "p.jpg").write_bytes(content)
    assert (polymnist_build._read_photograph(tmp_path / "p.jpg") == expected).all()
