"""Pictures of held-out and generated samples: strips, grids, texts as images."""

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mopoe.data.container import MultimodalData, Split
from mopoe.data.formats import encode
from mopoe.data.registry import Distribution, ModalitySpec
from mopoe.data.units import Kind, Units
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.pictures import as_images, draw_pictures, sample_grid, save_grid, strip
from mopoe.likelihoods import Laplace
from mopoe.methods import MethodSpec
from mopoe.model import MoPoE
from mopoe.networks.base import Modality
from mopoe.random_streams import sample_noise
from mopoe.reports import Picture

CPU = torch.device("cpu")
IMAGES = {name: Units(ModalitySpec(name=name, shape=(3, 28, 28)), "uint8") for name in "ab"}
LEVELS = (30, 60, 90, 120, 150)


def pixels(png: bytes) -> NDArray[np.uint8]:
    """Return a strip's pixels."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_a_strip_is_its_images_side_by_side() -> None:
    """Bytes in, the same bytes out, colours last."""
    x = torch.randint(0, 256, (3, 3, 5, 4), generator=torch.Generator().manual_seed(0))
    found = pixels(strip(x / 255))
    assert found.shape == (5, 12, 3)
    for i in range(3):
        assert found[:, 4 * i : 4 * i + 4].transpose(2, 0, 1).tolist() == x[i].tolist()


def test_a_strip_of_one_colour_is_grey_and_values_are_clipped() -> None:
    """Outside 0..1 the nearest end is shown; 0.5 rounds to 128."""
    x = torch.tensor([-1.0, 0.0, 0.5, 1.0, 7.0]).view(5, 1, 1, 1)
    assert pixels(strip(x)).tolist() == [[0, 0, 128, 255, 255]]


class ReadLevel(nn.Module):
    """A classifier that names an image by its grey level, in steps of 30."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits that peak at the level's number."""
        level = (x.mean((1, 2, 3)) * 255 / 30).round()[:, None]
        return -(torch.arange(9) - level).abs()


@pytest.fixture(scope="module")
def drawn(modality: Callable[..., Modality]) -> tuple[MoPoE, tuple[Picture, ...]]:
    """Draw four of five samples with a model that reads greys exactly; `b` shows 30 levels more than `a`."""

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean((1, 2, 3))[:, None]
        return mean, torch.full_like(mean, -40.0)

    def paint(shift: int) -> Callable[[Tensor], Tensor]:
        return lambda z: (z + shift / 255)[:, :, None, None].expand(-1, 3, 28, 28)

    model = MoPoE(
        {"a": modality(encode, paint(0), Laplace()), "b": modality(encode, paint(30), Laplace())},
        1,
        MethodSpec(prior_expert="none"),
    )
    a = torch.tensor(LEVELS, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 28, 28)
    split = Split({"a": a, "b": a + 60}, torch.tensor([1, 2, 3, 4, 5]))
    networks = {name: ReadLevel().eval() for name in "ab"}
    classifiers = Classifiers(networks=networks, accuracy={"a": 1.0, "b": 1.0}, hash="x")
    return model, draw_pictures(model, split, classifiers, 4, 7, IMAGES)


def test_strips_are_inputs_growing_subsets_and_the_prior(drawn: tuple[MoPoE, tuple[Picture, ...]]) -> None:
    """Each kind and source has a strip of every modality, and each modality one from all others."""
    expected = [(kind, t) for kind in (("input", 0), ("conditional", 1), ("conditional", 3)) for t in "ab"]
    expected += [(("conditional", 2), "a"), (("joint", 0), "a"), (("joint", 0), "b")]
    assert [((p.kind, p.source_mask), p.target) for p in drawn[1]] == expected


def levels(picture: Picture) -> list[int]:
    """Return the grey level of each of a strip's four constant images."""
    assert picture.png is not None
    found = pixels(picture.png)
    assert found.shape == (28, 4 * 28, 3)
    tiles = [found[:, 28 * i : 28 * i + 28] for i in range(4)]
    assert all((tile == tile[0, 0, 0]).all() for tile in tiles)
    return [int(tile[0, 0, 0]) for tile in tiles]


def test_strips_show_what_was_observed_and_what_was_made_of_it(
    drawn: tuple[MoPoE, tuple[Picture, ...]],
) -> None:
    """From `a` its own level, from both the mean of the two; the classifier's labels stand beside."""
    shown = {(p.kind, p.source_mask, p.target): (levels(p), p.labels) for p in drawn[1]}
    base = [30, 60, 90, 120]
    assert shown["input", 0, "a"] == (base, (1, 2, 3, 4))
    assert shown["input", 0, "b"] == ([x + 60 for x in base], (1, 2, 3, 4))
    assert shown["conditional", 1, "a"] == (base, (1, 2, 3, 4))
    assert shown["conditional", 1, "b"] == ([x + 30 for x in base], (2, 3, 4, 5))
    assert shown["conditional", 3, "a"] == ([x + 30 for x in base], (2, 3, 4, 5))
    assert shown["conditional", 3, "b"] == ([x + 60 for x in base], (3, 4, 5, 6))


def test_prior_strips_share_one_latent_per_column(drawn: tuple[MoPoE, tuple[Picture, ...]]) -> None:
    """The seed's standard normal draws, painted by each modality."""
    z = sample_noise(7, "pictures from the prior", 0, 4, (1,), CPU)[:, 0]
    for picture, shift in zip(drawn[1][-2:], (0, 30), strict=True):
        expected = (z + shift / 255).clamp(0, 1).mul(255).round().int().tolist()
        assert levels(picture) == expected


def test_more_pictures_than_samples_show_all_there_are(drawn: tuple[MoPoE, tuple[Picture, ...]]) -> None:
    """Asking for nine of two samples gives strips of two."""
    x = torch.zeros(2, 3, 28, 28, dtype=torch.uint8)
    classifiers = Classifiers(networks={n: ReadLevel().eval() for n in "ab"}, accuracy={}, hash="x")
    split = Split({"a": x, "b": x}, torch.tensor([0, 0]))
    for picture in draw_pictures(drawn[0], split, classifiers, 9, 0, IMAGES):
        assert len(picture.labels) == 2
        assert picture.png is not None
        assert pixels(picture.png).shape == (28, 56, 3)


def test_texts_are_written_letter_by_letter() -> None:
    """One cell of 14 x 8 pixels a character: equal letters look alike, others do not, blanks are white."""
    image = as_images(encode([" three  ", "3- e{~a "]))
    assert image.shape == (2, 1, 14, 64)
    assert 0 <= float(image.min()) < 0.3 < float(image.max()) == 1
    first, second = ([x[0, :, 8 * i : 8 * i + 8] for i in range(8)] for x in image)
    assert torch.equal(first[4], first[5])
    assert torch.equal(first[4], second[3])
    letters = [first[1], first[2], first[3], first[4], *second[:2], *second[4:7]]
    for i, a in enumerate(letters):
        assert float(a.min()) < 0.6
        assert all(not torch.equal(a, b) for b in letters[:i])
    for blank in (first[0], first[6], first[7], second[2], second[7]):
        assert (blank == 1).all()


def test_the_most_probable_text_is_written_and_long_ones_have_lines() -> None:
    """Half certain letters are those of the certain ones; after 32 characters a line begins."""
    text = "abcd" * 9 + "e" * 4
    x = encode([text])
    blurred = 0.5 * torch.nn.functional.one_hot(x.long(), 71).transpose(1, 2) + 0.5 / 71
    assert torch.equal(as_images(x), as_images(blurred))
    image = as_images(x)
    assert image.shape == (1, 1, 28, 256)
    assert torch.equal(image[..., :14, :32], image[..., 14:, :32])
    assert (image[..., 14:, 8 * 8 :] == 1).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 28, 28), (1, 28, 28)), ((3, 32, 20), (3, 32, 20)), ((2, 4, 5), (1, 8, 5)), ((9,), (1, 1, 9))],
)
def test_anything_else_is_shown_as_it_is(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Images of any size stay; other numbers become grey levels."""
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    image = as_images(3 * x - 1)
    assert image.shape == (2, *expected)
    assert torch.equal(image.flatten(1), (3 * x - 1).clamp(0, 1).flatten(1))


def test_samples_with_attributes_have_no_labels(drawn: tuple[MoPoE, tuple[Picture, ...]]) -> None:
    """A row of attributes is no number to print beneath a picture; the strips are the same."""
    x = torch.full((2, 3, 28, 28), 60, dtype=torch.uint8)
    classifiers = Classifiers(networks={n: ReadLevel().eval() for n in "ab"}, accuracy={}, hash="x")
    rows, plain = (
        draw_pictures(drawn[0], Split({"a": x, "b": x}, labels), classifiers, 2, 0, IMAGES)
        for labels in (torch.eye(2, 9).long(), torch.tensor([0, 0]))
    )
    assert {p.labels for p in rows} == {()}
    assert [p.png for p in rows] == [p.png for p in plain]


def kept(
    modality: Callable[..., Modality], spec: ModalitySpec, x: Tensor, mean: Tensor, kind: Kind = "float32"
) -> dict[tuple[str, int], Picture]:
    """Return what is kept of samples of one modality whose generated means are always `mean`."""
    latent = torch.zeros(len(x), 1)
    part = modality(lambda _: (latent, latent), lambda z: mean[: len(z)], Laplace())
    model, nobody = MoPoE({"a": part}, 1, MethodSpec()), Classifiers(networks={}, accuracy={}, hash="x")
    split = Split({"a": x}, torch.zeros(len(x), 0, dtype=torch.long))
    drawn = draw_pictures(model, split, nobody, 8, 0, {"a": Units(spec, kind)})
    assert {p.labels for p in drawn} == {()}
    return {(p.kind, p.source_mask): p for p in drawn}


def test_vectors_are_kept_as_numbers_in_the_units_of_their_files(modality: Callable[..., Modality]) -> None:
    """With the features' names, for the data as for what is generated."""
    spec = ModalitySpec(name="a", shape=(2,), features=("age", "dose"), offset=(50.0, 1.0), scale=(10.0, 0.5))
    x = torch.tensor([[0.0, 1.0], [-1.0, 2.0]])
    found = kept(modality, spec, x, x + 1)
    assert [(p.features, p.png, p.texts) for p in found.values()] == 3 * [(("age", "dose"), None, ())]
    assert found["input", 0].values == pytest.approx((50, 1.5, 40, 2))
    assert found["conditional", 1].values == pytest.approx((60, 2, 50, 2.5))
    assert found["joint", 0].values == pytest.approx((60, 2, 50, 2.5))


@pytest.mark.parametrize(
    ("likelihood", "n", "expected"),
    [
        ("poisson", 30, [str(i) for i in range(7, 31)]),
        ("normal", 24, [str(i) for i in range(1, 25)]),
        ("normal", 30, [str(i) for i in range(1, 31)]),
        (None, 300, [str(i) for i in range(1, 301, 3)]),
    ],
)
def test_of_many_elements_those_that_vary_or_a_curve_are_kept(
    modality: Callable[..., Modality], likelihood: Distribution | None, n: int, expected: list[str]
) -> None:
    """The i-th of n varies by i: of counts the last 24; of real numbers without names every nth place."""
    spec = ModalitySpec(name="a", shape=(n,), likelihood=likelihood)
    x = torch.tensor([[0.0], [1.0]]) * torch.arange(n)
    picture = kept(modality, spec, x, x)["input", 0]
    assert picture.features == tuple(expected)
    assert picture.values[len(expected) :] == tuple(float(name) - 1 for name in expected)


def test_symbols_are_kept_as_text_or_numbers(modality: Callable[..., Modality]) -> None:
    """Letters where there are as many symbols as letters, else numbers; with names of places, as a vector."""
    text = encode(["two  ", " nine"])
    mean = torch.nn.functional.one_hot(text.long(), 71).transpose(1, 2).float()
    plain = ModalitySpec(name="a", shape=(5,))
    found = kept(modality, plain, text, mean.flip(0), "int8")
    assert found["input", 0].texts == ("two  ", " nine")
    assert found["conditional", 1].texts == (" nine", "two  ")
    codes = torch.tensor([[0, 2, 1], [11, 0, 0]], dtype=torch.int8)
    mean = torch.nn.functional.one_hot(codes.long(), 12).transpose(1, 2).float()
    found = kept(modality, replace(plain, shape=(3,)), codes, mean, "int8")
    assert {p.texts for p in found.values()} == {("  0   2   1", " 11   0   0")}
    named = kept(modality, replace(plain, shape=(3,), features=("q1", "q2", "q3")), codes, mean, "int8")
    assert {(p.features, p.values) for p in named.values()} == {(("q1", "q2", "q3"), (0, 2, 1, 11, 0, 0))}


GREYS = (0.0, 0.2, 0.4, 0.6)


@pytest.fixture(scope="module")
def painter(modality: Callable[..., Modality]) -> MoPoE:
    """Two modalities whose encoder reads the mean grey exactly, and whose decoders paint it."""

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean((1, 2, 3))[:, None]
        return mean, torch.full_like(mean, -40.0)

    def decode(shift: float) -> Callable[[Tensor], Tensor]:
        return lambda z: (z + shift)[:, :, None, None].expand(-1, 3, 28, 28)

    parts = {name: modality(encode, decode(shift), Laplace()) for name, shift in (("a", 0.0), ("b", 0.1))}
    return MoPoE(parts, 1, MethodSpec(prior_expert="none"))


@pytest.fixture(scope="module")
def greys() -> Split:
    """Four samples of constant images, grey in a and its negative in b."""
    value = torch.tensor([round(255 * g) for g in GREYS], dtype=torch.uint8)
    a = value[:, None, None, None].expand(-1, 3, 28, 28)
    return Split({"a": a, "b": 255 - a}, torch.arange(4))


def tiles(grid: Tensor, n: int) -> list[list[float]]:
    """Return the grey at the centre of every tile, row by row, and check that tiles are 30 pixels apart."""
    rows = (grid.shape[1] - 2) // 30
    assert grid.shape == (3, 30 * rows + 2, 30 * n + 2)
    return [[float(grid[0, 2 + 30 * r + 14, 2 + 30 * c + 14]) for c in range(n)] for r in range(rows)]


def test_a_grid_shows_the_samples_above_and_what_is_generated_below(painter: MoPoE, greys: Split) -> None:
    """Two rows of data, then both modalities generated from `a` alone, clipped to 0..1."""
    rows = tiles(sample_grid(painter, greys, 1, 4, seed=0), 4)
    assert rows[0] == pytest.approx(GREYS, abs=1e-3)
    assert rows[1] == pytest.approx([1 - g for g in GREYS], abs=1e-3)
    assert rows[2] == pytest.approx(GREYS, abs=1e-3)
    assert rows[3] == pytest.approx([g + 0.1 for g in GREYS], abs=1e-3)


def test_the_source_decides_what_is_generated(painter: MoPoE, greys: Split) -> None:
    """From `b` the negatives come out, from both the mean of the two: 0.5 everywhere."""
    from_b = tiles(sample_grid(painter, greys, 2, 4, seed=0), 4)
    assert from_b[2] == pytest.approx([1 - g for g in GREYS], abs=1e-3)
    both = tiles(sample_grid(painter, greys, 3, 4, seed=0), 4)
    assert both[2] == pytest.approx([0.5] * 4, abs=2e-3)


def test_an_empty_source_is_the_prior(painter: MoPoE, greys: Split) -> None:
    """The latents are standard normal noise of the seed, the same for both modalities."""
    (a, b), (again, _), (other, _) = (
        tiles(sample_grid(painter, greys, 0, 4, seed=seed), 4)[2:] for seed in (0, 0, 1)
    )
    assert a == again != other
    for x, y in zip(a, b, strict=True):
        assert y == pytest.approx(min(x + 0.1, 1.0), abs=1e-6) or x == 0.0


def test_more_samples_than_there_are_show_all_there_are(painter: MoPoE, greys: Split) -> None:
    """Asking for six of four samples gives a grid of four columns."""
    assert tiles(sample_grid(painter, greys, 1, 6, seed=0), 4)[0] == pytest.approx(GREYS, abs=1e-3)


def test_a_saved_grid_is_the_grid(tmp_path: Path) -> None:
    """PNG keeps every pixel to half a grey level."""
    grid = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0))
    save_grid(grid, tmp_path / "g.png")
    with Image.open(tmp_path / "g.png") as image:
        found = np.asarray(image).transpose(2, 0, 1) / 255
    assert np.abs(found - grid.numpy()).max() <= 0.5 / 255 + 1e-6


def test_a_grid_can_be_saved_before_any_is_made(tmp_path: Path) -> None:
    """In a fresh process, saving alone works too, whatever build of torch there is."""
    code = (
        "import sys, torch; from mopoe.evaluation.pictures import save_grid; "
        "save_grid(torch.zeros(3, 4, 4), sys.argv[1])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "g.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "g.png") as image:
        assert image.size == (4, 4)


def test_grids_of_the_built_in_networks_work(tiny_data: MultimodalData) -> None:
    """A model of one colour count draws its data unchanged in the upper half."""
    from mopoe.config import TrialConfig
    from mopoe.model import build_model

    spec = tiny_data.modalities[1]
    data = replace(tiny_data, modalities=(spec, replace(spec, name="second")))
    split = Split(
        {"colour": tiny_data.test.x["colour"], "second": tiny_data.test.x["colour"]}, tiny_data.test.labels
    )
    model = build_model(TrialConfig(latent_dim=2, channels=(2, 2, 2)), data.modalities)
    grid = sample_grid(model, split, 3, 5, seed=0)
    assert torch.equal(grid[:, 2:30, 2:30], split.x["colour"][0] / 255)
    assert torch.equal(grid[:, 32:60, 122:150], split.x["second"][4] / 255)


def test_modalities_of_other_sizes_share_a_grid() -> None:
    """Grey 28 x 28, colour 32 x 32 and text of 64 x 14 pixels, each in the middle of its tile."""
    from mopoe.config import TrialConfig
    from mopoe.data.formats import encode
    from mopoe.data.registry import DATA_SETS
    from mopoe.model import build_model

    specs = DATA_SETS["mnist_svhn_text"].modalities
    rng = torch.Generator().manual_seed(0)
    x = {m.name: torch.randint(0, 256, (3, *m.shape), generator=rng, dtype=torch.uint8) for m in specs}
    x["text"] = encode(["one     ", " two    ", "  nine  "])
    model = build_model(TrialConfig(latent_dim=2), specs)
    grid = sample_grid(model, Split(x, torch.tensor([1, 2, 9])), 7, 3, seed=0)
    assert grid.shape == (3, 2 + 6 * 34, 2 + 3 * 66)
    for colour in range(3):
        assert torch.equal(grid[colour, 4:32, 20:48], x["mnist"][0, 0] / 255)
    assert torch.equal(grid[:, 36:68, 84:116], x["svhn"][1] / 255)
    assert (grid[:, 36:68, 2 + 66 : 84] == 1).all()
    text = grid[0, 70 + 9 : 70 + 23, 2 + 132 : 2 + 132 + 64]
    assert (text[:, :16] == 1).all()
    assert float(text[:, 16:48].min()) < 0.5
