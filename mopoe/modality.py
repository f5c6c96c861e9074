"""The parts of one modality, as a model needs them."""

from dataclasses import dataclass

from torch import nn

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
