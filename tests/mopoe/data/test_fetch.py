"""Downloads: torchvision's own code with its network replaced, and sentences where there is none."""

import gzip
import hashlib
import io
import re
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request

import numpy as np
import pytest

from mopoe.data.fetch import fetch
from mopoe.data.idx import read_idx
from mopoe.errors import ConfigError, DataError
from mopoe.vision import torchvision


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


def test_mnist_is_fetched_by_torchvision_with_its_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloaded once into torchvision's layout, which `build` reads; a file of other bytes is refused."""
    kind = torchvision("datasets").MNIST
    files = {
        "train-images-idx3-ubyte.gz": idx(np.full((3, 28, 28), 7, np.uint8)),
        "train-labels-idx1-ubyte.gz": idx(np.array([1, 2, 3], np.uint8)),
        "t10k-images-idx3-ubyte.gz": idx(np.zeros((2, 28, 28), np.uint8)),
        "t10k-labels-idx1-ubyte.gz": idx(np.array([4, 5], np.uint8)),
    }
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in files.items()]
    asked: list[str] = []

    class Response(io.BytesIO):
        def __init__(self, request: Request, *_: object, **__: object) -> None:
            asked.append(request.full_url.rpartition("/")[2])
            super().__init__(files[asked[-1]])
            self.url, self.length = request.full_url, len(files[asked[-1]])

    monkeypatch.setattr("urllib.request.urlopen", Response)
    monkeypatch.setattr(kind, "mirrors", ["https://example.org/"])
    with monkeypatch.context() as patch:
        patch.setattr(kind, "resources", [(sums[0][0], "0" * 32), *sums[1:]])
        with pytest.raises(DataError, match=r"^mnist cannot be fetched to .*File not found or corrupted"):
            fetch("mnist", tmp_path / "other bytes")
    monkeypatch.setattr(kind, "resources", sums)
    asked.clear()
    said = fetch("mnist", tmp_path)
    assert said == f"sweep data build polymnist --mnist {tmp_path} --photographs DIR --out FILE"
    assert (read_idx(tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz") == 7).all()
    assert set(asked) == set(files)
    asked.clear()
    fetch("mnist", tmp_path)
    assert asked == []


@pytest.mark.parametrize(("name", "calls"), [("svhn", ["train", "test"]), ("celeba", [None])])
def test_the_parts_of_a_data_set_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, calls: list[str | None]
) -> None:
    """SVHN has two files, CelebA is one; the answer is what to do next."""
    asked = []

    def construct(root: Path, split: str | None = None, *, download: bool) -> None:
        asked.append((root, split, download))

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


def test_celeba_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its download goes through a package that is not installed here."""
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(DataError, match=r"'gdown' is required\. You can install it with 'pip install gdown'"):
        fetch("celeba", tmp_path)


def test_what_cannot_be_fetched_is_said(tmp_path: Path) -> None:
    """For PolyMNIST, where it is and which folder to give; else what can be fetched."""
    with pytest.raises(
        ConfigError, match=re.escape("https://zenodo.org/records/4899160, unpack it and give")
    ):
        fetch("polymnist", tmp_path)
    with pytest.raises(ConfigError, match=r"^'digits' cannot be fetched; possible: celeba, mnist, svhn$"):
        fetch("digits", tmp_path)
