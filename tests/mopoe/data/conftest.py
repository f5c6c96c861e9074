"""Sources of data sets: real MNIST digits where they are, photographs, and numbered digits."""

import os
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from official_layouts import write_digits
from official_layouts import write_idx as write_idx_file
from PIL import Image

SHARED = Path(os.environ.get("MOPOE_SHARED") or Path(__file__).parents[4] / "shared")


@pytest.fixture(scope="session")
def mnist() -> Path:
    """Give the folder of MNIST's 10,000 test digits, or skip."""
    folder = SHARED / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip(f"no real MNIST test digits in {folder}")
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of scikit-image's five photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("coffee.png", "chelsea.png", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg"):
        shutil.copy(Path(str(resources.files("skimage"))) / "data" / name, folder)
    return folder


WriteIdx = Callable[[Path, NDArray[np.uint8]], None]


@pytest.fixture(scope="session")
def write_idx() -> WriteIdx:
    """Give the writer of files such as MNIST's."""
    return write_idx_file


@pytest.fixture
def numbered(tmp_path: Path) -> Callable[[str, int, int], Path]:
    """Give the maker of n numbered digits `train` or `t10k` in one folder."""

    def make(name: str, n: int, first: int) -> Path:
        write_digits(tmp_path / "mnist", name, n, first)
        return tmp_path / "mnist"

    return make


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Give a folder of five one-coloured photographs of 28 x 30 pixels: m0 of grey level 0, m1 of 10, ..."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for m in (3, 1, 4, 0, 2):
        Image.new("RGB", (30, 28), (10 * m,) * 3).save(folder / f"p{m}.png")
    return folder
