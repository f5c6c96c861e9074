"""Loading PolyMNIST: the released layouts read back identical, the cache, and every kind of damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from official_layouts import noise, write_polymnist
from PIL import Image
from safetensors.torch import save_file

from mopoe.data import load_data
from mopoe.data import polymnist as polymnist_folder
from mopoe.data.container import SPLITS, MultimodalData, Split
from mopoe.data.polymnist import read_folder, write_pngs
from mopoe.data.polymnist_build import build
from mopoe.data.registry import entry
from mopoe.errors import ConfigError, DataError

NAMES = tuple(f"m{m}" for m in range(5))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is converted here apart."""
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


TRAIN, TEST = noise(40, 0), noise(20, 1)


@pytest.fixture
def pngs(tmp_path: Path) -> Path:
    """Give a folder in the released PNG layout."""
    write_polymnist(tmp_path / "png" / "MMNIST", TRAIN, TEST)
    return tmp_path / "png" / "MMNIST"


@pytest.fixture
def tensors(tmp_path: Path) -> Path:
    """Give a folder in the released layout of tensors."""
    root = tmp_path / "pt" / "MMNIST"
    for name, split in (("train", TRAIN), ("test", TEST)):
        (root / name).mkdir(parents=True)
        torch.save(split.labels, root / name / "labels.pt")
        for m, x in split.x.items():
            torch.save(x.float() / 255, root / name / f"{m}.pt")
    return root


def rows(split: Split) -> set[tuple[int, ...]]:
    """Return every tuple as its label and the sums of its pictures."""
    sums = [split.x[m].long().flatten(1).sum(1).tolist() for m in NAMES]
    return set(zip(split.labels.tolist(), *sums, strict=True))


def places(split: Split, source: Split) -> list[int]:
    """Return where in a source each sample is, all its bytes and its label the same."""
    found = []
    for i in range(len(split)):
        alike = torch.stack([(source.x[m] == split.x[m][i]).flatten(1).all(1) for m in NAMES]).all(0)
        (place,) = (alike & (source.labels == split.labels[i])).nonzero().flatten().tolist()
        found.append(place)
    return found


def test_no_split_is_sorted_by_class(pngs: Path) -> None:
    """An evaluation takes the first samples of a split, which must be of any class."""
    data = load_data("polymnist", path=str(pngs))
    for name in ("train", "test"):
        labels = data.split(name).labels
        assert labels.tolist() != labels.sort().values.tolist()


def same(a: MultimodalData, b: MultimodalData) -> bool:
    """Return whether two data sets hold the same bytes in the same order."""
    return all(
        torch.equal(a.split(name).labels, b.split(name).labels)
        and all(torch.equal(a.split(name).x[m], b.split(name).x[m]) for m in NAMES)
        for name in SPLITS
    )


@pytest.mark.parametrize("layout", ["pngs", "tensors"])
def test_a_released_folder_is_read_back(layout: str, request: pytest.FixtureRequest) -> None:
    """The test folder byte by byte; the train folder in two parts, a tenth of each class for validation."""
    folder: Path = request.getfixturevalue(layout)
    data = load_data("polymnist", path=str(folder))
    assert sorted(places(data.test, TEST)) == list(range(20))
    assert sorted(places(data.train, TRAIN) + places(data.validation, TRAIN)) == list(range(40))
    assert (len(data.train), len(data.validation)) == (36, 4)
    assert torch.bincount(data.validation.labels, minlength=10).max() == 1
    assert dict(data.options) == {"path": str(folder), "seed": 0}


def test_both_layouts_of_one_data_set_are_one_data_set(pngs: Path, tensors: Path) -> None:
    """Same bytes, same splits, and one fingerprint, so that its classifiers are shared; the seed matters."""
    a, b = load_data("polymnist", path=str(pngs)), load_data("polymnist", path=str(tensors))
    other = load_data("polymnist", path=str(pngs), seed=1)
    assert same(a, b)
    assert a.fingerprint == b.fingerprint
    assert rows(other.validation) != rows(a.validation)
    assert other.fingerprint != a.fingerprint


def test_png_tuples_are_sorted_by_digit_and_number(tmp_path: Path) -> None:
    """Number 10 comes after number 9, whatever the order in which the files were written."""
    split = noise(120, 2)
    write_pngs(tmp_path / "train", split)
    write_pngs(tmp_path / "test", split)
    for m in NAMES:
        for path in (tmp_path / "test" / m / "2.0.png", tmp_path / "test" / m / "11.9.png"):
            path.rename(path.with_suffix(".tmp"))
            shutil.copy(path.with_suffix(".tmp"), path)
            path.with_suffix(".tmp").unlink()
    found = read_folder(tmp_path / "test", entry("polymnist").modalities)
    assert torch.equal(found.labels, split.labels)
    assert all(torch.equal(found.x[m], split.x[m]) for m in NAMES)


def test_a_built_file_and_its_png_files_hold_the_same(
    numbered: Callable[[str, int, int], Path], plain: Path, tmp_path: Path
) -> None:
    """The PNG layout has no validation split: its train folder holds both."""
    out = tmp_path / "out" / "p.safetensors"
    build(numbered("t10k", 100, 0), plain, out, png=True)
    assert sorted(p.name for p in out.parent.iterdir()) == ["MMNIST", "p.safetensors"]
    built, folder = (
        load_data("polymnist", path=str(out)),
        load_data("polymnist", path=str(out.parent / "MMNIST")),
    )
    assert sorted(places(folder.test, built.test)) == list(range(10))
    assert rows(folder.train) | rows(folder.validation) == rows(built.train) | rows(built.validation)
    assert (len(folder.train), len(folder.validation)) == (81, 9)


def test_a_folder_is_converted_once_and_again_when_it_changes(
    pngs: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second load opens no picture; another picture under an old name makes another data set."""
    first = load_data("polymnist", path=str(pngs))
    with monkeypatch.context() as patch:
        patch.setattr(polymnist_folder, "open_picture", lambda *_: pytest.fail("converted although cached"))
        assert same(load_data("polymnist", path=str(pngs)), first)
    Image.new("RGB", (28, 28), (1, 2, 3)).save(pngs / "test" / "m2" / "0.0.png")
    changed = load_data("polymnist", path=str(pngs))
    assert [1, 2, 3] in changed.test.x["m2"][:, :, 0, 0].tolist()
    assert changed.fingerprint != first.fingerprint
    assert len(list(own_cache.glob("polymnist-*.safetensors"))) == 2


def test_a_home_folder_may_be_written_as_a_tilde(pngs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the user's home."""
    monkeypatch.setenv("HOME", str(pngs.parent))
    assert len(load_data("polymnist", path="~/MMNIST").test) == 20


def replace_picture(file: Path, picture: Image.Image) -> None:
    """Put another picture in a file's place."""
    picture.save(file)


BAD_PNGS: list[tuple[Callable[[Path], object], str]] = [
    (
        lambda f: (f / "train/m3/2.4.png").unlink(),
        "train/m3/2.4.png: there is no such file, but {f}/train/m0/2.4.png exists",
    ),
    (
        lambda f: (f / "test/m0/1.7.png").rename(f / "test/m0/1.8.png.bak"),
        "test/m0/1.7.png: there is no such file, but {f}/test/m1/1.7.png exists",
    ),
    # A label that does not agree is a tuple without a partner.
    (
        lambda f: (f / "train/m2/3.5.png").rename(f / "train/m2/4.5.png"),
        "train/m2/3.5.png: there is no such file, but {f}/train/m0/3.5.png exists",
    ),
    (
        lambda f: replace_picture(f / "test/m1/0.3.png", Image.new("RGB", (32, 28))),
        "test/m1/0.3.png: is 32 x 28 pixels of mode RGB, but must be 28 x 28 of mode RGB",
    ),
    (
        lambda f: replace_picture(f / "test/m1/0.3.png", Image.new("L", (28, 28))),
        "test/m1/0.3.png: is 28 x 28 pixels of mode L, but must be 28 x 28 of mode RGB",
    ),
    (
        lambda f: (f / "test/m4/1.0.png").write_bytes((f / "test/m4/1.0.png").read_bytes()[:200]),
        "test/m4/1.0.png: not a readable PNG file (",
    ),
    (lambda f: (f / "test/m4/1.0.png").write_bytes(b""), "test/m4/1.0.png: not a readable PNG file ("),
    (
        lambda f: (f / "test/m4/1.0.png").rename(f / "test/m4/seven.png"),
        "test/m4/seven.png: the name must be NUMBER.DIGIT.png, as in 12.4.png",
    ),
    (lambda f: shutil.rmtree(f / "train/m4"), "train/m4: there is no such folder of PNG files"),
    (lambda f: shutil.rmtree(f / "test"), "test: there is no such folder; MMNIST has train and test"),
    (
        lambda f: shutil.rmtree(f / "train/m0"),
        "train: contains neither a folder m0 of PNG files nor a file m0.pt",
    ),
    (
        lambda f: (
            [p.unlink() for p in (f / "test").rglob("1.*.png")]
            + [p.unlink() for p in (f / "test").rglob("0.0.png")]
        ),
        "test: has 9 samples, but at least 10 are needed",
    ),
]
BAD_TENSORS: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: (f / "train/m3.pt").unlink(), "train/m3.pt: there is no such file"),
    (lambda f: (f / "test/labels.pt").unlink(), "test/labels.pt: there is no such file"),
    (
        lambda f: torch.save(torch.zeros(19, 3, 28, 28), f / "test/m1.pt"),
        (
            "test/m1.pt: holds float32 [19, 3, 28, 28], but must be floats [20, 3, 28, 28], as labels.pt has "
            "20 labels"
        ),
    ),
    (
        lambda f: torch.save(torch.zeros(20, 3, 28, 28, dtype=torch.uint8), f / "test/m1.pt"),
        (
            "test/m1.pt: holds uint8 [20, 3, 28, 28], but must be floats [20, 3, 28, 28], as labels.pt has "
            "20 labels"
        ),
    ),
    (
        lambda f: torch.save(torch.full((20, 3, 28, 28), 255.0), f / "test/m1.pt"),
        "test/m1.pt: holds values from 255 to 255, but must be in 0 to 1",
    ),
    (
        lambda f: torch.save(torch.full((20, 3, 28, 28), float("nan")), f / "test/m1.pt"),
        "test/m1.pt: holds values from nan to nan, but must be in 0 to 1",
    ),
    (
        lambda f: torch.save(torch.arange(20), f / "test/labels.pt"),
        "test/labels.pt: holds int64 [20], but must be one digit 0 to 9 per sample",
    ),
    (
        lambda f: torch.save(torch.zeros(20, 10), f / "test/labels.pt"),
        "test/labels.pt: holds float32 [20, 10], but must be one digit 0 to 9 per sample",
    ),
    (lambda f: torch.save([1, 2], f / "test/m1.pt"), "test/m1.pt: holds a list, but must hold one tensor"),
    (lambda f: torch.save(Path("x"), f / "test/m1.pt"), "test/m1.pt: not a readable tensor file ("),
    (
        lambda f: (f / "test/m1.pt").write_bytes((f / "test/m1.pt").read_bytes()[:5000]),
        "test/m1.pt: not a readable tensor file (",
    ),
    (lambda f: (f / "test/m1.pt").write_bytes(b""), "test/m1.pt: not a readable tensor file ("),
    (lambda f: (f / "test/m1.pt").write_bytes(b"garbage"), "test/m1.pt: not a readable tensor file ("),
]


@pytest.mark.parametrize(
    ("layout", "damage", "sentence"),
    [("pngs", *case) for case in BAD_PNGS] + [("tensors", *case) for case in BAD_TENSORS],
)
def test_damage_is_one_sentence_with_the_file(
    layout: str,
    damage: Callable[[Path], object],
    sentence: str,
    request: pytest.FixtureRequest,
    own_cache: Path,
) -> None:
    """It starts with the file, and nothing half converted stays in the cache."""
    folder: Path = request.getfixturevalue(layout)
    damage(folder)
    with pytest.raises(DataError) as error:
        load_data("polymnist", path=str(folder))
    assert str(error.value).startswith(f"{folder}/" + sentence.replace("{f}", str(folder)))
    assert "\n" not in str(error.value)
    assert not list(own_cache.glob("*.safetensors*")) + list(own_cache.glob(".*"))


def test_a_path_must_hold_the_data_set(tmp_path: Path) -> None:
    """Nothing, another file, and a file that is no data set are told apart."""
    nothing = tmp_path / "nothing"
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    (tmp_path / "text").write_text("hello, this is text")
    for path, message in (
        (
            nothing,
            (
                "there is no such file or folder; the folder MMNIST, or a file made by "
                "`sweep data build polymnist`"
            ),
        ),
        (tmp_path / "other", "not a file made by `sweep data build polymnist`"),
        (tmp_path / "text", "not a readable data set ("),
    ):
        with pytest.raises(DataError) as error:
            load_data("polymnist", path=str(path))
        assert str(error.value).startswith(f"{path}: {message}")


def test_the_path_is_required() -> None:
    """The message says what it is."""
    with pytest.raises(ConfigError) as error:
        load_data("polymnist")
    assert str(error.value) == (
        "data set 'polymnist' needs the option 'path': the folder MMNIST, or a file made by "
        "`sweep data build polymnist`"
    )
