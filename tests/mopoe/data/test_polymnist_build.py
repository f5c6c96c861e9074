"""Building PolyMNIST: which digit goes where, the recipe, equal bytes, and every kind of bad input."""

import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import mopoe
from mopoe.config import TrialConfig
from mopoe.data import load_data, polymnist_build
from mopoe.data.container import SPLITS, MultimodalData, Split
from mopoe.data.digits import shrunk
from mopoe.data.formats import mnist_files, read_idx, read_mnist
from mopoe.data.polymnist_build import build
from mopoe.data.stored import read_file
from mopoe.errors import ConfigError, DataError
from mopoe.reports import EpochReport

Numbered = Callable[[str, int, int], Path]


def shown(split: Split) -> dict[str, list[int]]:
    """Return the numbers that the pictures of a split show, by modality; photographs are one-coloured."""
    bits = {m: x[:, 0, 0, :16] != x[:, 0, 27, 27, None] for m, x in split.x.items()}
    return {m: (b.long() << torch.arange(16)).sum(1).tolist() for m, b in bits.items()}


@pytest.fixture(scope="module")
def real(mnist: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> MultimodalData:
    """Build from MNIST's test digits and scikit-image's photographs, and load the result."""
    out = tmp_path_factory.mktemp("real") / "polymnist.safetensors"
    build(mnist, photographs, out)
    return load_data("polymnist", path=str(out))


def test_real_digits_are_split_8_to_1_to_1_within_each_class(real: MultimodalData, mnist: Path) -> None:
    """8,000, 1,000 and 1,000 samples; each class of MNIST's test digits is divided so, but for one digit."""
    counts = np.bincount(read_idx(mnist / "t10k-labels-idx1-ubyte.gz"))
    for name, n, share in (("train", 8000, 0.8), ("validation", 1000, 0.1), ("test", 1000, 0.1)):
        split = real.split(name)
        assert len(split) == n
        assert np.abs(torch.bincount(split.labels).numpy() - share * counts).max() <= 1.2
        for m in real.modalities:
            assert split.x[m.name].shape == (n, 3, 28, 28)
            assert split.x[m.name].dtype == torch.uint8
    _, about = read_file(Path(str(real.options["path"])))
    assert about["digits"] == "t10k"
    assert about["samples"] == {"train": 8000, "validation": 1000, "test": 1000}
    assert about["photographs"][:2] == ["chelsea.png", "coffee.png"]
    assert about["fingerprint"] == real.fingerprint


def test_real_pictures_are_crops_inverted_under_a_digit_of_the_label(
    real: MultimodalData, mnist: Path, photographs: Path
) -> None:
    """Searched for in the whole photograph: a place where the picture is the crop but for a digit's mask."""
    masks = read_idx(mnist / "t10k-images-idx3-ubyte.gz") > 128
    labels = read_idx(mnist / "t10k-labels-idx1-ubyte.gz")
    with Image.open(photographs / "coffee.png") as image:
        photograph = np.asarray(image.convert("RGB"))
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (28, 28), axis=(0, 1))
    for i in range(3):
        picture = real.test.x["m1"][i].numpy()
        # The corners are never ink; they leave few places to look at.
        corners = [(0, 0), (0, 27), (27, 0), (27, 27)]
        fits = np.all([(windows[..., r, c] == picture[:, r, c]).all(-1) for r, c in corners], axis=0)
        inks = []
        for top, left in np.argwhere(fits):
            crop = windows[top, left]
            ink = (picture != crop).any(0)
            if (np.where(ink, 255 - crop, crop) == picture).all():
                inks.append(ink)
        assert len(inks) == 1
        (which,) = np.flatnonzero((masks == inks[0]).all((1, 2)))
        assert labels[which] == real.test.labels[i]


def test_training_on_real_pictures_lowers_the_loss(real: MultimodalData) -> None:
    """Three short epochs of a small model, over 512 of the samples."""
    data = replace(real, train=real.train.take(torch.arange(512)))
    config = TrialConfig(latent_dim=8, channels=(4, 4, 4), lr=3e-3, batch_size=64, epochs=3)
    reports: list[EpochReport] = []
    mopoe.train(config, data, reports.append)
    losses = [report.loss for report in reports]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.95 * losses[0]


@pytest.mark.parametrize("names", [("t10k",), ("train",), ("train", "t10k")])
def test_no_digit_is_in_two_splits_and_every_modality_shows_the_label(
    names: tuple[str, ...], numbered: Numbered, plain: Path, tmp_path: Path
) -> None:
    """Read back from the pictures, whichever of MNIST's two files there are."""
    for i, name in enumerate(names):
        mnist = numbered(name, 200, 200 * i)
    build(mnist, plain, tmp_path / "p")
    data = load_data("polymnist", path=str(tmp_path / "p"))
    members = {}
    for name in SPLITS:
        split = data.split(name)
        numbers = shown(split)
        for digits in numbers.values():
            assert [d % 10 for d in digits] == split.labels.tolist()
            assert sorted(digits) == sorted(numbers["m0"])
        assert numbers["m0"] != numbers["m1"]
        members[name] = set(numbers["m0"])
        assert len(members[name]) == len(split)
    if len(names) == 2:
        assert [len(data.split(name)) for name in SPLITS] == [180, 20, 200]
        assert members["test"] == set(range(200, 400))
        assert members["train"] | members["validation"] == set(range(200))
    else:
        assert [len(data.split(name)) for name in SPLITS] == [160, 20, 20]
        assert set.union(*members.values()) == set(range(200))
    assert torch.bincount(data.validation.labels).tolist() == [2] * 10


def test_photographs_go_to_modalities_by_name(numbered: Numbered, plain: Path, tmp_path: Path) -> None:
    """Whatever the order of the folder's listing; a sixth one is not used."""
    Image.new("RGB", (30, 28), (200, 200, 200)).save(plain / "q.png")
    build(numbered("t10k", 40, 0), plain, tmp_path / "p")
    data = load_data("polymnist", path=str(tmp_path / "p"))
    assert [int(data.train.x[f"m{m}"][0, 0, 27, 27]) for m in range(5)] == [0, 10, 20, 30, 40]


def test_equal_input_and_seed_make_equal_bytes(numbered: Numbered, plain: Path, tmp_path: Path) -> None:
    """Another seed makes others; a file is loaded with the seed it was built with."""
    mnist = numbered("t10k", 60, 0)
    contents = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build(mnist, plain, tmp_path / name, seed)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
    assert load_data("polymnist", path=str(tmp_path / "c"), seed=1).options["seed"] == 1
    with pytest.raises(ConfigError) as error:
        load_data("polymnist", path=str(tmp_path / "c"))
    assert str(error.value) == f"{tmp_path / 'c'}: was built with seed 1, but the option seed is 0"


@pytest.mark.parametrize("under", ["MNIST/raw", "raw", "."])
def test_torchvisions_folders_are_found(under: str, numbered: Numbered, plain: Path, tmp_path: Path) -> None:
    """The idx files may be in MNIST/raw below the folder, in raw, or in it."""
    (tmp_path / "root" / under).mkdir(parents=True)
    for file in numbered("t10k", 20, 0).iterdir():
        shutil.copy(file, tmp_path / "root" / under)
    build(tmp_path / "root", plain, tmp_path / "p")
    assert len(load_data("polymnist", path=str(tmp_path / "p")).train) == 16


def edit(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change the content of a file."""
    (folder / name).write_bytes(change((folder / name).read_bytes()))


T10K_IMAGES, T10K_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
BAD: list[tuple[str, Callable[[Path, Path], object], str]] = [
    (
        "images cut off",
        lambda mnist, _: edit(mnist, T10K_IMAGES, lambda b: b[:-1]),
        f"mnist/{T10K_IMAGES}: declares 20 x 28 x 28 values, but contains 15679",
    ),
    (
        "magic number",
        lambda mnist, _: edit(mnist, T10K_LABELS, lambda b: b"\1" + b[1:]),
        (
            f"mnist/{T10K_LABELS}: has the magic number 0x01000801, but must have 0x00000803 "
            "(images) or 0x00000801 (labels)"
        ),
    ),
    (
        "labels as images",
        lambda mnist, _: shutil.copy(mnist / T10K_LABELS, mnist / T10K_IMAGES),
        f"mnist/{T10K_IMAGES}: holds an array [20], but must be [N, 28, 28]",
    ),
    (
        "a label too few",
        lambda mnist, _: edit(mnist, T10K_LABELS, lambda b: b[:7] + b"\x13" + b[8:-1]),
        f"mnist/{T10K_LABELS}: holds an array [19], but there are 20 images",
    ),
    (
        "a label of 10",
        lambda mnist, _: edit(mnist, T10K_LABELS, lambda b: b[:-1] + b"\x0a"),
        f"mnist/{T10K_LABELS}: must hold at least ten labels, from 0 to 9",
    ),
    (
        "no labels",
        lambda mnist, _: (mnist / T10K_LABELS).unlink(),
        f"mnist/{T10K_IMAGES}: there is no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz with it",
    ),
    (
        "no digits",
        lambda mnist, _: shutil.rmtree(mnist),
        "mnist: contains no idx files of MNIST such as t10k-images-idx3-ubyte.gz",
    ),
    (
        "four photographs",
        lambda _, plain: (plain / "p2.png").unlink(),
        "plain: contains 4 photographs (.jpg, .jpeg, .png), but 5 are needed, one per modality",
    ),
    (
        "no photographs",
        lambda _, plain: shutil.rmtree(plain),
        "plain: there is no such folder of photographs",
    ),
    (
        "a small photograph",
        lambda _, plain: Image.new("RGB", (27, 30)).save(plain / "p2.png"),
        "plain/p2.png: is 27 x 30 pixels, but a crop needs 28 x 28",
    ),
    (
        "a damaged photograph",
        lambda _, plain: edit(plain, "p3.png", lambda b: b[:60]),
        "plain/p3.png: not a readable photograph (",
    ),
]


@pytest.mark.parametrize(("damage", "sentence"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_is_one_sentence_and_leaves_nothing(
    damage: Callable[[Path, Path], object], sentence: str, numbered: Numbered, plain: Path, tmp_path: Path
) -> None:
    """The message starts with the file; neither a file nor its folder appears."""
    mnist = numbered("t10k", 20, 0)
    damage(mnist, plain)
    with pytest.raises(DataError) as error:
        build(mnist, plain, tmp_path / "new" / "p", png=True)
    assert str(error.value).startswith(f"{tmp_path}/{sentence}")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def test_what_is_there_is_not_overwritten(numbered: Numbered, plain: Path, tmp_path: Path) -> None:
    """Neither the file nor, with PNG files, the folder."""
    (tmp_path / "p").write_text("mine")
    (tmp_path / "MMNIST").mkdir()
    mnist = numbered("t10k", 20, 0)
    for out, there, png in (("p", "p", False), ("q", "MMNIST", True)):
        with pytest.raises(
            DataError, match=f"^{re.escape(str(tmp_path / there))}: exists already; delete it or choose"
        ):
            build(mnist, plain, tmp_path / out, png=png)
    assert (tmp_path / "p").read_text() == "mine"
    assert not (tmp_path / "q").exists()


def test_a_build_that_breaks_off_leaves_nothing(
    numbered: Numbered, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while the PNG files are written takes the file with it; the reason is told."""

    def write_pngs(folder: Path, _: Split) -> None:
        folder.mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(polymnist_build, "write_pngs", write_pngs)
    with pytest.raises(DataError, match=r"/out/p: cannot be written \(.*No space left on device\)$"):
        build(numbered("t10k", 20, 0), plain, tmp_path / "out" / "p", png=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    """By the builder and by the loader."""
    message = "^seed is -1, but must be between 0 and "
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, tmp_path, tmp_path / "p", seed=-1)
    with pytest.raises(ConfigError, match=message):
        load_data("polymnist", path=str(tmp_path), seed=-1)


def test_ink_is_above_128(numbered: Numbered, plain: Path, tmp_path: Path) -> None:
    """Grey level 128 shows the photograph, 129 its inverse."""
    build(numbered("t10k", 20, 0xAA00), plain, tmp_path / "p")
    row: NDArray[np.uint8] = (
        load_data("polymnist", path=str(tmp_path / "p")).train.x["m1"][0, :, 0, 8:17].numpy()
    )
    assert row.tolist() == [[10, 245, 10, 245, 10, 245, 10, 245, 10]] * 3


def test_translated_digits_are_at_random_places_in_every_modality(
    numbered: Numbered, plain: Path, tmp_path: Path, write_idx: Callable[[Path, NDArray[np.uint8]], None]
) -> None:
    """A full square of 28 pixels becomes one of 21, wholly inside, starting at rows and columns 0 to 6."""
    mnist = numbered("t10k", 400, 0)
    write_idx(mnist / T10K_IMAGES, np.full((400, 28, 28), 255, np.uint8))
    build(mnist, plain, tmp_path / "p", name="translated_polymnist")
    train = load_data("translated_polymnist", path=str(tmp_path / "p")).train
    places = {}
    for i, (m, x) in enumerate(train.x.items()):
        ink = (x == 255 - 10 * i).all(1)
        assert (ink | (x == 10 * i).all(1)).all()
        rows, columns = ink.any(2), ink.any(1)
        assert (rows.sum(1) == 21).all()
        assert (columns.sum(1) == 21).all()
        assert (ink.sum((1, 2)) == 21 * 21).all()
        places[m] = torch.stack([rows.int().argmax(1), columns.int().argmax(1)])
        assert set(places[m].flatten().tolist()) == set(range(7))
        assert not torch.equal(places[m][0], places[m][1])
    assert not torch.equal(places["m0"], places["m1"])
    _, about = read_file(tmp_path / "p")
    assert (about["data"], about["scale"]) == ("translated_polymnist", 0.75)


def test_shrunk_digits_are_torchs_bilinear_ones() -> None:
    """Written out for one axis: pixel i takes from (i + 1/2) 4/3 - 1/2, between its two neighbours."""
    digits = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    at = (np.arange(21) + 0.5) * 4 / 3 - 0.5
    low = np.floor(at).astype(int)
    weight = np.zeros((21, 28))
    weight[np.arange(21), low] = 1 - (at - low)
    weight[np.arange(21), np.minimum(low + 1, 27)] += at - low
    expected = np.einsum("ai,nij,bj->nab", weight, digits, weight)
    assert np.abs(shrunk(digits, 0.75) - expected).max() <= 0.5 + 1e-4
    assert shrunk(digits, 1) is digits


def test_a_file_of_one_data_set_is_not_the_others(numbered: Numbered, plain: Path, tmp_path: Path) -> None:
    """The message says which command makes the file that is asked for."""
    build(numbered("t10k", 20, 0), plain, tmp_path / "p")
    with pytest.raises(DataError) as error:
        load_data("translated_polymnist", path=str(tmp_path / "p"))
    assert str(error.value) == (
        f"{tmp_path / 'p'}: not a file made by `sweep data build translated_polymnist`"
    )


def test_residual_networks_learn_real_translated_pictures(
    mnist: Path, photographs: Path, tmp_path: Path
) -> None:
    """Two short epochs over 160 samples lower the loss; a folder of PNG files is read like the file."""
    images, labels = read_mnist(*mnist_files(mnist)[0])
    (tmp_path / "few").mkdir()
    for kind, array in (("images-idx3", images[:300]), ("labels-idx1", labels[:300].astype(np.uint8))):
        head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
        (tmp_path / "few" / f"t10k-{kind}-ubyte").write_bytes(head + array.tobytes())
    build(tmp_path / "few", photographs, tmp_path / "p", png=True, name="translated_polymnist")
    data = load_data("translated_polymnist", path=str(tmp_path / "p"))
    config = TrialConfig(latent_dim=8, channels=(4, 8, 8), lr=2e-3, batch_size=64, epochs=2)
    reports: list[EpochReport] = []
    mopoe.train(config, replace(data, train=data.train.take(torch.arange(160))), reports.append)
    assert reports[1].loss < reports[0].loss
    folder = load_data("translated_polymnist", path=str(tmp_path / "MMNIST"))
    assert torch.equal(
        folder.test.x["m0"].long().sum((1, 2, 3)).sort().values,
        data.test.x["m0"].long().sum((1, 2, 3)).sort().values,
    )
    (tmp_path / "MMNIST" / "train" / "m2" / "0.7.png").unlink()
    with pytest.raises(DataError, match=r"/MMNIST/train/m2/0.7.png: there is no such file, but .*m0/0.7.png"):
        load_data("translated_polymnist", path=str(tmp_path / "MMNIST"))
