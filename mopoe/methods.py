"""Which bound a config's trial maximises: the mixture, the extra terms, and the weights of its parts.

Imports nothing heavy. `mopoe.objectives` computes what is decided here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mopoe.config import Posterior, PriorExpert, TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.errors import ConfigError
from mopoe.subsets import mixture_weights, path_weights

LISTS = ("subset_weights", "likelihood_weights", "style_weights")
"""Settings that may be lists as long as the data set has modalities or subsets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A method as a point of one family: a mixture over subsets, and what is added to its ELBO."""

    subset_weights: tuple[float, ...] | None = None
    """Mixture weights in a form that `mopoe.subsets.mixture_weights` reads."""
    prior_expert: PriorExpert = "full"
    """Which products of experts include the prior, in training and in evaluation."""
    unimodal_elbos: bool = False
    """Whether one ELBO per modality is added to that of the mixture."""
    mixture_of_experts: bool = False
    """Whether the posterior given several modalities is the mixture of theirs rather than their product."""
    posterior: Posterior = "gaussian"
    """The family of the posteriors and of the prior."""
    learned_weights: bool = False
    """Whether the mixture weights are parameters, which start uniform."""
    tc_ratio: float | None = None
    """The share of the total-correlation term of MVTCAE; None without that term."""


def bound_of(config: TrialConfig, n_modalities: int) -> Bound:
    """Return the bound that a config's method, weights and prior expert describe.

    MVAE (method poe) has the prior in every product, so that a modality alone is q(z | x_m) N(0, I). MVTCAE
    (Hwang et al. 2021) has it in none.

    >>> bound_of(TrialConfig(method="moe"), 2).subset_weights
    (1.0, 0.0)
    """
    rest = (0.0,) * (n_modalities - 1)
    match config.method:
        case "poe":
            return Bound(
                subset_weights=(*rest, 1.0), prior_expert="all", unimodal_elbos=config.unimodal_elbos
            )
        case "mvtcae":
            return Bound(subset_weights=(*rest, 1.0), prior_expert="none", tc_ratio=config.tc_ratio)
        case "moe":
            return Bound(
                subset_weights=(1.0, *rest),
                prior_expert=config.prior_expert,
                mixture_of_experts=True,
                posterior=config.posterior,
            )
        case "mopoe":
            weights = config.subset_weights
            if config.mixture_path is not None:
                weights = path_weights(config.mixture_path, n_modalities)
            return Bound(
                subset_weights=weights,
                prior_expert=config.prior_expert,
                learned_weights=config.learned_weights,
            )


def check_modalities(config: TrialConfig, n_modalities: int) -> None:
    """Refuse settings that hold one number per modality or per subset, but not as many as there are.

    Raises:
        ConfigError: names the setting and both numbers.
    """
    for name in LISTS:
        check_length(name, getattr(config, name), n_modalities)


def check_length(name: str, value: object, n_modalities: int) -> None:
    """Refuse the value of one of `LISTS` if it is a list of another length; ConfigError has both numbers."""
    if not isinstance(value, tuple):
        return
    if name == "subset_weights":
        mixture_weights(value, n_modalities)
    elif len(value) != n_modalities:
        raise ConfigError(
            f"{name} has length {len(value)}, but must have {n_modalities} numbers, one per modality"
        )


def likelihood_weights(config: TrialConfig, modalities: Sequence[ModalitySpec]) -> dict[str, float]:
    """Return the weight in the loss of each modality's log-likelihood, by name.

    "dimensions" is the papers' rule: 1 for the modality with the most elements, for the others the ratio of
    that number to their own, so that none drowns in the others.

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
    """Return the weight of each modality's private KL beside the shared one: beta_style times its own."""
    own = config.style_weights or (1.0,) * n_modalities
    return tuple(config.beta_style * weight for weight in own)


def beta_at(step: int, steps_per_epoch: int, config: TrialConfig) -> float:
    """Return the weight of the KL term at an optimiser step.

    It goes from `beta_start` to `beta` over the warm-up: by the same amount at every step (linear), along
    half a cosine wave, or (cyclical, Fu et al. 2019) again and again, in the first half of each period of
    that length and constant in its second.

    Args:
        step: steps taken before this one in the whole trial.
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
