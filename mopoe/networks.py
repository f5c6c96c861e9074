"""The encoder and decoder of the MoPoE paper's PolyMNIST experiments (released code, Sutter et al. 2021).

Layer for layer those of the paper, with 14,056,975 parameters in five modalities at latent_dim 512. Axes:
B batch, Z latent, C channels.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

SIDE = 4
"""Images of 28 x 28 pixels shrink to 14, 7 and 4."""


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
