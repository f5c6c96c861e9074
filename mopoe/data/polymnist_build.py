"""Builds PolyMNIST and its translated variant from MNIST's idx files and five photographs.

The digits are split before they are paired, so no handwriting is in two splits. A tenth of MNIST's training
digits is for validation, and its test digits are for testing; if only one of the two files exists, its digits
are split into 8/10, 1/10 and 1/10. The recipe is stored in the file's header.

For translated PolyMNIST the digits are resized to 21 pixels and placed at random, in each modality separately
(Daunhawer et al. 2022; scale and places are those of MultiVae's `TranslatedMMNIST`).
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from mopoe.cache import whole_file
from mopoe.data.container import SPLITS, Labelled, Split, fingerprint, hold_out
from mopoe.data.digits import pair, shrunk
from mopoe.data.formats import SIDE, mnist_files, open_picture, read_mnist
from mopoe.data.polymnist import write_pngs
from mopoe.data.registry import DATA_SETS, check_options
from mopoe.data.stored import save_splits
from mopoe.errors import DataError

INK = 128
"""Grey levels above this belong to the digit, as in the released data."""
RECIPE = 1
"""Increased whenever a seed gives other arrays."""
_PHOTOGRAPHS = (".jpg", ".jpeg", ".png")
SCALES = {"polymnist": 1.0, "translated_polymnist": 0.75}
"""The data sets that can be built, and the scale of their digits of 28 and 21 pixels."""


def build(
    mnist: Path, photographs: Path, out: Path, seed: int = 0, *, png: bool = False, name: str = "polymnist"
) -> None:
    """Write a data set to one file that its `load` reads; equal input and seed give equal bytes.

    Args:
        mnist: folder of MNIST's idx files, gzipped or not, or the folder above torchvision's `MNIST/raw`.
        photographs: folder of photographs; the first five by name are used, one per modality.
        out: the file to write; it must not exist.
        seed: determines the split, the pairing and the crops.
        png: whether to also write a folder `MMNIST` in the released PNG layout beside the file. That layout
            has no validation split: its tuples are appended to the train folder.
        name: the data set, one of `SCALES`.

    Raises:
        ConfigError: the seed is negative.
        DataError: input is missing or damaged, or the output exists or cannot be written; then nothing is
            left behind.
    """
    folder = out.parent / "MMNIST"
    check_options({"seed": seed})
    for path in (out, folder) if png else (out,):
        if path.exists():
            raise DataError(f"{path}: exists already; delete it or choose another name")
    sources = mnist_files(mnist)
    photograph_files = _find_photographs(photographs)
    pictures = [_read_photograph(file) for file in photograph_files]
    splits = _make([read_mnist(*files) for files in sources], pictures, seed, SCALES[name])
    about = {
        "data": name,
        "seed": seed,
        "fingerprint": fingerprint(splits),
        "recipe": RECIPE,
        "ink": INK,
        "scale": SCALES[name],
        "digits": " and ".join(images.name.partition("-")[0] for images, _ in sources),
        "samples": {name: len(split) for name, split in splits.items()},
        "photographs": [file.name for file in photograph_files],
    }
    _write(out, folder if png else None, splits, about)


def _make(
    sources: list[Labelled], photographs: list[NDArray[np.uint8]], seed: int, scale: float
) -> dict[str, Split]:
    rng = np.random.default_rng([RECIPE, seed])
    splits = {}
    shares = hold_out(sources, rng)
    for name in SPLITS:
        images, labels = shares[name]
        images = shrunk(images, scale)
        splits[name] = pair([images[labels == c] for c in range(10)], photographs, rng, ink=INK)
    return splits


def _find_photographs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of photographs")
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _PHOTOGRAPHS and not file.name.startswith(".")
    )
    needed = len(DATA_SETS["polymnist"].modalities)
    if len(files) < needed:
        raise DataError(
            f"{folder}: contains {len(files)} photographs ({', '.join(_PHOTOGRAPHS)}), but {needed} are "
            "needed, one per modality"
        )
    return files[:needed]


def _read_photograph(file: Path) -> NDArray[np.uint8]:
    with open_picture(file, "photograph", "JPEG", "PNG") as picture:
        photograph = np.asarray(picture.convert("RGB"))
    height, width, _ = photograph.shape
    if min(height, width) < SIDE:
        raise DataError(f"{file}: is {width} x {height} pixels, but a crop needs {SIDE} x {SIDE}")
    return photograph


def _write(out: Path, folder: Path | None, splits: dict[str, Split], about: dict[str, Any]) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as file, TemporaryDirectory(dir=out.parent, prefix=".MMNIST.") as temporary:
            save_splits(file, splits, about)
            if folder is not None:
                pngs = Path(temporary, "MMNIST")
                write_pngs(pngs / "train", _joined(splits["train"], splits["validation"]))
                write_pngs(pngs / "test", splits["test"])
                pngs.replace(folder)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{out}: cannot be written ({error})") from error


def _joined(first: Split, second: Split) -> Split:
    x = {m: torch.cat([first.x[m], second.x[m]]) for m in first.x}
    return Split(x, torch.cat([first.labels, second.labels]))
