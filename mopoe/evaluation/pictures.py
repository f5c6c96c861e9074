"""Strips of generated samples with the classifiers' verdicts, to look at.

Axes: B batch, Z latent, C channels or characters, H height, W width.
"""

import io
from collections.abc import Mapping

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mopoe.data.container import Split
from mopoe.data.text import ALPHABET, decode
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.latents import conditional_latents, prior_latents
from mopoe.gaussian import full_precision
from mopoe.model import MoPoE
from mopoe.records import Picture


def draw_pictures(
    model: MoPoE, split: Split, classifiers: Classifiers, n: int, seed: int, device: torch.device
) -> tuple[Picture, ...]:
    """Return strips of n samples: held-out inputs, what growing subsets make of them, and prior draws.

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
        with full_precision(model.members_SM):
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


def strip(x: Tensor) -> bytes:
    """Return samples (`as_images`) side by side as a PNG file."""
    row = torch.cat(list(as_images(x).mul(255).round().to(torch.uint8).cpu()), dim=2)
    image = Image.fromarray(row.permute(1, 2, 0).squeeze(2).numpy())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def as_images(x: Tensor) -> Tensor:
    """Return samples of any modality as grey or coloured images in 0..1: [B, 1 or 3, H, W].

    Images of one or three colours stay as they are, clipped; texts, [B, L] or [B, 71, L], are written, 32
    characters a line; of anything else the numbers are shown, its last axis from left to right.
    """
    if x.dtype == torch.int8 or (x.dim() == 3 and x.shape[1] == len(ALPHABET)):
        return torch.stack([_written(text) for text in decode(x)])
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        x = x.reshape(len(x), 1, -1, x.shape[-1])
    return x.clamp(0, 1)


def _written(text: str) -> Tensor:
    """Return a text as a grey image [1, H, W], each character in a cell of its own, so that blanks show."""
    width, height, per_line = 8, 14, 32
    lines = [text[i : i + per_line] for i in range(0, len(text), per_line)]
    image = Image.new("L", (width * min(len(text), per_line), height * len(lines)), 255)
    draw = ImageDraw.Draw(image)
    for i, character in enumerate(text):
        row, column = divmod(i, per_line)
        if not character.isspace():
            draw.text((width * column + 1, height * row), character, fill=0)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, *image.size[::-1]) / 255
