"""The encoder and decoder of the MoPoE paper's PolyMNIST experiments (released code, Sutter et al. 2021).

All layers are those of the paper, with 14,056,975 parameters in five modalities at latent_dim 512.
Axes: B batch, C channels, Z latent.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.bank import Layered
from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.likelihoods import image_likelihood
from mopoe.networks.base import (
    INITIAL_INTENSITY,
    Dropout,
    Modality,
    Normalisation,
    activated,
    check_shape,
    initialise,
)
from mopoe.plugins import plugin

Activated = Callable[[int], list[nn.Module]]
"""Makes what follows a hidden linear layer of so many units."""
SIDE = 4
"""Height and width after the three convolutions, which reduce 28 pixels to 14, 7 and 4."""


@plugin
def image(
    config: TrialConfig,
    modality: ModalitySpec,
    width: int,
    *,
    dropout: Dropout = 0.0,
    normalisation: Normalisation = "none",
) -> Modality:
    """Return the parts of an image modality of 28 x 28 pixels, with `config.channels` channels.

    Args:
        config: the trial's settings.
        modality: the modality.
        width: number of latents.
        dropout: of the hidden linear layer; none in the paper.
        normalisation: of the hidden linear layer; none in the paper.

    Raises:
        ConfigError: the modality has another shape.
    """
    fits = len(modality.shape) == 3 and modality.shape[1:] == (28, 28)
    check_shape(modality, fits, "the PolyMNIST networks", "images of shape [channels, 28, 28]")
    sizes = width, config.channels, modality.shape[0]
    after = partial(activated, dropout=dropout, normalisation=normalisation)
    encoder, decoder = ImageEncoder(*sizes, after), ImageDecoder(*sizes, after)
    output = decoder.convolutions[-1]
    assert isinstance(output, nn.ConvTranspose2d)
    initialise(
        config, encoder, decoder, mu=encoder.mu, logvar=encoder.logvar, output=output, start=INITIAL_INTENSITY
    )
    return Modality(encoder, decoder, image_likelihood(config))


class ImageEncoder(Layered):
    """Three convolutions of stride 2, one hidden layer as wide as the latent space, two linear heads."""

    def __init__(
        self, latent_dim: int, channels: tuple[int, int, int], n_colours: int, after: Activated = activated
    ) -> None:
        super().__init__()
        widths = (n_colours, *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.hidden = nn.Linear(channels[-1] * SIDE * SIDE, latent_dim)
        self.activated = nn.Sequential(*after(latent_dim))
        self.mu = nn.Linear(latent_dim, latent_dim)
        self.logvar = nn.Linear(latent_dim, latent_dim)

    def layers(self) -> list[nn.Module]:
        """Return the layers before the heads, in their order."""
        convolutions = (layer for c in self.convolutions for layer in (c, nn.ReLU()))
        return [*convolutions, nn.Flatten(), self.hidden, *self.activated]

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance [B, Z] of q(z | x)."""
        *others, last = self.convolutions
        h = x_BCHW
        for convolution in others:
            h = F.relu_(convolution(h))
        # The last ReLU follows the change of layout: its backward pass is many times slower across layouts.
        h_BZ = self.activated(self.hidden(F.relu_(last(h).flatten(1))))
        return self.mu(h_BZ), self.logvar(h_BZ)


class ImageDecoder(Layered):
    """One hidden layer and three transposed convolutions, without a final activation."""

    def __init__(
        self, latent_dim: int, channels: tuple[int, int, int], n_colours: int, after: Activated = activated
    ) -> None:
        super().__init__()
        first, second, third = channels
        self.hidden = nn.Linear(latent_dim, third * SIDE * SIDE)
        self.activated = nn.Sequential(*after(third * SIDE * SIDE))
        self.convolutions = nn.ModuleList(
            [
                nn.ConvTranspose2d(third, second, 3, stride=2, padding=1),
                nn.ConvTranspose2d(second, first, 3, stride=2, padding=1, output_padding=1),
                nn.ConvTranspose2d(first, n_colours, 3, stride=2, padding=1, output_padding=1),
            ]
        )

    def layers(self) -> list[nn.Module]:
        """Return the layers in their order."""
        first, second, third = self.convolutions
        shaped = nn.Unflatten(1, (-1, SIDE, SIDE))
        return [self.hidden, *self.activated, shaped, first, nn.ReLU(), second, nn.ReLU(), third]

    def forward(self, z_BZ: Tensor) -> Tensor:
        """Return the location of every pixel: [B, C, 28, 28]."""
        # In place: ReLUs into fresh memory, which the kernel zeroes page by page, took a tenth of the time.
        h = self.activated(self.hidden(z_BZ)).unflatten(1, (-1, SIDE, SIDE))
        h = h.contiguous(memory_format=torch.channels_last)
        first, second, third = self.convolutions
        assert isinstance(first, nn.ConvTranspose2d)
        assert isinstance(third, nn.ConvTranspose2d)
        # oneDNN (torch 2.13, CPU) is 1.2 to 6 times slower here with the bias inside the operation.
        h = F.conv_transpose2d(h, first.weight, None, stride=2, padding=1)
        if first.bias is not None:
            # In the precision of h: mixed precision would convert every number to float32 and back.
            h = h.add_(first.bias.to(h.dtype)[:, None, None])
        h = F.relu_(second(F.relu_(h)))
        if torch.is_grad_enabled() or h.device.type != "cpu":
            return third(h)  # type: ignore[no-any-return] # a Module's call is untyped
        return transposed_by_phases(h, third.weight, third.bias)


def transposed_by_phases(h_BCHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the transposed convolution of a 3 x 3 kernel, stride 2, padding 1 and output padding 1.

    Which inputs contribute to an output pixel depends on the parity of its row and column: one 2 x 2
    convolution computes all four phases, which are then interleaved (Shi et al. 2016). With the few channels
    of an image this halves the time of oneDNN (torch 2.13, CPU); with many channels it is slower.
    """
    # The kernel's rows (and columns) for the current and the next input; 3 selects the zero padding.
    taps = torch.tensor([[1, 3], [2, 0]], device=weight.device)
    kernel = F.pad(weight, (0, 1, 0, 1))[:, :, taps][..., taps]
    kernel = kernel.permute(2, 4, 1, 0, 3, 5).reshape(-1, len(weight), 2, 2)
    bias = None if bias is None else bias.repeat(4)
    # Padding on all sides and cropping avoids a padded copy of the input.
    phases = F.conv2d(h_BCHW, kernel, bias, padding=1)[..., 1:, 1:]
    n, _, height, width = phases.shape
    # In channels-last layout with the row's parity first, so that runs of two pixels are copied together.
    rows = phases.permute(0, 2, 3, 1).unflatten(3, (2, -1)).transpose(2, 3)
    image_BHWC: Tensor = rows.reshape(n, 2 * height, 2 * width, -1)
    return image_BHWC.permute(0, 3, 1, 2)
