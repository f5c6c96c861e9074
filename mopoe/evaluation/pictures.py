"""What is kept of samples, by kind of modality: images as pixels, symbols as text, vectors as numbers; grids.

Axes: B sample, C channel, F feature, H height, W width.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mopoe.data.container import Split
from mopoe.data.formats import ALPHABET, decode
from mopoe.data.registry import ModalitySpec
from mopoe.data.units import Units
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.generation import source_latents
from mopoe.model import MoPoE
from mopoe.reports import Picture
from mopoe.runtime import torchvision


def sample_grid(model: MoPoE, split: Split, source_mask: int, n: int, seed: int) -> Tensor:
    """Return a grid of images [3, H, W] in 0..1 with one column per held-out sample and tiles of equal size.

    The upper half shows the real modalities, the lower half every modality as generated from the source
    subset, or from the prior if the source is 0.
    """
    n = min(n, len(split))
    model.eval()
    with torch.inference_mode():
        x = split.batch(slice(0, n), model.device)
        means = model.means(*source_latents(model, split, source_mask, seed, "grid", 0, n))
        rows = [as_images(part[name]).cpu() for part in (x, means) for name in model.names]
    height, width = (max(row.shape[axis] for row in rows) for axis in (2, 3))
    tiles = [_padded(row, height, width) for row in rows]
    grid: Tensor = torchvision("utils").make_grid(torch.cat(tiles), nrow=n, padding=2, pad_value=1.0)
    return grid


def _padded(x_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Return RGB images, centred in a white margin that extends them to the given size."""
    down, right = height - x_BCHW.shape[2], width - x_BCHW.shape[3]
    margins = (right // 2, right - right // 2, down // 2, down - down // 2)
    return torch.nn.functional.pad(x_BCHW.expand(-1, 3, -1, -1), margins, value=1.0)


def save_grid(grid: Tensor, path: Path) -> None:
    """Write a grid as an image file in the format of the name's suffix."""
    torchvision("utils").save_image(grid, path)


def draw_pictures(
    model: MoPoE, split: Split, classifiers: Classifiers, n: int, seed: int, units: Mapping[str, Units]
) -> tuple[Picture, ...]:
    """Return n samples a modality: held-out inputs, what is generated from growing subsets, and prior draws.

    The sources are the first modality, the first two, and so on up to all, so that a column shows how each
    further observation helps; and for each modality all others. Images are kept as pixels, symbols as text
    and vectors as numbers.

    Args:
        model: the model.
        split: the held-out samples, of which the first are drawn.
        classifiers: what they predict is kept beside each generated sample.
        n: the number of samples.
        seed: determines the noise.
        units: each modality as its user has it.
    """
    n = min(n, len(split))
    model.eval()
    with torch.inference_mode():
        x = split.batch(slice(0, n), model.device)
        labels = tuple(split.labels[:n].tolist()) if split.labels.dim() == 1 else ()
        # One purpose, and so the same noise, for every subset: strips differ only by what is observed.
        growing = [((1 << size) - 1, "conditional", "pictures") for size in range(1, len(model.names) + 1)]
        full, shown = model.masks[-1], {mask for mask, _, _ in growing}
        others = {name: full & ~(1 << m) for m, name in enumerate(model.names)}
        single = [(mask, "conditional", "pictures") for mask in others.values() if mask and mask not in shown]
        sources = (*growing, *single, (0, "joint", "pictures from the prior"))
        made = [model.means(*source_latents(model, split, s, seed, why, 0, n)) for s, _, why in sources]
        kept = {name: _contents(units[name], x[name], made[0][name]) for name in model.names}
        strips = [
            Picture(kind="input", source_mask=0, target=name, labels=labels, **kept[name](x[name]))
            for name in model.names
        ]
        for (mask, kind, _), means in zip(sources, made, strict=True):
            for name in model.names:
                if mask and mask not in shown and others[name] != mask:
                    continue
                found = tuple(classifiers.predict(name, means[name]).tolist()) if labels else ()
                content = kept[name](means[name])
                strips.append(Picture(kind=kind, source_mask=mask, target=name, labels=found, **content))
    return tuple(strips)


_Contents = Callable[[Tensor], dict[str, Any]]


def _contents(units: Units, x: Tensor, mean: Tensor) -> _Contents:
    """Return a function that makes samples, or their means, those fields of a Picture that suit a modality.

    Args:
        units: the modality.
        x: its held-out samples that are shown.
        mean: means of generated ones.
    """
    named = units.spec.features
    if x.dtype == torch.int8 and not named:
        write = decode if mean.shape[1] == len(ALPHABET) else _numbers
        return lambda x: {"texts": tuple(write(x))}
    if x.dim() > 2:
        return lambda x: {"png": strip(x)}
    chosen = _chosen(x.float().cpu(), units.spec)
    names = tuple(named[i] if named else str(i + 1) for i in chosen)

    def values(x: Tensor) -> dict[str, Any]:
        own = x.argmax(1) if x.dim() > 2 else units.to_user(x)
        return {"values": tuple(own[:, chosen].flatten().tolist()), "features": names}

    return values


def _numbers(x: Tensor) -> list[str]:
    """Return the numbers of symbols, or of the most probable ones, as texts of equal length."""
    symbols = (x.argmax(1) if x.is_floating_point() else x).flatten(1)
    return [" ".join(f"{symbol:3}" for symbol in row) for row in symbols.tolist()]


MOST_FEATURES, MOST_PLACES = 24, 128
"""Most elements of a vector that are kept, chosen for how they vary; most places of a curve."""


def _chosen(x_BF: Tensor, spec: ModalitySpec) -> list[int]:
    """Return the elements of a vector that are kept: those that vary most, or every nth place of a curve.

    A vector of many real numbers without names, such as a spectrum, is a curve.
    """
    n = x_BF.shape[1]
    if n > MOST_FEATURES and not spec.features and spec.likelihood in (None, "normal"):
        return list(range(0, n, -(-n // MOST_PLACES)))
    varying = x_BF.var(0, correction=0).argsort(descending=True, stable=True)
    return sorted(varying[:MOST_FEATURES].tolist())


def strip(x: Tensor) -> bytes:
    """Return samples (`as_images`) side by side as a PNG file."""
    row = torch.cat(list(as_images(x).mul(255).round().to(torch.uint8).cpu()), dim=2)
    image = Image.fromarray(row.permute(1, 2, 0).squeeze(2).numpy())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def as_images(x: Tensor) -> Tensor:
    """Return samples of any modality as grey or RGB images in 0..1: [B, 1 or 3, H, W].

    Images with one or three channels are clipped; texts, [B, L] or [B, 71, L], are written with 32 characters
    a line; of anything else the values are shown as grey levels, the last axis from left to right.
    """
    if x.dtype == torch.int8 or (x.dim() == 3 and x.shape[1] == len(ALPHABET)):
        return torch.stack([_written(text) for text in decode(x)])
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        x = x.reshape(len(x), 1, -1, x.shape[-1])
    return x.clamp(0, 1)


def _written(text: str) -> Tensor:
    """Return a text as a grey image [1, H, W] in a fixed-width grid, so that blanks are visible."""
    width, height, per_line = 8, 14, 32
    lines = [text[i : i + per_line] for i in range(0, len(text), per_line)]
    image = Image.new("L", (width * min(len(text), per_line), height * len(lines)), 255)
    draw = ImageDraw.Draw(image)
    for i, character in enumerate(text):
        row, column = divmod(i, per_line)
        if not character.isspace():
            draw.text((width * column + 1, height * row), character, fill=0)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, *image.size[::-1]) / 255
