"""What a config's method stands for: mixture weights, prior expert, extra terms, and the weights of the loss.

Imports nothing heavy. `mopoe.elbo` computes the losses that are specified here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mopoe.config import Aggregation, Posterior, PriorExpert, TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.subsets import mixture_weights, path_weights

LISTS = ("subset_weights", "likelihood_weights", "style_weights")
"""Settings that may be lists, with one number per modality or per subset of the data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSpec:
    """A method as a member of one family: a mixture over subsets, and the terms added to its ELBO."""

    subset_weights: tuple[float, ...] | None = None
    """Mixture weights as `mopoe.subsets.mixture_weights` takes them."""
    prior_expert: PriorExpert = "full"
    """The products of experts that include the prior, in training and in evaluation."""
    unimodal_elbos: bool = False
    """Whether one ELBO per modality is added to the mixture's."""
    mixture_of_experts: bool = False
    """Whether the posterior given several modalities is a mixture of theirs rather than a product."""
    aggregation: Aggregation = "product"
    """How the experts of a subset become one posterior."""
    posterior: Posterior = "gaussian"
    """The distribution of the posteriors and of the prior."""
    learned_weights: bool = False
    """Whether the mixture weights are trained parameters, initially uniform."""
    auxiliary_prior: bool = False
    """Whether private latents outside of the drawn subset come from a prior of trained scale (MMVAE+)."""
    dynamic_prior: bool = False
    """Whether mmJSD's divergence takes the place of the mixture's KL. The loss is then no bound."""
    tc_ratio: float | None = None
    """The share of MVTCAE's total-correlation term; None without that term. Above 0 the loss is no bound."""


def resolve_method(config: TrialConfig, n_modalities: int) -> MethodSpec:
    """Return the mixture weights, the prior expert and the extra terms of a config's method.

    MVAE (method poe) includes the prior in every product, so that the posterior of a single modality is
    proportional to q(z | x_m) N(0, I). MVTCAE (Hwang et al. 2021) includes it in none.
    The losses of MVTCAE and mmJSD are no bounds of -log p(X).

    >>> resolve_method(TrialConfig(method="moe"), 2).subset_weights
    (1.0, 0.0)
    """
    rest = (0.0,) * (n_modalities - 1)
    auxiliary = config.style_outside == "auxiliary" and config.style_dim > 0
    match config.method:
        case "poe":
            return MethodSpec(
                subset_weights=(*rest, 1.0),
                prior_expert="all",
                aggregation=config.aggregation,
                unimodal_elbos=config.unimodal_elbos,
            )
        case "mvtcae":
            return MethodSpec(subset_weights=(*rest, 1.0), prior_expert="none", tc_ratio=config.tc_ratio)
        case "moe":
            return MethodSpec(
                subset_weights=(1.0, *rest),
                prior_expert=config.prior_expert,
                mixture_of_experts=True,
                posterior=config.posterior,
                auxiliary_prior=auxiliary,
            )
        case "mmjsd":
            return MethodSpec(
                subset_weights=(1.0, *rest),
                prior_expert="none",
                mixture_of_experts=True,
                dynamic_prior=True,
                auxiliary_prior=auxiliary,
            )
        case "mopoe":
            weights = config.subset_weights
            if config.mixture_path is not None:
                weights = path_weights(config.mixture_path, n_modalities)
            return MethodSpec(
                subset_weights=weights,
                prior_expert=config.prior_expert,
                aggregation=config.aggregation,
                learned_weights=config.learned_weights,
                auxiliary_prior=auxiliary,
            )


def check_modalities(config: TrialConfig, n_modalities: int) -> None:
    """Check that settings with one number per modality or per subset have the right length.

    Raises:
        ConfigError: one has another length; the message names the setting and both numbers.
    """
    for name in LISTS:
        check_length(name, getattr(config, name), n_modalities)


def check_length(name: str, value: object, n_modalities: int) -> None:
    """Raise ConfigError if the value of one of `LISTS` is a list of the wrong length."""
    if not isinstance(value, tuple):
        return
    if name == "subset_weights":
        mixture_weights(value, n_modalities)
    elif len(value) != n_modalities:
        raise ConfigError(
            f"{name} has length {len(value)}, but must have {n_modalities} numbers, one per modality"
        )


def likelihood_weights(config: TrialConfig, modalities: Sequence[ModalitySpec]) -> dict[str, float]:
    """Return the weight of each modality's log-likelihood in the loss, by name.

    "dimensions" is the papers' rule: 1 for the modality with the most elements, and for every other one the
    ratio of that number to its own, so that no modality is drowned out by the others.

    >>> shapes = {"svhn": (3, 32, 32), "text": (8,)}
    >>> likelihood_weights(TrialConfig(), [ModalitySpec(name=n, shape=s) for n, s in shapes.items()])
    {'svhn': 1.0, 'text': 384.0}
    """
    given = config.likelihood_weights
    names = [m.name for m in modalities]
    if isinstance(given, tuple):
        return dict(zip(names, given, strict=True))
    sizes = [math.prod(m.shape) for m in modalities]
    return {
        n: max(sizes) / size if given == "dimensions" else 1.0 for n, size in zip(names, sizes, strict=True)
    }


def style_weights(config: TrialConfig, n_modalities: int) -> tuple[float, ...]:
    """Return the weight of each modality's private KL relative to the shared KL: beta_style times its own."""
    own = config.style_weights or (1.0,) * n_modalities
    return tuple(config.beta_style * weight for weight in own)


def beta_at(step: int, steps_per_epoch: int, config: TrialConfig) -> float:
    """Return the weight of the KL term at an optimiser step.

    It changes from `beta_start` to `beta` over the warm-up: linearly, along half a cosine wave, or cyclically
    (Fu et al. 2019), that is repeatedly, over the first half of each period of the warm-up's length, and is
    constant in the second half.

    Args:
        step: steps taken before this one since the start of the trial.
        steps_per_epoch: steps in one pass over the training split.
        config: the settings of beta.

    >>> [beta_at(step, 2, TrialConfig(beta=1.0, beta_warmup_epochs=2)) for step in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    warmup = config.beta_warmup_epochs * steps_per_epoch
    if warmup == 0:
        return config.beta
    share = step / warmup
    match config.beta_schedule:
        case "linear":
            way = min(share, 1.0)
        case "cosine":
            way = 0.5 - 0.5 * math.cos(math.pi * min(share, 1.0))
        case "cyclical":
            way = min(2 * (share % 1.0), 1.0)
    return config.beta_start + (config.beta - config.beta_start) * way


def lr_at(step: int, steps_per_epoch: int, config: TrialConfig) -> float:
    """Return the learning rate of an optimiser step: a linear warm-up, then constant or half a cosine wave.

    Args:
        step: steps taken before this one since the start of the trial.
        steps_per_epoch: steps in one pass over the training split.
        config: the settings of the learning rate.

    >>> config = TrialConfig(lr=1.0, epochs=4, lr_warmup_epochs=2, lr_schedule="cosine")
    >>> [round(lr_at(step, 1, config), 3) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup, total = (n * steps_per_epoch for n in (config.lr_warmup_epochs, config.epochs))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.lr_schedule == "constant":
        return config.lr
    return config.lr * (0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (total - warmup)))
