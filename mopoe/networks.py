"""The encoder and decoder of the MoPoE paper's PolyMNIST experiments (released code, Sutter et al. 2021).

Layer for layer those of the paper, with 14,056,975 parameters in five modalities at latent_dim 512. Axes:
B batch, Z latent, C channels.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.config import Initialisation

SIDE = 4
"""Images of 28 x 28 pixels shrink to 14, 7 and 4."""

INITIAL_INTENSITY = 0.4
"""Where the "he" initialisation starts every pixel: about the mean of a photograph."""


class ImageEncoder(nn.Module):
    """Three convolutions of stride 2, one hidden layer as wide as the latent space, two linear heads."""

    def __init__(
        self, latent_dim: int, channels: tuple[int, int, int] = (32, 64, 128), n_colours: int = 3
    ) -> None:
        super().__init__()
        widths = (n_colours, *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.hidden = nn.Linear(channels[-1] * SIDE * SIDE, latent_dim)
        self.mu = nn.Linear(latent_dim, latent_dim)
        self.logvar = nn.Linear(latent_dim, latent_dim)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance [B, Z] of q(z | x)."""
        h = x_BCHW
        for convolution in self.convolutions:
            h = F.relu(convolution(h))
        h_BZ = F.relu(self.hidden(h.flatten(1)))
        return self.mu(h_BZ), self.logvar(h_BZ)


class ImageDecoder(nn.Module):
    """One hidden layer and three transposed convolutions; no activation at the end."""

    def __init__(
        self, latent_dim: int, channels: tuple[int, int, int] = (32, 64, 128), n_colours: int = 3
    ) -> None:
        super().__init__()
        first, second, third = channels
        self.hidden = nn.Linear(latent_dim, third * SIDE * SIDE)
        self.convolutions = nn.ModuleList(
            [
                nn.ConvTranspose2d(third, second, 3, stride=2, padding=1),
                nn.ConvTranspose2d(second, first, 3, stride=2, padding=1, output_padding=1),
                nn.ConvTranspose2d(first, n_colours, 3, stride=2, padding=1, output_padding=1),
            ]
        )

    def forward(self, z_BZ: Tensor) -> Tensor:
        """Return the location of every pixel: [B, C, 28, 28]."""
        h = F.relu(self.hidden(z_BZ)).unflatten(1, (-1, SIDE, SIDE))
        h = h.contiguous(memory_format=torch.channels_last)
        first, second, third = self.convolutions
        assert isinstance(first, nn.ConvTranspose2d)
        # oneDNN (torch 2.13, CPU) is 1.2 to 6 times slower here with the bias inside the operation.
        h = F.conv_transpose2d(h, first.weight, None, stride=2, padding=1)
        if first.bias is not None:
            h = h + first.bias[:, None, None]
        return third(F.relu(second(F.relu(h))))  # type: ignore[no-any-return] # a Module's call is untyped


def initialise(
    encoder: ImageEncoder, decoder: ImageDecoder, kind: Initialisation, initial_logvar: float
) -> None:
    """Set the start values of one modality's weights, drawing from torch's global generator.

    torch's default shrinks the signal by about 0.4 in every layer, so that a fresh encoder's means hardly
    depend on x; a Laplace likelihood then stays long on the plateau where every pixel takes its median. With
    "he" (He et al. 2015) every layer before a ReLU keeps the signal's scale, as do the means' heads; the
    log-variances start alike for all inputs, and the pictures near `INITIAL_INTENSITY`.
    """
    if kind == "he":
        picture = decoder.convolutions[-1]
        gains = {encoder.mu: 1.0, encoder.logvar: 0.0, picture: 0.4}
        for module in (*encoder.modules(), *decoder.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
                gain = gains.get(module, math.sqrt(2))
                nn.init.normal_(module.weight, std=gain / math.sqrt(_fan_in(module)))
                assert module.bias is not None
                nn.init.constant_(module.bias, INITIAL_INTENSITY if module is picture else 0.0)
    with torch.no_grad():
        encoder.logvar.bias.add_(initial_logvar)


def _fan_in(module: nn.Conv2d | nn.Linear | nn.ConvTranspose2d) -> float:
    """Return how many inputs an output of the layer sums over."""
    if isinstance(module, nn.Linear):
        return module.in_features
    taps = module.kernel_size[0] * module.kernel_size[1]
    # Of a transposed convolution's taps only one in stride x stride meets an input pixel.
    met = module.stride[0] * module.stride[1] if isinstance(module, nn.ConvTranspose2d) else 1
    return module.in_channels * taps / met
