"""Two folders of pictures, of which those with one name show the same digit, and a file of labels."""

from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image
from sklearn.datasets import load_digits

found = load_digits()
rng = np.random.default_rng(0)
names = [f"{i:04}.png" for i in range(len(found.images))]
# Each digit's partner is another hand's picture of the same digit.
partner = np.empty(len(names), int)
for digit in range(10):
    rows = np.flatnonzero(found.target == digit)
    partner[rows] = rng.permutation(rows)
for folder in ("pencil", "ink"):
    Path(folder).mkdir(exist_ok=True)
for i, name in enumerate(names):
    pencil, ink = (np.kron(found.images[j] / 16, np.ones((2, 2))) for j in (i, partner[i]))
    Image.fromarray((255 * (1 - pencil)).astype(np.uint8)).save(f"pencil/{name}")
    colour = rng.uniform(0, 0.8, 3)
    paper = 1 - ink[:, :, None] * (1 - colour)
    Image.fromarray((255 * paper).astype(np.uint8)).save(f"ink/{name}")
pl.DataFrame({"name": names, "label": found.target}).write_csv("labels.csv")
