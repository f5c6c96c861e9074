"""Likelihoods p(x | z) of one modality, given what its decoder puts out.

A likelihood is an `nn.Module` with two methods; bring your own by subclassing `Likelihood`.
"""

import math

import torch
from torch import Tensor, nn


class Likelihood(nn.Module):
    """The contract: a log density summed over a sample's elements, and a mean to look at."""

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | z) in nats, [B], summed over all but the first axis.

        Args:
            output: the decoder's output, [B, ...].
            x: the samples, [B, ...], as floats in the data's unit.
        """
        raise NotImplementedError

    def mean(self, output: Tensor) -> Tensor:
        """Return the mean of p(x | z), shaped like x."""
        return output


class Laplace(Likelihood):
    """Independent Laplace densities with the decoder's output as location and a fixed scale."""

    def __init__(self, scale: float = 0.75) -> None:
        super().__init__()
        self.scale = scale

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -|x - output| / scale - log(2 scale), summed: at most -log(2 scale) per element."""
        constant = x[0].numel() * math.log(2 * self.scale)
        return -(x - output).abs().flatten(1).sum(1) / self.scale - constant


class Normal(Likelihood):
    """Independent normal densities with the decoder's output as mean and a fixed scale."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -((x - output) / scale)^2 / 2 - log(scale sqrt(2 pi)), summed."""
        constant = x[0].numel() * (math.log(self.scale) + 0.5 * math.log(2 * math.pi))
        return -0.5 * ((x - output) / self.scale).square().flatten(1).sum(1) - constant


class Bernoulli(Likelihood):
    """Independent Bernoulli probabilities with the decoder's output as logits; x lies in 0..1."""

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return x output - log(1 + exp(output)), summed."""
        return (x * output - nn.functional.softplus(output)).flatten(1).sum(1)

    def mean(self, output: Tensor) -> Tensor:
        """Return the probabilities."""
        return torch.sigmoid(output)
