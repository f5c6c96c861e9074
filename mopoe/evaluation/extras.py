"""Measurements of the last epoch alone, which no sweep could afford at every rung, as records.

Each gives back `SubsetMetric`s named in `mopoe.records.METRICS`; all see the noise and the held-out samples
that the rest of the evaluation sees. Axes: N sample, S subset.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mopoe.data.container import MultimodalData
from mopoe.errors import ConfigError
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.coherence import joint_coherence
from mopoe.evaluation.frechet import (
    Features,
    classifier_features,
    frechet_distance,
    generated_features,
    inception_features,
    real_features,
)
from mopoe.evaluation.log_likelihood import log_likelihood
from mopoe.evaluation.precision_recall import precision_recall
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
        ConfigError: Frechet distances are asked for, but a classifier has no features to compare by; or fid
            or prd, but no weights of Inception.
        DataError: the weights of Inception cannot be read.
    """
    if {"fid", "prd"} & set(config.extras):
        if not config.inception_weights:
            raise ConfigError("extras contains fid or prd, but inception_weights names no file")
        inception_features(Path(config.inception_weights), torch.device("cpu"))
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
    return _distances(model, m, "frechet", classifier_features(m.classifiers), frechet_distance)


def _fid(model: MoPoE, m: Materials) -> Iterator[SubsetMetric]:
    features = inception_features(Path(m.config.inception_weights), m.device)
    return _distances(model, m, "fid", features, frechet_distance)


def _prd(model: MoPoE, m: Materials) -> Iterator[SubsetMetric]:
    features = inception_features(Path(m.config.inception_weights), m.device)
    return _distances(model, m, "prd", features, lambda real, made: precision_recall(real, made).mean)


def _distances(
    model: MoPoE,
    m: Materials,
    metric: str,
    features: Features,
    compare: Callable[[Tensor, Tensor], float],
) -> Iterator[SubsetMetric]:
    """Give how real features compare with those of samples from every subset, and from the prior."""
    c, split = m.config, m.data.split(m.config.split).complete()
    n = min(c.coherence_samples, len(split))
    # An image has 1 or 3 colours; other modalities are not what Inception was trained on.
    images = [s.name for s in m.data.modalities if len(s.shape) == 3 and s.shape[0] in (1, 3)]
    names = model.names if metric == "frechet" else tuple(images)
    real = {name: real_features(m.data, c.split, name, n, features, m.device) for name in names}
    for mask in (
        0,
        *(mask for mask in model.masks if not c.subset_sizes or mask.bit_count() in c.subset_sizes),
    ):
        for name, made_ND in generated_features(model, split, mask, features, n, c.seed, names).items():
            yield record(mask, metric, (compare(real[name], made_ND), None), n, name)


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
    "fid": _fid,
    "prd": _prd,
}
