"""The encoder and decoder of the MoPoE paper's PolyMNIST experiments (released code, Sutter et al. 2021).

Layer for layer those of the paper, with 14,056,975 parameters in five modalities at latent_dim 512. Axes:
B batch, Z latent, C channels.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.likelihoods import image_likelihood
from mopoe.networks.base import Modality, initialise
from mopoe.plugins import plugin

SIDE = 4
"""Images of 28 x 28 pixels shrink to 14, 7 and 4."""

INITIAL_INTENSITY = 0.4
"""Where the "he" initialisation starts every pixel: about the mean of a photograph."""


@plugin
def image(config: TrialConfig, modality: ModalitySpec, width: int) -> Modality:
    """Return the parts of an image modality of 28 x 28 pixels, with `config.channels` channels.

    Raises:
        ConfigError: the modality has another shape.
    """
    if len(modality.shape) != 3 or modality.shape[1:] != (28, 28):
        raise ConfigError(
            f"modality {modality.name!r} has shape {list(modality.shape)}, but the PolyMNIST networks read "
            "images of shape [channels, 28, 28]; name other networks in its ModalitySpec"
        )
    encoder = ImageEncoder(width, config.channels, modality.shape[0])
    decoder = ImageDecoder(width, config.channels, modality.shape[0])
    output = decoder.convolutions[-1]
    assert isinstance(output, nn.ConvTranspose2d)
    initialise(
        config, encoder, decoder, mu=encoder.mu, logvar=encoder.logvar, output=output, start=INITIAL_INTENSITY
    )
    return Modality(encoder, decoder, image_likelihood(config))


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
        *others, last = self.convolutions
        h = x_BCHW
        for convolution in others:
            h = F.relu_(convolution(h))
        # The last ReLU after the change of layout: its backward pass is many times slower across layouts.
        h_BZ = F.relu_(self.hidden(F.relu_(last(h).flatten(1))))
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
        # In place: ReLUs into fresh memory, which comes zeroed page by page, took a tenth of the time.
        h = F.relu_(self.hidden(z_BZ)).unflatten(1, (-1, SIDE, SIDE))
        # Channels last, said so that `torch.func.vmap` knows it, too.
        h = h.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        first, second, third = self.convolutions
        assert isinstance(first, nn.ConvTranspose2d)
        assert isinstance(third, nn.ConvTranspose2d)
        # oneDNN (torch 2.13, CPU) is 1.2 to 6 times slower here with the bias inside the operation.
        h = F.conv_transpose2d(h, first.weight, None, stride=2, padding=1)
        if first.bias is not None:
            # In the precision of h: across precisions each number would be converted there and back.
            h = h.add_(first.bias.to(h.dtype)[:, None, None])
        h = F.relu_(second(F.relu_(h)))
        if torch.is_grad_enabled() or h.device.type != "cpu":
            return third(h)  # type: ignore[no-any-return] # a Module's call is untyped
        return transposed_by_phases(h, third.weight, third.bias)


def transposed_by_phases(h_BCHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the transposed convolution of a 3 x 3 kernel, stride 2, padding 1 and output padding 1.

    An output pixel's neighbours depend on whether its row and its column are even: one convolution of 2 x 2
    makes all four kinds, which are then interleaved (Shi et al. 2016). With the few channels of an image
    oneDNN (torch 2.13, CPU) takes half the time for it; with many it is slower.
    """
    # The kernel's rows (and columns) for this and the next input; 3 is the zero that is padded.
    taps = torch.tensor([[1, 3], [2, 0]], device=weight.device)
    kernel = F.pad(weight, (0, 1, 0, 1))[:, :, taps][..., taps]
    kernel = kernel.permute(2, 4, 1, 0, 3, 5).reshape(-1, len(weight), 2, 2)
    bias = None if bias is None else bias.repeat(4)
    # Padding on all sides and cutting spares a padded copy of the input.
    phases = F.conv2d(h_BCHW, kernel, bias, padding=1)[..., 1:, 1:]
    n, _, height, width = phases.shape
    # Channels last, and of them the row's parity first: what is copied lies in runs of two pixels.
    rows = phases.permute(0, 2, 3, 1).unflatten(3, (2, -1)).transpose(2, 3)
    image_BHWC: Tensor = rows.reshape(n, 2 * height, 2 * width, -1)
    return image_BHWC.permute(0, 3, 1, 2)
