"""Likelihoods p(x | z) of one modality, given its decoder's output.

To use a likelihood of your own, subclass `Likelihood`; only `log_prob` is required.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mopoe.bank import stacked
from mopoe.config import TrialConfig
from mopoe.data.registry import Distribution
from mopoe.kernels import absolute_error

LEAST_SCALE = 0.01
"""The lower limit of learned scales of features, as a share of their standard deviation if standardised."""


class Likelihood(nn.Module, ABC):
    """The interface: a log density, summed over a sample's elements, and a mean."""

    @abstractmethod
    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | z) in nats, [B], summed over all axes but the first.

        Args:
            output: the decoder's output, [B, ...].
            x: the samples, [B, ...], as floats in the data's unit.
        """

    def mean(self, output: Tensor) -> Tensor:
        """Return the mean of p(x | z), shaped like x."""
        return output

    def most(self, elements: int) -> float:
        """Return the largest log p(x | z) in nats of a sample with that many elements; inf if unknown."""
        del elements
        return math.inf

    def constant(self, x: Tensor) -> Tensor | None:
        """Return the constant output [1, ...] that fits samples [N, ...] best; None if unknown."""
        del x
        return None


class _Scaled(Likelihood):
    """A likelihood with one scale for all elements of a modality.

    Args:
        scale: the scale, or its initial value if it is learned.
        learned: whether the scale is a parameter, trained through its logarithm.
    """

    log_scale: nn.Parameter | None

    def __init__(self, scale: float, *, learned: bool = False) -> None:
        super().__init__()
        self._fixed = scale
        self.register_parameter("log_scale", nn.Parameter(torch.tensor(scale).log()) if learned else None)

    @property
    def scale(self) -> float | Tensor:
        """The scale as a number, or as a scalar tensor if it is learned."""
        return self._fixed if self.log_scale is None else self.log_scale.exp()


class Laplace(_Scaled):
    """Independent Laplace densities with the decoder's output as location."""

    def __init__(self, scale: float = 0.75, *, learned: bool = False) -> None:
        super().__init__(scale, learned=learned)

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -|x - output| / scale - log(2 scale), summed: at most -log(2 scale) per element."""
        return self.of_error(_total((x - output).abs()), x[0].numel())

    def of_error(self, error: Tensor, elements: int) -> Tensor:
        """Return the same for the sum of |x - output| over so many elements."""
        return -error / self.scale - elements * _log(2 * self.scale)

    def most(self, elements: int) -> float:
        """Return -log(2 scale) per element."""
        return -elements * math.log(2 * _number(self.scale))

    def constant(self, x: Tensor) -> Tensor:
        """Return the median of each element."""
        return x.median(0, keepdim=True).values


class Normal(_Scaled):
    """Independent normal densities with the decoder's output as mean."""

    def __init__(self, scale: float = 1.0, *, learned: bool = False) -> None:
        super().__init__(scale, learned=learned)

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -((x - output) / scale)^2 / 2 - log(scale sqrt(2 pi)), summed."""
        constant = x[0].numel() * (_log(self.scale) + 0.5 * math.log(2 * math.pi))
        return -0.5 * _total(((x - output) / self.scale).square()) - constant

    def most(self, elements: int) -> float:
        """Return -log(scale sqrt(2 pi)) per element."""
        return -elements * (math.log(_number(self.scale)) + 0.5 * math.log(2 * math.pi))

    def constant(self, x: Tensor) -> Tensor:
        """Return the mean of each element."""
        return x.mean(0, keepdim=True)


class Bernoulli(Likelihood):
    """Independent Bernoulli distributions with the decoder's output as logits; x is in 0..1."""

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return x output - log(1 + exp(output)), summed."""
        return _total(x * output - nn.functional.softplus(output))

    def mean(self, output: Tensor) -> Tensor:
        """Return the probabilities."""
        return torch.sigmoid(output)

    def most(self, elements: int) -> float:
        """Return 0, as a probability is at most 1."""
        del elements
        return 0.0

    def constant(self, x: Tensor) -> Tensor:
        """Return the logit of the mean of each element."""
        return x.mean(0, keepdim=True).logit(1e-4)


class FeatureNormal(Likelihood):
    """Independent normal densities with one learned scale per element, the decoder's output as mean.

    Args:
        shape: the shape of a sample, in whose elements' unit scales start at about 1.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(*shape))

    @property
    def scale(self) -> Tensor:
        """The scales, shaped like a sample; above `LEAST_SCALE`, where one would else shrink for ever."""
        return LEAST_SCALE + self.log_scale.exp()

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the log densities, summed."""
        return _total(torch.distributions.Normal(output, self.scale, validate_args=False).log_prob(x))

    def most(self, elements: int) -> float:
        """Return -log(scale sqrt(2 pi)), summed."""
        return -float(self.scale.detach().log().sum()) - elements * 0.5 * math.log(2 * math.pi)

    def constant(self, x: Tensor) -> Tensor:
        """Return the mean of each element."""
        return x.mean(0, keepdim=True)


class Counts(Likelihood):
    """A likelihood of counts whose means are given rates times exp(output).

    With a size factor, as in scVI (Lopez et al. 2018) with observed library sizes, the means are scaled so
    that they sum to the total of the counts, and the log-probabilities are those given the total.

    Args:
        rate: where the means start, shaped like a sample, such as the mean of each element.
        total: the sum of the means where no counts are known, such as a median total; 0 for no size factor.
    """

    rate: Tensor

    def __init__(self, rate: Tensor, total: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("rate", rate, persistent=False)
        self.total = total

    @abstractmethod
    def given(self, log_mean: Tensor) -> torch.distributions.Distribution:
        """Return the distributions whose means have these logarithms."""

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the log-probabilities, summed; in float64, as terms of large counts nearly cancel.

        With a size factor it is 0 where the total is 0, as only zeros have that total.
        """
        log_mean, x = self.rate.double().log() + output.double(), x.double()
        if not self.total:
            return _total(self.given(log_mean).log_prob(x)).to(output.dtype)
        total_B = _total(x)
        log_mean = _log_shares(log_mean) + _like_rows(total_B.clamp(min=1).log(), x)
        return _total(self.given(log_mean).log_prob(x)).where(total_B > 0, 0).to(output.dtype)

    def mean(self, output: Tensor) -> Tensor:
        """Return the means; with a size factor they sum to `total`, as no counts are known."""
        if not self.total:
            return self.rate * output.exp()
        return self.total * _log_shares(self.rate.log() + output).exp()

    def most(self, elements: int) -> float:
        """Return 0, as a probability is at most 1."""
        return 0.0 * elements

    def constant(self, x: Tensor) -> Tensor:
        """Return the logarithm of each element's mean, of at least half a count in all, over its rate."""
        return (x.mean(0, keepdim=True).clamp(min=0.5 / len(x)) / self.rate).log()


class Poisson(Counts):
    """Independent Poisson distributions of counts."""

    def given(self, log_mean: Tensor) -> torch.distributions.Poisson:
        """Return the distributions whose means have these logarithms."""
        return torch.distributions.Poisson(log_mean.exp(), validate_args=False)


class NegativeBinomial(Counts):
    """Independent negative binomial distributions of counts, of variance mean + mean^2 / r.

    One r per element is learned through its logarithm; it starts at 1.
    """

    def __init__(self, rate: Tensor, total: float = 0.0) -> None:
        super().__init__(rate, total)
        self.log_r = nn.Parameter(torch.zeros_like(rate))

    def given(self, log_mean: Tensor) -> torch.distributions.NegativeBinomial:
        """Return the distributions whose means have these logarithms."""
        log_r = self.log_r.double()
        logits = log_mean - log_r
        return torch.distributions.NegativeBinomial(log_r.exp(), logits=logits, validate_args=False)


class Categorical(Likelihood):
    """Independent categorical distributions over C symbols at L positions, such as the characters of a text.

    The decoder's output [B, C, L] contains unnormalised log-probabilities. x is either one-hot floats
    [B, C, L], where a position whose column is zero does not count, or integer symbols [B, L]. L may be
    several axes, or none.

    The encoder of such a modality must accept both symbols [B, L], of real samples, and probabilities
    [B, C, L], of generated samples, which its classifier receives.
    """

    def log_prob(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the log-probabilities of the symbols in x, summed over positions."""
        if not x.is_floating_point():
            return -nn.functional.cross_entropy(output, x.long(), reduction="none").view(len(x), -1).sum(1)
        return _total(x * torch.log_softmax(output, dim=1))

    def mean(self, output: Tensor) -> Tensor:
        """Return the probabilities of the symbols at every position."""
        return torch.softmax(output, dim=1)

    def most(self, elements: int) -> float:
        """Return 0, as a probability is at most 1."""
        del elements
        return 0.0


def log_probs(
    likelihoods: Mapping[str, Likelihood], output_GB: Tensor, x: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Return log p(x | z) in nats by modality name, [B]; in one pass if all are the same Laplace likelihood.

    Args:
        likelihoods: by modality name.
        output_GB: the decoders' outputs, [G, B, ...].
        x: the samples of each, [B, ...].
    """
    fixed = [o for o in likelihoods.values() if type(o) is Laplace and o.log_scale is None]
    if len(fixed) == len(likelihoods) and len({float(o.scale) for o in fixed}) == 1:
        error_GB = absolute_error(output_GB.movedim(1, -1), stacked(x))
        log_p_GB = fixed[0].of_error(error_GB, x[0][0].numel())
        return dict(zip(likelihoods, log_p_GB, strict=True))
    given = zip(likelihoods.items(), output_GB, x, strict=True)
    return {name: likelihood.log_prob(output, x_BX) for (name, likelihood), output, x_BX in given}


def _total(terms: Tensor) -> Tensor:
    """Return the sum over all but the first axis; flattening a channels-last tensor would copy it."""
    return terms.sum(tuple(range(1, terms.dim()))) if terms.dim() > 1 else terms


def _log_shares(log_mean: Tensor) -> Tensor:
    """Return the logarithms of each element's share of a sample's means."""
    return log_mean - _like_rows(log_mean.flatten(1).logsumexp(1), log_mean)


def _like_rows(value_B: Tensor, x: Tensor) -> Tensor:
    """Return one value per sample with as many axes as samples [B, ...]."""
    return value_B.view(-1, *(1,) * (x.dim() - 1))


def _number(value: float | Tensor) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else value


def _log(value: float | Tensor) -> float | Tensor:
    return value.log() if isinstance(value, Tensor) else math.log(value)


def image_likelihood(config: TrialConfig) -> Likelihood:
    """Return the likelihood of an image's pixels according to a trial's settings."""
    match config.likelihood:
        case "laplace":
            return Laplace(config.likelihood_scale, learned=config.learned_scale)
        case "normal":
            return Normal(config.likelihood_scale, learned=config.learned_scale)
        case "bernoulli":
            return Bernoulli()


def feature_likelihood(kind: Distribution, rate: Tensor, total: float = 0.0) -> Likelihood:
    """Return the likelihood of features.

    Args:
        kind: the distribution.
        rate: of counts the means at the start; else any numbers, shaped like a sample.
        total: of counts with a size factor the total where it is not known; else 0.
    """
    match kind:
        case "poisson":
            return Poisson(rate, total)
        case "negative_binomial":
            return NegativeBinomial(rate, total)
        case "bernoulli":
            return Bernoulli()
        case "categorical":
            return Categorical()
        case "normal":
            return FeatureNormal(rate.shape)
