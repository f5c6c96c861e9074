"""Generation: latents of a posterior or a prior, a prior fitted to latents, pictures, and grids of them.

Axes: B batch, C component, M modality, N sample, S subset, W private latent, Z shared latent.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mopoe.data.container import Split, chunks
from mopoe.data.formats import ALPHABET, decode
from mopoe.errors import DataError
from mopoe.evaluation.classifiers import Classifiers
from mopoe.likelihoods import Likelihood
from mopoe.model import Encoded, MoPoE
from mopoe.random_streams import generator, sample_noise
from mopoe.reports import Picture
from mopoe.runtime import full_precision, torchvision

ROWS = 64
"""Samples encoded at a time."""


def conditional_latents(
    model: MoPoE, q: Encoded, seed: int, purpose: str, start: int, stop: int, *, same_noise: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return latents [S, B, Z] drawn from every subset's posterior, and private latents [M, S, B, W], if any.

    Args:
        model: the model.
        q: the unimodal posteriors of the samples from `start` to `stop`.
        seed: determines the noise, together with the purpose.
        purpose: the name of the random stream.
        start: position of the first sample.
        stop: position after the last sample.
        same_noise: whether all subsets share a sample's noise and so differ only by what they observe.
    """
    device, n_subsets = q.mu_MBZ.device, len(model.masks)
    n_draws = 1 if same_noise else n_subsets

    def noise(what: str, *shape: int) -> Tensor:
        drawn = sample_noise(seed, purpose + what, start, stop, (n_draws, *shape), device)
        return drawn.transpose(0, 1).expand(n_subsets, *(-1,) * (len(shape) + 1))

    # In float64: in float32 the probability of a number above 5.4 is 1, which picks no modality.
    pick_SB = torch.special.ndtr(noise(" pick").double()) if model.method.mixture_of_experts else None
    z_SBZ = model.distribution.draw(*model.conditionals(q, pick_SB), noise("", model.latent_dim))
    if not model.style_dim:
        return z_SBZ, None
    noise_SBMW = noise(" style", len(model.names), model.style_dim)
    return z_SBZ, model.distribution.standard(noise_SBMW.movedim(2, 0))


def prior_latents(
    model: MoPoE, seed: int, purpose: str, start: int, stop: int
) -> tuple[Tensor, Tensor | None]:
    """Return latents [B, Z] drawn from the prior, and private latents [M, B, W], if any."""
    device = model.device
    z_BZ = model.distribution.standard(sample_noise(seed, purpose, start, stop, (model.latent_dim,), device))
    if not model.style_dim:
        return z_BZ, None
    shape = (len(model.names), model.style_dim)
    noise_BMW = sample_noise(seed, purpose + " style", start, stop, shape, device)
    return z_BZ, model.distribution.standard(noise_BMW.movedim(1, 0))


def generated_logits(
    model: MoPoE, classifiers: Classifiers
) -> Callable[[str, Tensor, Tensor | None], Tensor]:
    """Return a function of what `MoPoE.mean` takes that returns the classifier's logits of this mean.

    If decoders and classifiers are computed together and the mean is the decoder's output, they are joined,
    and the images between them are not kept.
    """
    joined = {
        name: decoders.then(networks)
        for decoders in model.banks[1]
        for networks in classifiers.banks
        for name in decoders.names
        if networks.names == decoders.names and type(model.likelihood(name)).mean is Likelihood.mean
    }

    def logits_of(name: str, z_RZ: Tensor, style_MRW: Tensor | None) -> Tensor:
        bank = joined.get(name)
        at = bank.find([name]) if bank else None
        if bank is None or at is None or not bank.ready(z_RZ) or classifiers.networks[name].training:
            return classifiers.logits(name, model.mean(name, z_RZ, style_MRW))
        return bank(model.latents(name, z_RZ, style_MRW).t()[None], at)[0].t()

    return logits_of


def source_latents(
    model: MoPoE, split: Split, source_mask: int, seed: int, purpose: str, start: int, stop: int
) -> tuple[Tensor, Tensor | None]:
    """Return latents [B, Z] of a subset's posterior, or of the prior for 0, and private latents, if any."""
    if not source_mask:
        return prior_latents(model, seed, purpose, start, stop)
    with full_precision(model.members_SM):
        q = model.encode(split.batch(slice(start, stop), model.device))
    s_B = torch.full((stop - start,), model.masks.index(source_mask), device=model.device)
    return subset_latents(model, q, s_B, seed, purpose, start, stop)


def subset_latents(
    model: MoPoE, q: Encoded, s_B: Tensor, seed: int, purpose: str, start: int, stop: int
) -> tuple[Tensor, Tensor | None]:
    """Return latents [B, Z] of the posterior of one subset for each sample, and private latents, if any.

    Args:
        model: the model.
        q: the unimodal posteriors of the samples from `start` to `stop`.
        s_B: positions in `model.masks` of their subsets.
        seed: determines the noise, together with the purpose.
        purpose: the name of the random stream.
        start: position of the first sample.
        stop: position after the last sample.
    """
    z_SBZ, style_MSBW = conditional_latents(model, q, seed, purpose, start, stop, same_noise=True)
    at = s_B, torch.arange(stop - start, device=s_B.device)
    return z_SBZ[at], None if style_MSBW is None else style_MSBW[:, *at]


@dataclass(frozen=True, slots=True)
class FittedPrior:
    """A mixture of Gaussians with full covariances."""

    weights_C: Tensor
    """Mixture weights, which sum to one."""
    mean_CZ: Tensor
    """Means."""
    cholesky_CZZ: Tensor
    """Lower Cholesky factors of the covariances."""

    def sample(self, n: int, seed: int, *, start: int = 0) -> Tensor:
        """Return n latents [n, Z] from position `start`, each a function of the seed and its position."""
        stop, device = start + n, self.mean_CZ.device
        pick_N = torch.special.ndtr(sample_noise(seed, "fitted prior pick", start, stop, (), device).double())
        noise_NZ = sample_noise(seed, "fitted prior", start, stop, self.mean_CZ.shape[1:], device)
        edges_C = self.weights_C.double().cumsum(0)
        component_N = torch.searchsorted(edges_C[:-1] / edges_C[-1], pick_N, right=True)
        # One component at a time: a factor for every latent would take [N, Z, Z].
        z_NZ = self.mean_CZ[component_N]
        for c, root_ZZ in enumerate(self.cholesky_CZZ):
            of_c_N = component_N == c
            z_NZ[of_c_N] += noise_NZ[of_c_N] @ root_ZZ.t()
        return z_NZ


def fit_prior(model: MoPoE, split: Split, n: int, components: int = 10, seed: int = 0) -> FittedPrior:
    """Return a Gaussian mixture fitted to latents of the full set's posterior, one for each of n samples.

    Private latents keep their prior.

    Args:
        model: the model, in eval mode.
        split: the training split; samples with a missing modality are skipped.
        n: number of samples, drawn without replacement; it should be many times Z and the components.
        components: number of Gaussians.
        seed: determines the samples, the latents and the fit.

    Raises:
        DataError: there are fewer samples than components.
    """
    from sklearn.mixture import GaussianMixture

    split = split.complete()
    split = split.take(torch.randperm(len(split), generator=generator(seed, "fit prior order"))[:n])
    if len(split) < max(components, 2):
        raise DataError(f"{len(split)} samples are too few to fit a mixture of {components} Gaussians")
    with torch.inference_mode():
        z = [
            source_latents(model, split, model.masks[-1], seed, "fit prior", start, stop)[0]
            for start, stop in chunks(len(split), ROWS)
        ]
    fitted = GaussianMixture(components, random_state=seed).fit(torch.cat(z).cpu().double().numpy())
    arrays = (fitted.weights_, fitted.means_, np.linalg.cholesky(fitted.covariances_))
    return FittedPrior(*(torch.from_numpy(array).to(model.device, torch.float32) for array in arrays))


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
    model: MoPoE, split: Split, classifiers: Classifiers, n: int, seed: int
) -> tuple[Picture, ...]:
    """Return strips of n samples: held-out inputs, what is generated from growing subsets, and prior draws.

    The sources are the first modality, the first two, and so on up to all, so that a column shows how each
    further observation helps. Modalities that are no pictures are left out: vectors, and symbols that are no
    letters.

    Raises:
        DataError: there is no other modality.
    """
    n = min(n, len(split))
    model.eval()
    with torch.inference_mode():
        x = split.batch(slice(0, n), model.device)
        labels = tuple(split.labels[:n].tolist()) if split.labels.dim() == 1 else ()
        # One purpose, and so the same noise, for every subset: strips differ only by what is observed.
        growing = [((1 << size) - 1, "conditional", "pictures") for size in range(1, len(model.names) + 1)]
        sources = (*growing, (0, "joint", "pictures from the prior"))
        made = [model.means(*source_latents(model, split, s, seed, why, 0, n)) for s, _, why in sources]
        names = [name for name in model.names if _is_picture(x[name], made[0][name])]
        if not names:
            raise DataError("no modality is an image or a text")
        strips = [
            Picture(kind="input", source_mask=0, target=name, png=strip(x[name]), labels=labels)
            for name in names
        ]
        for (mask, kind, _), means in zip(sources, made, strict=True):
            for name in names:
                found = tuple(classifiers.predict(name, means[name]).tolist()) if labels else ()
                picture = strip(means[name])
                strips.append(Picture(kind=kind, source_mask=mask, target=name, png=picture, labels=found))
    return tuple(strips)


def _is_picture(x: Tensor, mean: Tensor) -> bool:
    """Return whether samples, and the means of generated ones, can be drawn as pictures."""
    return x.dim() > 2 or (x.dtype == torch.int8 and mean.shape[1] == len(ALPHABET))


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
