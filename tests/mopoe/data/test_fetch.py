"""Downloads: torchvision's own code with its network replaced, and sentences where there is none."""

import gzip
import hashlib
import io
import re
import sys
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request

import numpy as np
import pytest
import requests

from mopoe.data.fetch import fetch
from mopoe.data.formats import read_idx
from mopoe.errors import ConfigError, DataError
from mopoe.runtime import torchvision


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every address be unknown."""

    def fail(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", fail)


def idx(array: np.ndarray) -> bytes:
    """Return a file such as MNIST's, zipped."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.tobytes())


FILES = {
    "train-images-idx3-ubyte.gz": idx(np.full((3, 28, 28), 7, np.uint8)),
    "train-labels-idx1-ubyte.gz": idx(np.array([1, 2, 3], np.uint8)),
    "t10k-images-idx3-ubyte.gz": idx(np.zeros((2, 28, 28), np.uint8)),
    "t10k-labels-idx1-ubyte.gz": idx(np.array([4, 5], np.uint8)),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let torchvision find a small MNIST, and give the list of the files that are asked for."""
    kind = torchvision("datasets").MNIST
    found: list[str] = []

    class Response(io.BytesIO):
        def __init__(self, request: Request, *_: object, **__: object) -> None:
            found.append(request.full_url.rpartition("/")[2])
            super().__init__(FILES[found[-1]])
            self.url, self.length = request.full_url, len(FILES[found[-1]])

    monkeypatch.setattr("urllib.request.urlopen", Response)
    monkeypatch.setattr(kind, "mirrors", ["https://example.org/"])
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in FILES.items()]
    monkeypatch.setattr(kind, "resources", sums)
    return found


def test_mnist_is_fetched_by_torchvision_with_its_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    """Downloaded once into torchvision's layout, which `build` reads; a file of other bytes is refused."""
    with monkeypatch.context() as patch:
        patch.setattr(torchvision("datasets").MNIST, "resources", [(next(iter(FILES)), "0" * 32)])
        with pytest.raises(
            DataError, match=r"^mnist cannot be fetched to .*File not found or corrupted\.\)$"
        ):
            fetch("mnist", tmp_path / "other bytes")
    asked.clear()
    said = fetch("mnist", tmp_path)
    assert said == f"sweep data build polymnist --mnist {tmp_path} --photographs DIR --out FILE"
    assert (read_idx(tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz") == 7).all()
    assert set(asked) == set(FILES)
    asked.clear()
    fetch("mnist", tmp_path)
    assert asked == []


@pytest.mark.parametrize("gone", ["", "train-images-idx3-ubyte.gz"])
def test_an_mnist_file_that_was_cut_short_is_fetched_anew(
    tmp_path: Path, asked: list[str], gone: str
) -> None:
    """Unpacked again from the file that torchvision keeps, or downloaded where that is cut short too."""
    fetch("mnist", tmp_path)
    asked.clear()
    raw = tmp_path / "MNIST" / "raw"
    for name in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", *filter(None, [gone])):
        (raw / name).write_bytes((raw / name).read_bytes()[:9])
    fetch("mnist", tmp_path)
    assert set(asked) == {gone} - {""}
    assert (read_idx(raw / "train-images-idx3-ubyte") == 7).all()
    assert read_idx(raw / "t10k-labels-idx1-ubyte").tolist() == [4, 5]


def celeba(root: Path, images: int, listed: int) -> None:
    """Write as many images of CelebA, and a list of as many."""
    (root / "celeba/img_align_celeba").mkdir(parents=True, exist_ok=True)
    for i in range(images):
        (root / f"celeba/img_align_celeba/{i + 1:06}.jpg").touch()
    lines = "".join(f"{i + 1:06}.jpg 0\n" for i in range(listed))
    (root / "celeba/list_eval_partition.txt").write_text(lines)


@pytest.mark.parametrize(("name", "calls"), [("svhn", ["train", "test"]), ("celeba", [None])])
def test_the_parts_of_a_data_set_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, calls: list[str | None]
) -> None:
    """SVHN has two files, CelebA is one; the answer is what to do next."""
    asked = []

    def construct(root: Path, split: str | None = None, *, download: bool) -> None:
        asked.append((root, split, download))
        celeba(root, images=2, listed=2)

    monkeypatch.setattr(torchvision("datasets"), {"svhn": "SVHN", "celeba": "CelebA"}[name], construct)
    said = fetch(name, tmp_path)
    assert asked == [(tmp_path, split, True) for split in calls]
    assert (
        said
        == {
            "svhn": (
                f"data: {{name: mnist_svhn_text, path: {tmp_path}}} in a sweep's file, once MNIST is there too"  # noqa: E501 - one sentence
            ),
            "celeba": f"data: {{name: celeba, path: {tmp_path}/celeba}} in a sweep's file",
        }[name]
    )


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["mnist", "svhn"])
def test_without_a_network_one_sentence_says_so(tmp_path: Path, name: str) -> None:
    """With the reason, and what to do."""
    with pytest.raises(DataError) as error:
        fetch(name, tmp_path)
    text = str(error.value)
    assert text.startswith(f"{name} cannot be fetched to {tmp_path} (")
    assert "Name or service not known" in text
    assert text.endswith("; if this machine is offline, run the command on another one and copy the folder")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("error", "network"),
    [
        (URLError("no route to host"), True),
        (ConnectionResetError(104, "Connection reset by peer"), True),
        (TimeoutError("timed out"), True),
        (requests.ConnectionError("no route to host"), True),
        (requests.ReadTimeout("timed out"), True),
        (HTTPError("https://example.org", 404, "Not Found", Message(), None), False),
        (OSError(28, "No space left on device"), False),
        (PermissionError(13, "Permission denied"), False),
        (RuntimeError("File not found or corrupted."), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_an_error_of_the_network_has_the_advice_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, *, network: bool
) -> None:
    """Its kind and text are in the sentence either way."""

    def construct(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torchvision("datasets"), "SVHN", construct)
    with pytest.raises(DataError) as found:
        fetch("svhn", tmp_path)
    said = f"svhn cannot be fetched to {tmp_path} ({type(error).__name__}: {error})"
    advice = "; if this machine is offline, run the command on another one and copy the folder"
    assert str(found.value) == said + network * advice


def test_celeba_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its download goes through a package that is not installed here; nothing is written before."""
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(DataError) as error:
        fetch("celeba", tmp_path)
    assert str(error.value) == "celeba needs the package gdown: pip install gdown"
    assert not list(tmp_path.iterdir())


def test_celeba_unpacked_in_part_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchvision asks only whether the folder of images is there."""
    monkeypatch.setattr(torchvision("datasets"), "CelebA", lambda *_, **__: celeba(tmp_path, 2, listed=3))
    with pytest.raises(DataError) as error:
        fetch("celeba", tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/celeba/img_align_celeba: contains 2 of 3 images, so unpacking was interrupted; delete "
        "it and fetch again"
    )


def test_what_cannot_be_fetched_is_said(tmp_path: Path) -> None:
    """For PolyMNIST, where it is and which folder to give; else what can be fetched."""
    with pytest.raises(
        ConfigError, match=re.escape("https://zenodo.org/records/4899160, unpack it and give")
    ):
        fetch("polymnist", tmp_path)
    with pytest.raises(ConfigError, match=r"^'digits' cannot be fetched; possible: celeba, mnist, svhn$"):
        fetch("digits", tmp_path)
