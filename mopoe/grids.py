"""Images of generated samples in a grid."""

from pathlib import Path

import torch
from torch import Tensor

from mopoe.data.container import Split
from mopoe.model import MoPoE
from mopoe.noise import generator
from mopoe.vision import torchvision


def sample_grid(model: MoPoE, split: Split, source_mask: int, n: int, seed: int) -> Tensor:
    """Return a grid of images [3, H, W] in 0..1, one column per held-out sample.

    The upper half shows the real modalities, the lower half what the model generates for every modality from
    the source subset; with an empty source (0) the lower half is drawn from the prior.
    """
    n = min(n, len(split))
    model.eval()
    with torch.inference_mode():
        x = split.batch(slice(0, n), torch.device("cpu"))
        noise_BZ = torch.randn(n, model.latent_dim, generator=generator(seed, "grid"))
        if source_mask:
            mu_SBZ, precision_SBZ = model.posteriors(*model.encode(x))
            s = model.masks.index(source_mask)
            z_BZ = mu_SBZ[s] + noise_BZ * precision_SBZ[s].rsqrt()
        else:
            z_BZ = noise_BZ
        rows = [x[name] for name in model.names] + [
            model.means(z_BZ)[name].clamp(0, 1) for name in model.names
        ]
    grid: Tensor = torchvision("utils").make_grid(torch.cat(rows), nrow=n, padding=2, pad_value=1.0)
    return grid


def save_grid(grid: Tensor, path: Path) -> None:
    """Write a grid as an image file; its format follows the name's ending."""
    torchvision("utils").save_image(grid, path)
