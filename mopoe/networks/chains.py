"""Parts of a modality whose networks are chains of layers.

Axes: B batch, C character, L position, Z latent.
"""

import torch
from torch import Tensor, nn

from mopoe.config import TrialConfig
from mopoe.likelihoods import Likelihood
from mopoe.modality import Modality
from mopoe.networks.initialisation import Layer, initialise


class OneHot(nn.Module):
    """Turns numbers of characters [B, L] into floats [B, C, L], on the device: they are never stored so."""

    places_C: Tensor

    def __init__(self, n_characters: int) -> None:
        super().__init__()
        self.register_buffer("places_C", torch.arange(n_characters, dtype=torch.int8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return 1 where a character is the one, 0 elsewhere; probabilities [B, C, L] as they are."""
        if x.is_floating_point():
            return x
        return (x[:, None] == self.places_C[:, None]).to(torch.get_default_dtype())


class Encoder(nn.Module):
    """A chain of layers that ends in features [B, n_features], and two linear heads."""

    def __init__(self, trunk: list[nn.Module], n_features: int, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*trunk)
        self.mu = nn.Linear(n_features, width)
        self.logvar = nn.Linear(n_features, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance [B, Z] of q(z | x)."""
        h = self.trunk(x)
        return self.mu(h), self.logvar(h)


def chain(
    config: TrialConfig, encoder: Encoder, decoder: list[nn.Module], likelihood: Likelihood, start: float
) -> Modality:
    """Return a modality's parts, initialised; `start` is the bias of the decoder's last layer with "he"."""
    output = [layer for layer in decoder if isinstance(layer, Layer)][-1]
    layers = nn.Sequential(*decoder)
    initialise(config, encoder, layers, mu=encoder.mu, logvar=encoder.logvar, output=output, start=start)
    return Modality(encoder, layers, likelihood)
