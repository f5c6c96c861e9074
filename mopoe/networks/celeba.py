"""The encoders and decoders of the MoPoE paper's CelebA experiments (released code, Sutter et al. 2021).

They are residual networks of base width C = 128 for images of 64 x 64 pixels and texts of 256 characters,
with 70,203,210 parameters at latent_dim 32. Every block has batch norm and dropout, so evaluate them in eval
mode.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from mopoe.config import TrialConfig
from mopoe.data.formats import ALPHABET
from mopoe.data.registry import ModalitySpec
from mopoe.likelihoods import Categorical, Likelihood, image_likelihood
from mopoe.networks.base import INITIAL_INTENSITY, Encoder, Layer, Modality, OneHot, chain, check_shape
from mopoe.plugins import plugin

SKIP, BRANCH = 2.0, 0.3
"""Weights of a block's skip connection and of its branch."""


@plugin
def image(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return the parts of an image modality of 64 x 64 pixels; C is the last of `config.channels`.

    Raises:
        ConfigError: the modality has another shape.
    """
    fits = len(modality.shape) == 3 and modality.shape[1:] == (64, 64)
    check_shape(modality, fits, "the CelebA networks", "images of shape [channels, 64, 64]")
    n_colours, c = modality.shape[0], config.channels[-1]
    first = nn.Conv2d(n_colours, c, 3, stride=2, padding=2, bias=False)
    last = nn.ConvTranspose2d(c, n_colours, 3, stride=2, padding=1, output_padding=1)
    multiples = (1, 2, 3, 4, 5)  # sides 33, 16, 8, 4, 1 and back over 4, 8, 16, 32 to 64
    down, up = _blocks(_IMAGE, multiples, c)
    return _modality(config, [first, *down], [*up, last], width, INITIAL_INTENSITY, image_likelihood(config))


@plugin
def text(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return the parts of a text modality of 256 characters; C is the last of `config.channels`.

    Raises:
        ConfigError: the modality has another shape.
    """
    check_shape(modality, modality.shape == (256,), "the CelebA networks", "texts of shape [256]")
    n_symbols, c = len(ALPHABET), config.channels[-1]
    first = nn.Conv1d(n_symbols, c, 4, stride=2, padding=1)
    last = nn.ConvTranspose1d(c, n_symbols, 4, stride=2, padding=1)
    multiples = (1, 2, 3, 4, 5, 5, 5)  # lengths 128, 64, 32, 16, 8, 4, 1 and back
    down, up = _blocks(_TEXT, multiples, c)
    return _modality(config, [OneHot(n_symbols), first, *down], [*up, last], width, 0.0, Categorical())


# Convolution down and up, norm, dropout, and whether the convolutions of the branch have a bias.
_Kind = tuple[type[Layer], type[Layer], type[nn.Module], type[nn.Module], bool]
_IMAGE: _Kind = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.Dropout2d, False)
_TEXT: _Kind = (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.Dropout, True)


class Residual(nn.Module):
    """A block with a normalised skip and a branch of two convolutions, each after batch norm and ReLU."""

    def __init__(self, kind: _Kind, a: int, b: int, *, up: bool, stride: int = 2, padding: int = 1) -> None:
        super().__init__()
        down_layer, up_layer, norm, dropout, bias = kind
        layer: Any = up_layer if up else down_layer
        place = {"stride": stride, "padding": padding}
        mix, resize = layer(a, a, 1, bias=bias), layer(a, b, 4, **place, bias=bias)
        before, after = (norm(a), nn.ReLU(), mix, dropout(0.5)), (norm(a), nn.ReLU(), resize, dropout(0.5))
        self.branch = nn.Sequential(*before, *after)
        self.skip = nn.Sequential(layer(a, b, 4, **place), norm(b))

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum of the skip connection and the branch."""
        return SKIP * self.skip(x) + BRANCH * self.branch(x)  # type: ignore[no-any-return] # a Module's call is untyped


def _blocks(kind: _Kind, multiples: tuple[int, ...], c: int) -> tuple[list[Residual], list[Residual]]:
    """Return the blocks of an encoder, the last of which has spatial size 1, and of the mirrored decoder."""
    n = len(multiples) - 1
    down = [
        Residual(kind, a * c, b * c, up=False, padding=1 if i < n else 0)
        for i, (a, b) in enumerate(pairwise(multiples), 1)
    ]
    up = [
        Residual(kind, a * c, b * c, up=True, stride=2 if i else 1, padding=1 if i else 0)
        for i, (a, b) in enumerate(pairwise(reversed(multiples)))
    ]
    return down, up


def _modality(
    config: TrialConfig,
    down: Sequence[nn.Module],
    up: Sequence[nn.Module],
    width: int,
    start: float,
    likelihood: Likelihood,
) -> Modality:
    features, output = 5 * config.channels[-1], up[-1]
    assert isinstance(output, Layer)
    encoder = Encoder([*down, nn.Flatten()], features, width)
    one_place = nn.Unflatten(1, (features, *(1,) * (output.weight.dim() - 2)))
    return chain(config, encoder, [nn.Linear(width, features), one_place, *up], likelihood, start)
