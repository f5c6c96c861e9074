"""Images of generated samples in a grid."""

from pathlib import Path

import torch
from torch import Tensor

from mopoe.data.container import Split
from mopoe.evaluation.latents import source_latents
from mopoe.evaluation.pictures import as_images
from mopoe.model import MoPoE
from mopoe.vision import torchvision


def sample_grid(model: MoPoE, split: Split, source_mask: int, n: int, seed: int) -> Tensor:
    """Return a grid of images [3, H, W] in 0..1, one column per held-out sample, all tiles of one size.

    The upper half shows the real modalities, the lower half what the model generates for every modality from
    the source subset; with an empty source (0) the lower half is drawn from the prior.
    """
    n = min(n, len(split))
    model.eval()
    with torch.inference_mode():
        x = split.batch(slice(0, n), model.members_SM.device)
        means = model.means(*source_latents(model, split, source_mask, seed, "grid", 0, n))
        rows = [as_images(part[name]).cpu() for part in (x, means) for name in model.names]
    height, width = (max(row.shape[axis] for row in rows) for axis in (2, 3))
    tiles = [_padded(row, height, width) for row in rows]
    grid: Tensor = torchvision("utils").make_grid(torch.cat(tiles), nrow=n, padding=2, pad_value=1.0)
    return grid


def _padded(x_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Return coloured images with a white margin, equal on opposite sides but for a pixel."""
    down, right = height - x_BCHW.shape[2], width - x_BCHW.shape[3]
    margins = (right // 2, right - right // 2, down // 2, down - down // 2)
    return torch.nn.functional.pad(x_BCHW.expand(-1, 3, -1, -1), margins, value=1.0)


def save_grid(grid: Tensor, path: Path) -> None:
    """Write a grid as an image file; its format follows the name's ending."""
    torchvision("utils").save_image(grid, path)
