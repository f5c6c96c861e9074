"""Residual networks for images, as translated PolyMNIST needs (those of MMVAE+, Palumbo et al. 2023).

Blocks of Mescheder et al. 2018, without batch norm, so that a sample's numbers do not depend on its batch.
`config.channels` are the channels at full, half and quarter size: MMVAE+ has [64, 128, 256].
"""

import math

from torch import Tensor, nn

from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.likelihoods import image_likelihood
from mopoe.networks.base import Encoder, Modality, chain
from mopoe.networks.polymnist import INITIAL_INTENSITY
from mopoe.plugins import plugin


@plugin
def image(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return the parts of an image modality whose sides are multiples of 4: a block at each size.

    Raises:
        ConfigError: the modality has another shape.
    """
    if len(modality.shape) != 3 or modality.shape[1] % 4 or modality.shape[2] % 4:
        raise ConfigError(
            f"modality {modality.name!r} has shape {list(modality.shape)}, but residual networks read images "
            "[channels, height, width] whose sides are multiples of 4; name others in its ModalitySpec"
        )
    (first, second, third), (n_colours, height, breadth) = config.channels, modality.shape
    small = (third, height // 4, breadth // 4)
    halve, double, active = nn.AvgPool2d(3, 2, 1), nn.Upsample(scale_factor=2), nn.LeakyReLU(0.2)
    trunk = [
        *(nn.Conv2d(n_colours, first, 3, padding=1), Block(first, first)),
        *(halve, Block(first, second), halve, Block(second, third), active, nn.Flatten()),
    ]
    decoder = [
        *(nn.Linear(width, math.prod(small)), nn.Unflatten(1, small)),
        *(Block(third, second), double, Block(second, first), double, Block(first, first), active),
        nn.Conv2d(first, n_colours, 3, padding=1),
    ]
    encoder = Encoder(trunk, math.prod(small), width)
    return chain(config, encoder, decoder, image_likelihood(config), INITIAL_INTENSITY)


class Block(nn.Module):
    """Two convolutions beside a shortcut: s(x) + 0.1 f(x)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        between = min(n_in, n_out)
        self.shortcut = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1, bias=False)
        self.found = nn.Sequential(
            *(nn.LeakyReLU(0.2), nn.Conv2d(n_in, between, 3, padding=1)),
            *(nn.LeakyReLU(0.2), nn.Conv2d(between, n_out, 3, padding=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return as many channels as the block was made for, at the same size."""
        return self.shortcut(x) + 0.1 * self.found(x)  # type: ignore[no-any-return] # a Module's call is untyped
