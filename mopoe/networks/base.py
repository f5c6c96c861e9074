"""Building blocks of all networks: the parts of a modality, chains of layers, and their initialisation."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from mopoe.bank import Layered
from mopoe.config import TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.likelihoods import Likelihood

INITIAL_INTENSITY = 0.4
"""The initial value of every pixel under "he" initialisation: about the mean of a photograph."""


@dataclass(frozen=True, slots=True)
class Modality:
    """The three parts of one modality; any `nn.Module`s with these shapes will do."""

    encoder: nn.Module
    """Maps x [B, ...] to the mean and the log-variance of q(z | x), [B, Z] each."""
    decoder: nn.Module
    """Maps z [B, Z] to the input of the likelihood, [B, ...]."""
    likelihood: Likelihood
    """Computes log p(x | z) and its mean from the decoder's output."""


Dropout = Annotated[float, Field(ge=0, le=0.99)]
"""Share of a hidden layer's units that are left out in training, other ones in every sample."""
Normalisation = Literal["none", "batch", "layer"]
"""How a hidden layer's units are normalised: over the batch, over the layer, or not."""
Layer = nn.Conv1d | nn.Conv2d | nn.Linear | nn.ConvTranspose1d | nn.ConvTranspose2d


def check_shape(modality: ModalitySpec, fits: bool, networks: str, shapes: str) -> None:  # noqa: FBT001 - a predicate's result
    """Raise ConfigError, with the shapes that the networks read, unless the modality's shape fits them."""
    if not fits:
        raise ConfigError(
            f"modality {modality.name!r} has shape {list(modality.shape)}, but {networks} read {shapes}; "
            "name other networks in its ModalitySpec"
        )


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
    """Initialise the weights of one modality, using torch's global generator.

    torch's default shrinks the signal by a factor of about 0.4 in every layer, so that the means of a fresh
    encoder hardly depend on x; with a Laplace likelihood, training then stays for long on a plateau where
    every pixel is at its median. With "he" (He et al. 2015) every layer before a ReLU and the head of means
    preserve the signal's scale; the log-variances are initially the same for all inputs, and the output is
    near `start`.

    Args:
        config: the trial's settings, of which `initialisation` and `initial_logvar` are used.
        encoder: the encoder, including its heads.
        decoder: the decoder.
        mu: the encoder's head of means.
        logvar: the encoder's head of log-variances.
        output: the decoder's last layer.
        start: the initial bias of that layer under "he".
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
    """Return the number of inputs over which each output of the layer sums."""
    if isinstance(module, nn.Linear):
        return module.in_features
    # An output of a transposed convolution meets only one in prod(stride) of the kernel's elements.
    skipped = math.prod(module.stride) if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d) else 1
    return module.in_channels * math.prod(module.kernel_size) / skipped


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation; of a batch of one sample, which has no spread, by the running statistics."""

    def forward(self, h_BF: Tensor) -> Tensor:
        """Return the normalised features."""
        if len(h_BF) > 1:
            return super().forward(h_BF)
        return F.batch_norm(h_BF, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def activated(width: int, dropout: float = 0.0, normalisation: Normalisation = "none") -> list[nn.Module]:
    """Return what follows a hidden linear layer of some units, before the next layer."""
    norms: dict[str, list[type[nn.Module]]] = {"none": [], "batch": [BatchNorm], "layer": [nn.LayerNorm]}
    first = [norm(width) for norm in norms[normalisation]]
    return [*first, nn.ReLU(inplace=True), *([nn.Dropout(dropout)] if dropout else [])]


class OneHot(nn.Module):
    """Expands symbols [B, L] to one-hot floats [B, C, L] on the device, so that these are never stored."""

    symbols_C: Tensor

    def __init__(self, n_characters: int) -> None:
        super().__init__()
        self.register_buffer("symbols_C", torch.arange(n_characters, dtype=torch.int8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the one-hot encoding; probabilities [B, C, L] are returned unchanged."""
        if x.is_floating_point():
            return x
        return (x[:, None] == self.symbols_C[:, None]).to(torch.get_default_dtype())


class Encoder(Layered):
    """A chain of layers whose output is features [B, n_features], and two linear heads."""

    def __init__(self, trunk: list[nn.Module], n_features: int, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*trunk)
        self.mu = nn.Linear(n_features, width)
        self.logvar = nn.Linear(n_features, width)

    def layers(self) -> list[nn.Module]:
        """Return the layers before the heads, in their order."""
        return list(self.trunk)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance [B, Z] of q(z | x)."""
        h = self.trunk(x)
        return self.mu(h), self.logvar(h)


def chain(
    config: TrialConfig, encoder: Encoder, decoder: list[nn.Module], likelihood: Likelihood, start: float
) -> Modality:
    """Return the initialised parts of a modality whose decoder is a chain of layers (see `initialise`)."""
    output = [layer for layer in decoder if isinstance(layer, Layer)][-1]
    layers = nn.Sequential(*decoder)
    initialise(config, encoder, layers, mu=encoder.mu, logvar=encoder.logvar, output=output, start=start)
    return Modality(encoder, layers, likelihood)
