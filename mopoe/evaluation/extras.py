"""Measurements of the last epoch alone, which no sweep could afford at every rung, as records.

Each gives back `SubsetMetric`s named in `mopoe.records.METRICS`; all see the noise and the held-out samples
that the rest of the evaluation sees. Axes: N sample, S subset.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from mopoe.data.container import MultimodalData
from mopoe.errors import ConfigError
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.coherence import joint_coherence
from mopoe.evaluation.frechet import classifier_features, frechet_distances
from mopoe.evaluation.log_likelihood import log_likelihood
from mopoe.evaluation.prior import fit_prior
from mopoe.evaluation.representation import linear_probe
from mopoe.evaluation.verdicts import mean_estimate
from mopoe.evaluation_config import EvaluationConfig, Extra
from mopoe.model import MoPoE
from mopoe.records import SubsetMetric

FITTED = 10_000
"""Training samples that the mixture prior is fitted to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """What the extras measure with."""

    data: MultimodalData
    """The data set."""
    classifiers: Classifiers
    """Its classifiers."""
    config: EvaluationConfig
    """How much is measured."""
    device: torch.device
    """Where the model lives."""


def check_extras(config: EvaluationConfig, classifiers: Classifiers) -> None:
    """Refuse extras that could not be measured, before anything is trained.

    Raises:
        ConfigError: Frechet distances are asked for, but a classifier has no features to compare by.
    """
    for name, network in classifiers.networks.items():
        if "frechet" in config.extras and not hasattr(network, "features"):
            raise ConfigError(
                f"extras contains frechet, but the classifier of {name!r} has no part `features`"
            )


def extra_metrics(model: MoPoE, materials: Materials) -> tuple[SubsetMetric, ...]:
    """Return all metrics of the extras that the config names."""
    return tuple(metric for name in materials.config.extras for metric in _EXTRAS[name](model, materials))


def record(
    mask: int, metric: str, estimate: tuple[float, float | None], n: int, target: str | None = None
) -> SubsetMetric:
    """Return a value and its standard error, if it has one, as a record."""
    value, stderr = estimate
    return SubsetMetric(subset_mask=mask, metric=metric, target=target, value=value, stderr=stderr, n=n)


def _representation(model: MoPoE, m: Materials) -> Iterator[SubsetMetric]:
    split = m.data.split(m.config.split).complete()
    n = min(m.config.coherence_samples, len(split))
    score_S = linear_probe(model, m.data.train, split, n, m.config.seed, m.device)
    for mask, score in zip(model.masks, score_S.tolist(), strict=True):
        error = math.sqrt(score * (1 - score) / n) if split.labels.dim() == 1 else None
        yield record(mask, "representation", (score, error), n)


def _frechet(model: MoPoE, m: Materials) -> Iterator[SubsetMetric]:
    features = classifier_features(m.classifiers)
    n = min(m.config.coherence_samples, len(m.data.split(m.config.split).complete()))
    sizes = m.config.subset_sizes
    for mask in (0, *(mask for mask in model.masks if not sizes or mask.bit_count() in sizes)):
        found = frechet_distances(model, m.data, m.config.split, mask, features, n, m.config.seed)
        for name, value in found.items():
            yield record(mask, "frechet", (value, None), n, name)


def _conditional_likelihood(model: MoPoE, m: Materials) -> Iterator[SubsetMetric]:
    """Give log p(X_A) of every subset, one pass each, and log p(. | X_A) as differences of these."""
    c, split = m.config, m.data.split(m.config.split).complete()
    full, log_p = model.masks[-1], {}
    for mask in model.masks:
        amounts = (c.likelihood_samples, c.importance_samples, c.seed, m.device)
        log_p[mask] = log_likelihood(model, split, *amounts, observed=mask).log_p_N
    for mask, own_N in log_p.items():
        n = len(own_N)
        yield record(mask, "log_likelihood", mean_estimate(own_N), n)
        if mask != full:
            yield record(mask, "log_likelihood_conditional", mean_estimate(log_p[full] - own_N), n)
        for i, name in enumerate(model.names):
            if not mask >> i & 1:
                alone_N = log_p[mask | 1 << i] - own_N
                yield record(mask, "log_likelihood_conditional", mean_estimate(alone_N), n, name)


def _mixture_prior(model: MoPoE, m: Materials) -> Iterator[SubsetMetric]:
    c = m.config
    prior = fit_prior(model, m.data.train, FITTED, seed=c.seed)
    attributes = m.data.train.labels.dim() > 1
    found = joint_coherence(
        model, m.classifiers, c.joint_samples, c.seed, m.device, attributes=attributes, prior=prior
    )
    yield record(0, "joint_coherence_mixture", found.plain(), len(found.agreed_N))


_EXTRAS: Mapping[Extra, Callable[[MoPoE, Materials], Iterator[SubsetMetric]]] = {
    "representation": _representation,
    "frechet": _frechet,
    "conditional_likelihood": _conditional_likelihood,
    "mixture_prior": _mixture_prior,
}
