"""Which bound a config's trial maximises: the mixture, the extra terms, and the weights of its parts.

Imports nothing heavy. `mopoe.objective` computes what is decided here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mopoe.config import LikelihoodWeights, PriorExpert, TrialConfig
from mopoe.data.registry import ModalitySpec
from mopoe.subsets import path_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A method as a point of one family: a mixture over subsets, and what is added to its ELBO."""

    subset_weights: tuple[float, ...] | None
    """Mixture weights in a form that `mopoe.subsets.mixture_weights` reads."""
    prior_expert: PriorExpert
    """Which products of experts include the prior, in training and in evaluation."""
    unimodal_elbos: bool
    """Whether one ELBO per modality is added to that of the mixture."""


def bound_of(config: TrialConfig, n_modalities: int) -> Bound:
    """Return the bound that a config's method, weights and prior expert describe.

    MVAE (method poe) has the prior in every product, so that a modality alone is q(z | x_m) N(0, I).

    >>> bound_of(TrialConfig(method="moe"), 2)
    Bound(subset_weights=(1.0, 0.0), prior_expert='full', unimodal_elbos=False)
    """
    rest = (0.0,) * (n_modalities - 1)
    match config.method:
        case "poe":
            return Bound(
                subset_weights=(*rest, 1.0), prior_expert="all", unimodal_elbos=config.unimodal_elbos
            )
        case "moe":
            weights: tuple[float, ...] | None = (1.0, *rest)
        case "mopoe":
            weights = config.subset_weights
            if config.mixture_path is not None:
                weights = path_weights(config.mixture_path, n_modalities)
    return Bound(subset_weights=weights, prior_expert=config.prior_expert, unimodal_elbos=False)


def likelihood_weights(kind: LikelihoodWeights, modalities: Sequence[ModalitySpec]) -> dict[str, float]:
    """Return the weight in the loss of each modality's log-likelihood, by name.

    "dimensions" is the papers' rule: 1 for the modality with the most elements, for the others the ratio of
    that number to their own, so that none drowns in the others.

    >>> shapes = {"svhn": (3, 32, 32), "text": (8,)}
    >>> likelihood_weights("dimensions", [ModalitySpec(name=n, shape=s) for n, s in shapes.items()])
    {'svhn': 1.0, 'text': 384.0}
    """
    sizes = {m.name: math.prod(m.shape) for m in modalities}
    largest = max(sizes.values())
    return {name: largest / size if kind == "dimensions" else 1.0 for name, size in sizes.items()}


def beta_at(step: int, steps_per_epoch: int, config: TrialConfig) -> float:
    """Return the weight of the KL term at an optimiser step.

    Args:
        step: steps taken before this one in the whole trial.
        steps_per_epoch: steps in one pass over the training split.
        config: the settings `beta` and `beta_warmup_epochs`.

    >>> [beta_at(step, 2, TrialConfig(beta=1.0, beta_warmup_epochs=2)) for step in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    warmup = config.beta_warmup_epochs * steps_per_epoch
    return config.beta if step >= warmup else config.beta * step / warmup
