"""Strips of generated images with the classifiers' verdicts, to look at.

Axes: B batch, Z latent.
"""

import io
from collections.abc import Mapping

import torch
from PIL import Image
from torch import Tensor

from mopoe.data.container import Split
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.latents import conditional_latents, prior_latents
from mopoe.model import MoPoE
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
        labels = tuple(split.labels[:n].tolist()) if split.labels.dim() == 1 else ()
        strips = [
            Picture(kind="input", source_mask=0, target=name, png=strip(x[name]), labels=labels)
            for name in model.names
        ]
        judges = classifiers if labels else None
        # The same noise for every source, so that strips differ by what was observed alone.
        q = model.encode(x)
        z_SBZ, style_MRW = conditional_latents(model, q, seed, "pictures", 0, n, same_noise=True)
        for size in range(1, len(model.names) + 1):
            mask = (1 << size) - 1
            s = model.masks.index(mask)
            style_MBW = None if style_MRW is None else style_MRW[:, s * n : (s + 1) * n]
            strips += _decoded(model.means(z_SBZ[s], style_MBW), judges, "conditional", mask)
        drawn = model.means(*prior_latents(model, seed, "pictures from the prior", 0, n, device))
        strips += _decoded(drawn, judges, "joint", 0)
    return tuple(strips)


def _decoded(means: Mapping[str, Tensor], judges: Classifiers | None, kind: str, mask: int) -> list[Picture]:
    return [
        Picture(
            kind=kind,
            source_mask=mask,
            target=name,
            png=strip(mean),
            labels=tuple(judges.predict(name, mean).tolist()) if judges else (),
        )
        for name, mean in means.items()
    ]


def strip(x_BCHW: Tensor) -> bytes:
    """Return images in 0..1 (values outside are clipped) side by side as a PNG file."""
    row = torch.cat(list(x_BCHW.clamp(0, 1).mul(255).round().to(torch.uint8).cpu()), dim=2)
    image = Image.fromarray(row.permute(1, 2, 0).squeeze(2).numpy())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
