"""Small files in the layouts in which the data sets are released; pictures show a number or noise."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from mopoe.data.container import Split
from mopoe.data.polymnist import write_pngs

_ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair "
    "Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup "
    "High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose "
    "Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat "
    "Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young"
)
ATTRIBUTES = _ATTRIBUTES.split()
PARTITIONS = [0, 0, 2, 1, 0, 0, 1, 2, 0, 0]
"""Of CelebA's ten images in the order of the list."""


def has(i: int, a: int) -> bool:
    """Return whether image i has attribute a: 0 has none, 9 has all, the others every (i + 1)-th."""
    return i == 9 or (i > 0 and a % (i + 1) == 0)


def write_celeba(folder: Path) -> None:
    """Write ten images and the lists of CelebA as they are released."""
    (folder / "img_align_celeba").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(10):
        coarse = Image.fromarray(rng.integers(0, 256, (22, 18, 3), dtype=np.uint8))
        coarse.resize((178, 218)).save(folder / f"img_align_celeba/{i + 1:06}.jpg", quality=95)
    rows = [
        f"{i + 1:06}.jpg " + " ".join(f"{1 if has(i, a) else -1:2}" for a in range(40)) for i in range(10)
    ]
    head = ["10", " ".join(ATTRIBUTES) + " "]
    (folder / "list_attr_celeba.txt").write_text("\n".join([*head, *rows]) + "\n")
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{i + 1:06}.jpg {p}\n" for i, p in enumerate(PARTITIONS))
    )


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write a file such as MNIST's."""
    head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    path.write_bytes(head + array.tobytes())


def write_digits(folder: Path, name: str, n: int, first: int) -> None:
    """Write n digits `train` or `t10k` as MNIST's files, the labels 0 to 9 in turn.

    Row 0 of a digit shows a number, `first` and upwards, in binary, at grey levels 128 (off) and 129 (on).
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = np.zeros((n, 28, 28), np.uint8)
    images[:, 0, :16] = 128 + ((np.arange(first, first + n)[:, None] >> np.arange(16)) & 1)
    write_idx(folder / f"{name}-images-idx3-ubyte", images)
    write_idx(folder / f"{name}-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8))


def house_numbers(n: int, first: int) -> dict[str, Any]:
    """Return n images whose first pixels are a number, `first` and upwards; labels 10, 1, 2, ... in turn."""
    x = np.zeros((32, 32, 3, n), np.uint8)
    x[0, 0, 0], x[0, 0, 1] = (np.arange(first, first + n) // 256, np.arange(first, first + n) % 256)
    return {"X": x, "y": ((np.arange(n) + 9) % 10 + 1).astype(np.uint8)[:, None]}


def write_mnist_svhn(folder: Path, *, digits: int, houses: int, tests: int) -> None:
    """Write MNIST's and SVHN's files into one folder: images to train with, and as many of each to test."""
    write_digits(folder, "train", digits, 0)
    write_digits(folder, "t10k", tests, 1000)
    savemat(folder / "train_32x32.mat", house_numbers(houses, 0), do_compression=True)
    savemat(folder / "test_32x32.mat", house_numbers(tests, 1000), do_compression=True)


def noise(n: int, seed: int) -> Split:
    """Return n samples of noise in PolyMNIST's five modalities, sorted by digit."""
    rng = torch.Generator().manual_seed(seed)
    x = {f"m{m}": torch.randint(0, 256, (n, 3, 28, 28), generator=rng, dtype=torch.uint8) for m in range(5)}
    return Split(x, (torch.arange(n) % 10).sort().values)


def write_polymnist(folder: Path, train: Split, test: Split) -> None:
    """Write PolyMNIST's released folder of pictures."""
    write_pngs(folder / "train", train)
    write_pngs(folder / "test", test)
