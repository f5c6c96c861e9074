"""CelebA from its official lists: pixels, text, splits, and every kind of damage named."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from official_layouts import ATTRIBUTES as NAMES
from official_layouts import PARTITIONS, has, write_celeba
from PIL import Image

import mopoe
from mopoe.config import TrialConfig
from mopoe.data import celeba, load_data
from mopoe.data.celeba import text_of
from mopoe.data.container import MultimodalData
from mopoe.data.formats import ALPHABET, decode, encode
from mopoe.errors import DataError
from mopoe.evaluation import classifiers
from mopoe.evaluation.evaluate import Evaluator
from mopoe.evaluation_config import EvaluationConfig
from mopoe.reports import EpochReport
from mopoe.runtime import torchvision


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write ten images and the lists as they are released; do not change it."""
    folder = tmp_path_factory.mktemp("released") / "celeba"
    write_celeba(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """Give a copy to damage."""
    return Path(shutil.copytree(original, tmp_path / "celeba"))


@pytest.fixture(scope="module")
def data(original: Path) -> MultimodalData:
    """Load the data set as a user does."""
    return load_data("celeba", path=str(original))


def test_the_partitions_are_the_splits_in_the_order_of_the_list(data: MultimodalData) -> None:
    """Labels are the 40 attributes as 0 and 1 of the right images."""
    for p, split in enumerate((data.train, data.validation, data.test)):
        chosen = [i for i in range(10) if PARTITIONS[i] == p]
        assert split.labels.tolist() == [[int(has(i, a)) for a in range(40)] for i in chosen]
    assert (data.n_classes, dict(data.options).keys()) == (40, {"path"})


def test_images_are_those_of_torchvisions_crop_and_resize(data: MultimodalData, original: Path) -> None:
    """Centred crop of 148, bicubic to 64: the bytes of torchvision's own transforms."""
    transforms = torchvision("transforms")
    mode = transforms.InterpolationMode.BICUBIC
    plain = transforms.Compose(
        [transforms.CenterCrop(148), transforms.Resize(64, mode), transforms.PILToTensor()]
    )
    for split, i in ((data.train, 0), (data.validation, 3), (data.test, 2)):
        with Image.open(original / f"img_align_celeba/{i + 1:06}.jpg") as image:
            assert torch.equal(split.x["image"][0], plain(image))


def test_texts_name_the_attributes_that_are_there(data: MultimodalData) -> None:
    """In the list's order, lower case, with blanks, joined by a comma and a blank, filled up with stars."""
    texts = decode(data.train.x["text"])
    assert texts[0] == "*" * 256
    assert texts[2] == (
        "5 o clock shadow, bangs, blurry, eyeglasses, male, oval face, sideburns, wearing hat".ljust(256, "*")
    )
    whole = ", ".join(NAMES).replace("_", " ").lower()
    assert len(whole) == 502
    assert texts[-1] == whole[:256]
    assert data.train.x["text"].dtype == torch.int8


def test_a_text_is_read_back_from_its_numbers() -> None:
    """The alphabet has 71 symbols, the hyphen twice, and a character's number is its first place there."""
    assert (len(ALPHABET), len(set(ALPHABET)), ALPHABET.count("-")) == (71, 70, 2)
    text = text_of(["Big_Nose", "No_Beard"])
    assert decode(encode([text])) == [text]
    assert encode(["ab9*"]).tolist() == [[0, 1, 35, ALPHABET.index("*")]]


def test_the_tables_as_csv_and_the_nested_folder_give_the_same_data(
    data: MultimodalData, folder: Path
) -> None:
    """The variant with commas, a head of its own and images one folder deeper."""
    attributes = (folder / "list_attr_celeba.txt").read_text().splitlines()[1:]
    partitions = (folder / "list_eval_partition.txt").read_text().splitlines()
    for stem, lines in (
        ("list_attr_celeba", ["image_id " + attributes[0], *attributes[1:]]),
        ("list_eval_partition", ["image_id partition", *partitions]),
    ):
        (folder / f"{stem}.txt").unlink()
        (folder / f"{stem}.csv").write_text("\n".join(",".join(line.split()) for line in lines))
    (folder / "img_align_celeba").rename(folder / "inner")
    (folder / "img_align_celeba").mkdir()
    (folder / "inner").rename(folder / "img_align_celeba" / "img_align_celeba")
    assert load_data("celeba", path=str(folder)).fingerprint == data.fingerprint


def test_a_folder_is_converted_once_and_anew_when_a_list_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second load reads no image; a changed partition is seen."""
    first = load_data("celeba", path=str(folder))
    with monkeypatch.context() as patch:
        patch.setattr(celeba, "read_folder", lambda *_: pytest.fail("converted a second time"))
        again = load_data("celeba", path=str(folder))
    assert torch.equal(first.train.x["image"], again.train.x["image"])
    file = folder / "list_eval_partition.txt"
    file.write_text(file.read_text().replace("000001.jpg 0", "000001.jpg  2"))
    assert [len(load_data("celeba", path=str(folder)).split(s)) for s in ("train", "test")] == [5, 3]


def edit(name: str, line: int, change: Callable[[str], str]) -> Callable[[Path], None]:
    """Return what changes one line of a list, counted from 1; an empty answer drops it."""

    def damage(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        lines[line - 1] = change(lines[line - 1])
        (folder / name).write_text("\n".join(text for text in lines if text))

    return damage


ATTRIBUTES, LIST = "list_attr_celeba.txt", "list_eval_partition.txt"
DAMAGES = {
    "short row": (
        edit(ATTRIBUTES, 5, lambda row: row[:-3]),
        "{}/list_attr_celeba.txt:5: 000003.jpg has 39 values, not 40",
    ),
    "value": (
        edit(ATTRIBUTES, 4, lambda row: row[:-2] + " 0"),
        "{}/list_attr_celeba.txt:4: Young is '0', but must be -1 or 1",
    ),
    "names": (
        edit(ATTRIBUTES, 2, lambda row: row[17:]),
        "{}/list_attr_celeba.txt:2: names 39 attributes, but must name 40",
    ),
    "twice": (
        edit(ATTRIBUTES, 4, lambda row: row.replace("02", "01")),
        "{}/list_attr_celeba.txt:4: 000001.jpg is listed twice",
    ),
    "blank": (
        lambda folder: (folder / LIST).write_text("000001.jpg 0\n\n000002.jpg 0"),
        "{}/list_eval_partition.txt:2: an empty line has 0 values, not 1",
    ),
    "no partition": (
        edit(LIST, 7, lambda _: ""),
        "{0}/{2}: there is no 000007.jpg, but {0}/{1} has its attributes",
    ),
    "no attributes": (
        edit(LIST, 7, lambda row: row + "\n000099.jpg 0"),
        "{0}/{1}: there is no 000099.jpg, but {0}/{2} has its partition",
    ),
    "partition": (
        edit(LIST, 3, lambda _: "000003.jpg 3"),
        "{}/list_eval_partition.txt:3: partition is '3', but must be 0 or 1 or 2",
    ),
    "empty partition": (
        lambda folder: (folder / LIST).write_text((folder / LIST).read_text().replace(" 1", " 2")),
        "{}/list_eval_partition.txt: there is no image of partition 1, the validation split",
    ),
    "no list": (
        lambda folder: (folder / LIST).unlink(),
        "{}: contains neither list_eval_partition.txt nor list_eval_partition.csv",
    ),
    "empty list": (
        lambda folder: (folder / ATTRIBUTES).write_text(""),
        "{}/list_attr_celeba.txt:2: names 0 attributes, but must name 40",
    ),
    "no images": (
        lambda folder: shutil.rmtree(folder / "img_align_celeba"),
        "{}/img_align_celeba: there is no such folder of images",
    ),
    "no image": (
        lambda folder: (folder / "img_align_celeba/000006.jpg").unlink(),
        "{}/img_align_celeba/000006.jpg: there is no such file, but the list of attributes names it",
    ),
    "size": (
        lambda folder: Image.new("RGB", (178, 178)).save(folder / "img_align_celeba/000006.jpg"),
        "{}/img_align_celeba/000006.jpg: is 178 x 178 pixels, but the aligned images have 178 x 218",
    ),
}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_named_with_its_place(
    folder: Path, damage: Callable[[Path], None], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence with the file, and the line in a list; nothing half converted is left."""
    own_cache = folder.parent / "own-cache"
    monkeypatch.setenv("MOPOE_CACHE", str(own_cache))
    damage(folder)
    with pytest.raises(DataError) as error:
        load_data("celeba", path=str(folder))
    assert str(error.value) == sentence.format(folder, ATTRIBUTES, LIST)
    assert not list(own_cache.glob("**/celeba-*.safetensors"))


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "foreign", "cut off"])
def test_an_image_that_cannot_be_decoded_is_named(folder: Path, content: bytes | None) -> None:
    """Whether nothing, something else, or half of it is in the file."""
    file = folder / "img_align_celeba/000004.jpg"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(DataError) as error:
        load_data("celeba", path=str(folder))
    assert str(error.value).startswith(f"{file}: not a readable image (")


def test_a_list_that_is_no_text_is_named(folder: Path) -> None:
    """Bytes that are no UTF-8."""
    (folder / LIST).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"/list_eval_partition.txt: not a readable list \("):
        load_data("celeba", path=str(folder))


def test_a_missing_folder_says_what_it_must_be() -> None:
    """The message repeats what the option is."""
    with pytest.raises(DataError) as error:
        load_data("celeba", path="/nowhere")
    assert str(error.value) == (
        "/nowhere: there is no such folder; it must be the folder celeba, with img_align_celeba and the "
        "lists of attributes and partitions"
    )


def test_a_model_trains_on_it(data: MultimodalData) -> None:
    """Numbers go down, with every kind of mixture; the weights of "dimensions" are 1 and 48."""
    from mopoe.methods import likelihood_weights

    assert likelihood_weights(TrialConfig(), data.modalities) == {"image": 1.0, "text": 48.0}
    for mixture in ("stratified", "all"):
        reports: list[EpochReport] = []
        config = TrialConfig(
            latent_dim=4,
            channels=(1, 1, 4),
            lr=1e-2,
            batch_size=3,
            epochs=6,
            initialisation="he",
            mixture=mixture,
        )
        model = mopoe.train(config, data, reports.append)
        assert reports[-1].loss < 0.97 * reports[0].loss
        model.eval()
        log_p = model.log_prob(torch.zeros(2, 4), data.test.batch(slice(0, 2), torch.device("cpu")))
        assert {name: value.shape for name, value in log_p.items()} == {"image": (2,), "text": (2,)}


def test_a_model_is_evaluated_on_it(
    data: MultimodalData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With narrow classifiers: average precisions of both targets, likelihoods, pictures and every extra."""
    monkeypatch.setenv("MOPOE_CACHE", str(tmp_path))
    monkeypatch.setattr(classifiers, "TrialConfig", partial(TrialConfig, channels=(1, 1, 4)))
    config = TrialConfig(latent_dim=4, channels=(1, 1, 4), style_dim=2)
    evaluation = EvaluationConfig(
        split="train",
        coherence_samples=5,
        joint_samples=4,
        likelihood_samples=2,
        importance_samples=3,
        pictures=2,
        final_metrics=("representation", "frechet", "conditional_likelihood"),
    )
    judges = classifiers.load_classifiers(data, classifiers.ClassifierConfig(epochs=1))
    evaluator = Evaluator(data, judges, evaluation, epochs=1)
    found = evaluator.measure(mopoe.build_model(config, data.modalities))
    assert 0 <= found.objectives["conditional_coherence"] <= 1
    assert found.objectives["log_likelihood"] < -4982.4  # all of the image's pixels right, and the text
    assert {(p.source_mask, p.target) for p in found.pair_coherence} == {
        (mask, target) for mask in (1, 2, 3) for target in ("image", "text")
    }
    assert {m.metric for m in found.subset_metrics} >= {"representation", "frechet", "kl", "ess"}
    assert len(found.pictures) == 2 * 4 + 1
