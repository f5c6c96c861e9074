"""The start values of a modality's weights."""

import math

import torch
from torch import nn

from mopoe.config import TrialConfig

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
