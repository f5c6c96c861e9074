"""What all networks are made of: the parts of a modality, chains of layers, and their initialisation."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mopoe.config import TrialConfig
from mopoe.likelihoods import Likelihood


@dataclass(frozen=True, slots=True)
class Modality:
    """The three parts of one modality; bring any `nn.Module`s that keep to the shapes."""

    encoder: nn.Module
    """Maps x [B, ...] to a pair: mean and log-variance of q(z | x), both [B, Z]."""
    decoder: nn.Module
    """Maps z [B, Z] to what the likelihood needs, [B, ...]."""
    likelihood: Likelihood
    """Turns the decoder's output into log p(x | z) and a mean."""


Layer = nn.Conv1d | nn.Conv2d | nn.Linear | nn.ConvTranspose1d | nn.ConvTranspose2d


def initialise(
    config: TrialConfig,
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    mu: nn.Linear,
    logvar: nn.Linear,
    output: Layer,
    start: float = 0.0,
) -> None:
    """Set the start values of one modality's weights, drawing from torch's global generator.

    torch's default shrinks the signal by about 0.4 in every layer, so that a fresh encoder's means hardly
    depend on x; a Laplace likelihood then stays long on the plateau where every pixel takes its median. With
    "he" (He et al. 2015) every layer before a ReLU keeps the signal's scale, as do the means' heads; the
    log-variances start alike for all inputs, and what is generated near `start`.

    Args:
        config: its settings `initialisation` and `initial_logvar`.
        encoder: the encoder, heads included.
        decoder: the decoder.
        mu: the encoder's head of means.
        logvar: the encoder's head of log-variances.
        output: the decoder's last layer.
        start: bias of that layer with "he".
    """
    if config.initialisation == "he":
        gains: dict[nn.Module, float] = {mu: 1.0, logvar: 0.0, output: 0.4}
        for module in (*encoder.modules(), *decoder.modules()):
            if isinstance(module, Layer):
                gain = gains.get(module, math.sqrt(2))
                nn.init.normal_(module.weight, std=gain / math.sqrt(_fan_in(module)))
                if module.bias is not None:
                    nn.init.constant_(module.bias, start if module is output else 0.0)
    with torch.no_grad():
        logvar.bias.add_(config.initial_logvar)


def _fan_in(module: Layer) -> float:
    """Return how many inputs an output of the layer sums over."""
    if isinstance(module, nn.Linear):
        return module.in_features
    # Of a transposed convolution's taps only one in the product of strides meets an input.
    met = math.prod(module.stride) if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d) else 1
    return module.in_channels * math.prod(module.kernel_size) / met


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
