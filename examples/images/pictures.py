"""Reads folders of pictures as modalities: change this to the way that yours are kept."""

from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

import mopoe


@mopoe.plugin
def load(pencil: str = "pencil", ink: str = "ink", labels: str = "labels.csv") -> mopoe.MultimodalData:
    """Return the pictures that both folders have, [N, channels, height, width] as bytes, and their labels."""
    table = pl.read_csv(labels)
    arrays = {"labels": table["label"].to_numpy()}
    for modality, folder in (("pencil", pencil), ("ink", ink)):
        images = [np.asarray(Image.open(Path(folder, name))) for name in table["name"]]
        pixels = np.stack(images)
        arrays[modality] = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return mopoe.data_from_arrays(arrays)
