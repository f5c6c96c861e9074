"""Generation: latents of a posterior or a prior, a prior fitted to latents, pictures, and grids of them.

Axes: B batch, C component or number of covariates, M modality, N sample, S subset, W private latent, Z shared
latent.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mopoe.data.container import Split, chunks
from mopoe.data.formats import ALPHABET, decode
from mopoe.data.registry import COVARIATES, ModalitySpec
from mopoe.data.units import Units
from mopoe.errors import DataError
from mopoe.evaluation.classifiers import Classifiers
from mopoe.model import Encoded, Given, MoPoE
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
    z_SBZ = model.distribution.draw(*picked_posteriors(model, q, pick_SB), noise("", model.latent_dim))
    if not model.style_dim:
        return z_SBZ, None
    noise_SBMW = noise(" style", len(model.names), model.style_dim)
    return z_SBZ, model.distribution.standard(noise_SBMW.movedim(2, 0))


def picked_posteriors(model: MoPoE, q: Encoded, pick_SB: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean and precision [S, B, Z] of the posterior from which each subset's latent is drawn.

    Under a mixture of experts (method moe) the posterior given several modalities is the mixture of their
    posteriors (Shi et al. 2019), and one is picked for each sample; otherwise it is their product.

    Args:
        model: the model.
        q: the unimodal posteriors of complete samples.
        pick_SB: numbers in [0, 1) that pick the modality under a mixture of experts; otherwise None.
    """
    if pick_SB is None:
        return model.posteriors(q)
    edges_SM = model.expert_shares_SM.double().cumsum(1)
    at_SB = (pick_SB.double() * edges_SM[:, -1:]).contiguous()  # else torch copies it, with a warning
    chosen_SB = torch.searchsorted(edges_SM, at_SB, right=True)
    sample_B = torch.arange(pick_SB.shape[1], device=pick_SB.device)
    return q.mu_MBZ[chosen_SB, sample_B], q.precision_MBZ[chosen_SB, sample_B]


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


def source_latents(
    model: MoPoE, split: Split, source_mask: int, seed: int, purpose: str, start: int, stop: int
) -> Given:
    """Return latents [B, Z] of a subset's posterior, or of the prior for 0, with what is decoded with them.

    These are private latents and the samples' covariates, if there are any.
    """
    if not source_mask:
        c_NC = split.x.get(COVARIATES)
        c_BC = None if c_NC is None else c_NC[start:stop].to(model.device)
        return *prior_latents(model, seed, purpose, start, stop), c_BC
    with full_precision(model.members_SM):
        q = model.encode(split.batch(slice(start, stop), model.device))
    s_B = torch.full((stop - start,), model.masks.index(source_mask), device=model.device)
    return subset_latents(model, q, s_B, seed, purpose, start, stop)


def subset_latents(
    model: MoPoE, q: Encoded, s_B: Tensor, seed: int, purpose: str, start: int, stop: int
) -> Given:
    """Return latents [B, Z] of the posterior of one subset for each sample, as `source_latents` does.

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
    return z_SBZ[at], None if style_MSBW is None else style_MSBW[:, *at], q.covariates_BC


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
    model: MoPoE, split: Split, classifiers: Classifiers, n: int, seed: int, units: Mapping[str, Units]
) -> tuple[Picture, ...]:
    """Return n samples a modality: held-out inputs, what is generated from growing subsets, and prior draws.

    The sources are the first modality, the first two, and so on up to all, so that a column shows how each
    further observation helps. Images are kept as pixels, symbols as text and vectors as numbers.

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
        sources = (*growing, (0, "joint", "pictures from the prior"))
        made = [model.means(*source_latents(model, split, s, seed, why, 0, n)) for s, _, why in sources]
        kept = {name: _contents(units[name], x[name], made[0][name]) for name in model.names}
        strips = [
            Picture(kind="input", source_mask=0, target=name, labels=labels, **kept[name](x[name]))
            for name in model.names
        ]
        for (mask, kind, _), means in zip(sources, made, strict=True):
            for name in model.names:
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
