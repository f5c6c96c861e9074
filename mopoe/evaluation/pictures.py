"""Strips of generated images with the classifiers' verdicts, to look at.

Axes: B batch, Z latent.
"""

import io

import torch
from PIL import Image
from torch import Tensor

from mopoe.data.container import Split
from mopoe.evaluation.classifiers import Classifiers
from mopoe.model import MoPoE
from mopoe.noise import generator
from mopoe.records import Picture


def draw_pictures(
    model: MoPoE, split: Split, classifiers: Classifiers, n: int, seed: int, device: torch.device
) -> tuple[Picture, ...]:
    """Return strips of n images: held-out inputs, what growing subsets make of them, and prior draws.

    The sources are the first modality, the first two, and so on up to all: how each further observation
    helps is then visible down one column.
    """
    n = min(n, len(split))
    model.eval()
    with torch.inference_mode():
        x = split.batch(slice(0, n), device)
        labels = tuple(split.labels[:n].tolist())
        strips = [
            Picture(kind="input", source_mask=0, target=name, png=strip(x[name]), labels=labels)
            for name in model.names
        ]
        mu_SBZ, precision_SBZ = model.posteriors(*model.encode(x))
        for size in range(1, len(model.names) + 1):
            mask = (1 << size) - 1
            s = model.masks.index(mask)
            # The same noise for every source, so that strips differ by what was observed alone.
            noise_BZ = torch.randn(
                mu_SBZ[s].shape, generator=generator(seed, "pictures", device=device), device=device
            )
            z_BZ = mu_SBZ[s] + noise_BZ * precision_SBZ[s].rsqrt()
            strips += _decoded(model, z_BZ, classifiers, "conditional", mask)
        rng = generator(seed, "pictures from the prior", device=device)
        z_BZ = torch.randn(n, model.latent_dim, generator=rng, device=device)
        strips += _decoded(model, z_BZ, classifiers, "joint", 0)
    return tuple(strips)


def _decoded(model: MoPoE, z_BZ: Tensor, classifiers: Classifiers, kind: str, mask: int) -> list[Picture]:
    return [
        Picture(
            kind=kind,
            source_mask=mask,
            target=name,
            png=strip(mean),
            labels=tuple(classifiers.predict(name, mean).tolist()),
        )
        for name, mean in model.means(z_BZ).items()
    ]


def strip(x_BCHW: Tensor) -> bytes:
    """Return images in 0..1 (values outside are clipped) side by side as a PNG file."""
    row = torch.cat(list(x_BCHW.clamp(0, 1).mul(255).round().to(torch.uint8).cpu()), dim=2)
    image = Image.fromarray(row.permute(1, 2, 0).squeeze(2).numpy())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
