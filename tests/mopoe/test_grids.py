"""Grids of samples: the right picture in the right place."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mopoe.data.container import MultimodalData, Split
from mopoe.evaluation.generation import sample_grid, save_grid
from mopoe.likelihoods import Laplace
from mopoe.methods import Bound
from mopoe.model import MoPoE
from mopoe.networks.base import Modality

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
    return MoPoE(parts, 1, Bound(prior_expert="none"))


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
        "import sys, torch; from mopoe.evaluation.generation import save_grid; "
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
