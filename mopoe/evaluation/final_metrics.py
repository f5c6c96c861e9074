"""Measurements beside the objectives, as records: some of every evaluation, the extras of the last alone.

Each gives back `SubsetMetric`s named in `mopoe.reports.METRICS`; all see the noise and the held-out samples
that the rest of the evaluation sees. An extra that fails costs its own number and no other. Axes: N sample,
S subset.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mopoe.data.container import MultimodalData, Split, to_unit
from mopoe.errors import ConfigError
from mopoe.evaluation.classifiers import Classifiers
from mopoe.evaluation.coherence import joint_coherence, mean_estimate
from mopoe.evaluation.frechet import (
    Features,
    classifier_features,
    frechet_distance,
    generated_features,
    inception_features,
    real_features,
)
from mopoe.evaluation.generation import fit_prior, source_latents
from mopoe.evaluation.log_likelihood import log_likelihood
from mopoe.evaluation.representation import linear_probe
from mopoe.evaluation_config import EvaluationConfig, Extra
from mopoe.likelihoods import Likelihood
from mopoe.model import MoPoE
from mopoe.plugins import reason
from mopoe.reports import SubsetMetric

FITTED = 10_000
"""Training samples that the mixture prior is fitted to."""
CONSTANT = 1000
"""Training samples that the best constant is found of."""
ROWS = 256
"""Samples decoded at a time."""


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
        ConfigError: Frechet distances are asked for, but a classifier has no features to compare by; or fid,
            but no weights of Inception.
        DataError: the weights of Inception cannot be read.
    """
    if "fid" in config.extras:
        if not config.inception_weights:
            raise ConfigError("extras contains fid, but inception_weights names no file")
        inception_features(Path(config.inception_weights), torch.device("cpu"))
    for name, network in classifiers.networks.items():
        if "frechet" in config.extras and not hasattr(network, "features"):
            raise ConfigError(
                f"extras contains frechet, but the classifier of {name!r} has no part `features`"
            )


def extra_metrics(model: MoPoE, materials: Materials) -> tuple[SubsetMetric, ...]:
    """Return all metrics of the extras that the config names."""
    found: list[SubsetMetric] = []
    for name in materials.config.extras:
        metric, measure = _EXTRAS[name]
        with guarded(metric) as failed:
            found += measure(model, materials)
        found += failed
    return tuple(found)


@contextmanager
def guarded(metric: str, target: str | None = None, mask: int = 0) -> Iterator[list[SubsetMetric]]:
    """Give a list that will hold the metric as NaN with the reason, if it cannot be measured."""
    failed: list[SubsetMetric] = []
    try:
        yield failed
    except Exception as error:  # whatever a library raises
        if isinstance(error, getattr(torch, "AcceleratorError", ())):
            raise  # this process can use its GPU no more
        nothing = record(mask, metric, (math.nan, None), 0, target)
        failed.append(replace(nothing, error=reason(error)))


def reconstruction_metrics(model: MoPoE, materials: Materials, split: Split) -> Iterator[SubsetMetric]:
    """Give each modality's negative log-likelihood given the full set, and what a constant would leave of it.

    A decoder that stays on the plateau of a constant explains next to nothing of its modality, which a sum
    over modalities does not show.
    """
    c, device, full = materials.config, materials.device, model.masks[-1]
    n = min(c.likelihood_samples, len(split))
    log_p: dict[str, list[Tensor]] = {name: [] for name in model.names}
    with torch.inference_mode():
        for start in range(0, n, ROWS):
            stop = min(start + ROWS, n)
            z_BZ, style_MBW = source_latents(model, split, full, c.seed, "nll", start, stop)
            x = split.batch(slice(start, stop), device)
            for name, log_p_B in model.log_prob(z_BZ, x, style_MBW).items():
                log_p[name].append(log_p_B.double())
        for m in materials.data.modalities:
            nll_N = -torch.cat(log_p[m.name])
            yield record(full, "nll", mean_estimate(nll_N.cpu()), n, m.name)
            likelihood, floor = model.likelihood(m.name), -model.likelihood(m.name).most(math.prod(m.shape))
            real = to_unit(split.stored(m.name, slice(0, n)).to(device))
            output = _constant(materials.data, m.name, likelihood)
            if output is not None and math.isfinite(floor):
                blind = output.to(device).expand(n, *output.shape[1:])
                worst = -likelihood.log_prob(blind, real).double().mean()
                share = float((worst - nll_N.mean()) / (worst - floor))
                yield record(full, "explained", (share, None), n, m.name)


_constants: dict[tuple[str, str, type[Likelihood]], Tensor | None] = {}


def _constant(data: MultimodalData, name: str, likelihood: Likelihood) -> Tensor | None:
    """Return the output that fits training samples best without a latent, found once per process."""
    key = (data.fingerprint, name, type(likelihood))
    if key not in _constants:
        x = to_unit(data.train.complete().stored(name, slice(0, CONSTANT)))
        _constants[key] = likelihood.constant(x)
    return _constants[key]


def trained_numbers(model: MoPoE) -> Iterator[SubsetMetric]:
    """Give what is trained and is no network's weight: learned mixture weights, learned scales."""
    if model.bound.learned_weights:
        for mask, weight in zip(model.masks, model.weights_S.detach().tolist(), strict=True):
            yield record(mask, "mixture_weight", (weight, None), 0)
    for name in model.names:
        if isinstance(scale := getattr(model.likelihood(name), "scale", None), Tensor):
            yield record(0, "likelihood_scale", (float(scale.detach()), None), 0, name)


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
    return _distances(model, m, "frechet", classifier_features(m.classifiers))


def _fid(model: MoPoE, m: Materials) -> Iterator[SubsetMetric]:
    features = inception_features(Path(m.config.inception_weights), m.device)
    return _distances(model, m, "fid", features)


def _distances(model: MoPoE, m: Materials, metric: str, features: Features) -> Iterator[SubsetMetric]:
    """Give the Frechet distances of real features from those of samples of every subset, and of the prior."""
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
            value = math.nan
            with guarded(metric, name, mask) as failed:
                value = frechet_distance(real[name], made_ND)
            yield from failed or [record(mask, metric, (value, None), n, name)]


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


_EXTRAS: Mapping[Extra, tuple[str, Callable[[MoPoE, Materials], Iterator[SubsetMetric]]]] = {
    "representation": ("representation", _representation),
    "frechet": ("frechet", _frechet),
    "conditional_likelihood": ("log_likelihood_conditional", _conditional_likelihood),
    "mixture_prior": ("joint_coherence_mixture", _mixture_prior),
    "fid": ("fid", _fid),
}
"""What each extra measures, and how."""
