"""Networks for a modality that names none: linear layers, and convolutions over axes that have neighbours.

Images of 28 x 28 pixels have those of PolyMNIST. Others, and sequences of symbols, have convolutions of
stride 2 until no side is above `SMALLEST`. What is neither is a vector. Axes: B batch, F feature.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from mopoe.config import Channels, TrialConfig
from mopoe.data.covariates import width as covariates_width
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.likelihoods import Categorical, Counts, Likelihood, feature_likelihood, image_likelihood
from mopoe.networks.base import (
    INITIAL_INTENSITY,
    Dropout,
    Encoder,
    Modality,
    Normalisation,
    OneHot,
    activated,
    chain,
    check_shape,
)
from mopoe.networks.polymnist import image
from mopoe.plugins import plugin

SMALLEST = 4
"""The largest side after the convolutions."""
_LAYERS: Any = {1: (nn.Conv1d, nn.ConvTranspose1d), 2: (nn.Conv2d, nn.ConvTranspose2d)}
"""A convolution and a transposed one by the number of axes that have neighbours."""


@plugin
def network(
    config: TrialConfig,
    modality: ModalitySpec,
    width: int,
    *,
    dropout: Dropout = 0.0,
    normalisation: Normalisation = "none",
    hidden_widths: Annotated[tuple[Channels, ...], Field(min_length=1)] | None = None,
) -> Modality:
    """Return the parts of a modality of any shape, with `config.hidden_widths` and `config.channels`.

    Args:
        config: the trial's settings.
        modality: the modality.
        width: number of latents.
        dropout: of the hidden linear layers.
        normalisation: of the hidden linear layers.
        hidden_widths: units of these layers; None for those of the config.

    Raises:
        ConfigError: symbols have other axes than one of places, or images of 28 x 28 pixels, whose hidden
            layer is as wide as the latent space, are given widths, or what is conditioned on covariates is no
            vector of numbers.
    """
    if hidden_widths:
        config = replace(config, hidden_widths=hidden_widths)
    shape, likelihood = modality.shape, _likelihood(config, modality)
    dense = partial(_dense, dropout=dropout, normalisation=normalisation)
    if modality.covariates and (len(shape) != 1 or isinstance(likelihood, Categorical)):
        why = "is no vector of numbers, so its default networks cannot be conditioned on covariates"
        raise ConfigError(f"modality {modality.name!r} {why}")
    if isinstance(likelihood, Categorical):
        one_hot = (modality.symbols, *shape) if modality.symbols else shape
        shapes = "symbols [places] or their one-hot encoding [symbols, places]"
        check_shape(modality, len(one_hot) == 2, "the default networks of symbols", shapes)
        encoder, decoder = _layers(config, one_hot, width, dense, [OneHot(one_hot[0])])
        return chain(config, encoder, decoder, likelihood, start=0.0)
    if len(shape) == 3 and shape[1:] == (28, 28):
        if hidden_widths:
            whose = f"modality {modality.name!r} has images of 28 x 28 pixels, whose networks"
            raise ConfigError(f"{whose} have no hidden_widths; use channels and latent_dim")
        parts = image(config, modality, width, dropout=dropout, normalisation=normalisation)
        return Modality(parts.encoder, parts.decoder, likelihood)
    if len(shape) == 3:
        return chain(config, *_layers(config, shape, width, dense), likelihood, INITIAL_INTENSITY)
    first: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
    if isinstance(likelihood, Counts):
        first.insert(0, LogRatio(likelihood.rate, likelihood.total))
    more = covariates_width(modality.covariates)
    encoder, decoder = _layers(config, (math.prod(shape),), width, dense, first, more)
    if len(shape) > 1:
        decoder.append(nn.Unflatten(1, shape))
    return chain(config, encoder, decoder, likelihood, start=0.0)


def _likelihood(config: TrialConfig, modality: ModalitySpec) -> Likelihood:
    if len(modality.shape) == 3 and not (modality.likelihood or modality.symbols):
        return image_likelihood(config)
    kind = modality.likelihood or ("categorical" if modality.symbols else "normal")
    size = math.prod(modality.shape)
    rate = torch.tensor(modality.scale or [1.0] * size).reshape(modality.shape)
    return feature_likelihood(kind, rate, modality.median_total)


class LogRatio(nn.Module):
    """Maps counts to log(1 + counts / rate), about which small networks learn faster.

    With a total the counts of each sample are first scaled to have it. Covariates that follow the counts of a
    vector stay as they are.
    """

    rate: Tensor

    def __init__(self, rate: Tensor, total: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("rate", rate, persistent=False)
        self.total = total

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers, shaped like x."""
        if x.shape[1:] == self.rate.shape:
            return self._ratio(x)
        counts, covariates = x.tensor_split([len(self.rate)], 1)
        return torch.cat([self._ratio(counts), covariates], 1)

    def _ratio(self, x: Tensor) -> Tensor:
        if self.total:  # which is at least 1, as are the totals of all counts that are not zeros alone
            factor_B = self.total / x.flatten(1).sum(1).clamp(min=1)
            x = x * factor_B.view(-1, *(1,) * (x.dim() - 1))
        return torch.log1p(x / self.rate)


def _layers(
    config: TrialConfig,
    shape: Sequence[int],
    width: int,
    dense: Callable[..., list[nn.Module]],
    first: Sequence[nn.Module] = (),
    covariates: int = 0,
) -> tuple[Encoder, list[nn.Module]]:
    """Return an encoder that begins with some layers, and a decoder's layers, for samples [channels, ...].

    Both read so many numbers of covariates more, if samples are vectors.
    """
    n, *sides = shape
    down, up = [*first], list[nn.Module]()
    for channels in itertools.chain(config.channels, itertools.repeat(config.channels[-1])):
        if max(sides, default=0) <= SMALLEST:
            break
        convolution, transposed = _LAYERS[len(sides)]
        odd = tuple(1 - side % 2 for side in sides)
        down += [convolution(n, channels, 3, 2, 1), nn.ReLU()]
        up = [nn.ReLU(), transposed(channels, n, 3, 2, 1, odd), *up]
        n, sides = channels, [-(-side // 2) for side in sides]
    size, hidden = n * math.prod(sides), config.hidden_widths
    flat = [nn.Flatten()] if sides else []
    encoder = Encoder([*down, *flat, *dense(size + covariates, *hidden)], hidden[-1], width)
    back = [nn.Unflatten(1, (n, *sides))] if sides else []
    return encoder, [*dense(width + covariates, *hidden[::-1]), nn.Linear(hidden[0], size), *back, *up]


def _dense(*widths: int, dropout: float, normalisation: Normalisation) -> list[nn.Module]:
    layers = ((nn.Linear(a, b), *activated(b, dropout, normalisation)) for a, b in itertools.pairwise(widths))
    return [*itertools.chain(*layers)]
