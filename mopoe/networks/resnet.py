"""Residual networks for images, which translated PolyMNIST needs (those of MMVAE+, Palumbo et al. 2023).

The blocks are those of Mescheder et al. 2018, without batch norm, so that a sample does not depend on its
batch. `config.channels` are the channels at full, half and quarter resolution: [64, 128, 256] in MMVAE+.
"""

import math

from torch import Tensor, nn

from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.likelihoods import image_likelihood
from mopoe.networks.base import INITIAL_INTENSITY, Encoder, Modality, chain, check_shape
from mopoe.plugins import plugin


@plugin
def image(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return the parts of an image modality whose sides are multiples of 4.

    Raises:
        ConfigError: the modality has another shape.
    """
    fits = len(modality.shape) == 3 and modality.shape[1] % 4 == modality.shape[2] % 4 == 0
    shapes = "images [channels, height, width] whose sides are multiples of 4"
    check_shape(modality, fits, "residual networks", shapes)
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
    """Two convolutions f and a shortcut s: s(x) + 0.1 f(x)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        n_hidden = min(n_in, n_out)
        self.shortcut = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1, bias=False)
        self.residual = nn.Sequential(
            *(nn.LeakyReLU(0.2), nn.Conv2d(n_in, n_hidden, 3, padding=1)),
            *(nn.LeakyReLU(0.2), nn.Conv2d(n_hidden, n_out, 3, padding=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output [B, n_out, H, W] at the same resolution."""
        return self.shortcut(x) + 0.1 * self.residual(x)  # type: ignore[no-any-return] # a Module's call is untyped
