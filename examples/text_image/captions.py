"""A picture of a digit and its name in letters."""

import numpy as np
from sklearn.datasets import load_digits

import mopoe

ALPHABET = " efghinorstuvwxz"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@mopoe.plugin
def load(places: int = 8, seed: int = 0) -> mopoe.MultimodalData:
    """Return images [N, 1, 16, 16] as bytes, and texts [N, places] as numbers of symbols."""
    found = load_digits()
    text = np.zeros((len(found.target), places), np.int8)  # symbol 0 is the space
    for row, digit in zip(text, found.target, strict=True):
        word = [ALPHABET.index(letter) for letter in NAMES[digit]]
        row[: len(word)] = word
    image = np.kron(found.images * 15.9375, np.ones((2, 2)))[:, None].astype(np.uint8)
    return mopoe.data_from_arrays({"image": image, "text": text, "labels": found.target}, seed=seed)
