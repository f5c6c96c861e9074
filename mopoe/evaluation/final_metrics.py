"""Metrics beside the objectives: those of every evaluation, and the final metrics of the last one alone.

All return `SubsetMetric`s named in `mopoe.reports.METRICS`, measured on the same held-out samples with the
same noise as the rest of the evaluation. A sweep's file names them under `final_metrics`; if one fails, only
its own value is missing. Axes: B batch, D feature, N sample, S subset.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mopoe.data.container import MultimodalData, Split, chunks, to_unit
from mopoe.data.registry import COVARIATES
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
from mopoe.evaluation.log_likelihood import LogLikelihood, log_likelihood
from mopoe.evaluation.mmd import squared_mmd
from mopoe.evaluation.representation import linear_probe
from mopoe.evaluation_config import EvaluationConfig, FinalMetric
from mopoe.likelihoods import Likelihood
from mopoe.model import MoPoE
from mopoe.plugins import reason
from mopoe.reports import NEED_LABELS, SampleValues, SubsetMetric
from mopoe.subsets import subset_label, subset_members

FITTED = 10_000
"""Training samples to which the mixture prior is fitted."""
CONSTANT = 1000
"""Training samples from which the best constant output is computed."""
ROWS = 256
"""Samples decoded at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalContext:
    """What metrics are measured with."""

    data: MultimodalData
    """The data set."""
    classifiers: Classifiers
    """Its classifiers."""
    config: EvaluationConfig
    """The sample sizes, and which final metrics are measured."""


def check_final_metrics(config: EvaluationConfig, classifiers: Classifiers) -> None:
    """Check that the final metrics can be measured, before anything is trained.

    Raises:
        ConfigError: one needs labels, but there are none; frechet is asked for, but a classifier has no
            features; or fid, but no Inception weights.
        DataError: the Inception weights cannot be read.
    """
    if "fid" in config.final_metrics:
        if not config.inception_weights:
            raise ConfigError("final_metrics contains fid, but inception_weights names no file")
        inception_features(Path(config.inception_weights), torch.device("cpu"))
    needing = [name for name in config.final_metrics if name in NEED_LABELS]
    if needing and not classifiers.networks:
        raise ConfigError(f"final_metrics contains {needing[0]}, but the data set has no labels")
    for name, network in classifiers.networks.items():
        if "frechet" in config.final_metrics and not hasattr(network, "features"):
            raise ConfigError(
                f"final_metrics contains frechet, but the classifier of {name!r} has no part `features`"
            )


def final_metrics(model: MoPoE, context: EvalContext) -> tuple[list[SubsetMetric], list[SampleValues]]:
    """Return all final metrics that the config names, and by sample those that are one mean over samples."""
    metrics: list[SubsetMetric] = []
    by_sample: list[SampleValues] = []
    for name in context.config.final_metrics:
        possible, measure = _FINAL_METRICS[name]
        with guarded(possible[0]) as failed:
            for found in measure(model, context):
                if isinstance(found, SampleValues):
                    by_sample.append(found)
                else:
                    metrics.append(found)
        metrics += [replace(nan, metric=metric) for nan in failed for metric in possible]
    return metrics, by_sample


@contextmanager
def guarded(metric: str, target: str | None = None, mask: int = 0) -> Iterator[list[SubsetMetric]]:
    """Give a list to which the metric is added, as NaN with the reason, if the block fails."""
    failed: list[SubsetMetric] = []
    try:
        yield failed
    except Exception as error:  # a library may raise anything
        if isinstance(error, getattr(torch, "AcceleratorError", ())):
            raise  # this process cannot use its GPU any more
        nan = subset_metric(mask, metric, (math.nan, None), 0, target)
        failed.append(replace(nan, error=reason(error)))


def reconstruction_metrics(model: MoPoE, context: EvalContext, split: Split) -> Iterator[SubsetMetric]:
    """Give each modality's negative log-likelihood (nll) given the full set, and the share that is explained.

    The share is 0 for a decoder whose output is the best constant and 1 for a perfect one. A decoder stuck at
    a constant explains next to nothing of its modality, which the sum over modalities does not show.
    """
    full = model.masks[-1]
    for name, nll_N, shares_N in _scored(model, context, split, full, "nll", model.names):
        yield subset_metric(full, "nll", mean_estimate(nll_N), len(nll_N), name)
        if shares_N is not None:
            yield subset_metric(full, "explained", (float(shares_N.mean()), None), len(nll_N), name)


def _scored(
    model: MoPoE, context: EvalContext, split: Split, mask: int, purpose: str, names: Sequence[str]
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Give each target's negative log-likelihoods [N] given latents of a subset, and explained shares [N].

    The share is the ratio of two means, what the model takes off a constant's nll and what there is to take
    off; by sample stand the values whose mean is the ratio and whose deviations are its own, to first order
    (Cochran 1977, section 6.3).
    """
    c, device, log_p = context.config, model.device, {name: list[Tensor]() for name in names}
    n = min(c.likelihood_samples, len(split))
    with torch.inference_mode():
        for start, stop in chunks(n, ROWS):
            z_BZ, style_MBW, _ = source_latents(model, split, mask, c.seed, purpose, start, stop)
            x = split.batch(slice(start, stop), device)
            wanted = {name: x[name] for name in (*names, COVARIATES) if name in x}
            for name, log_p_B in model.log_prob(z_BZ, wanted, style_MBW).items():
                log_p[name].append(log_p_B.double())
        for m in (m for m in context.data.modalities if m.name in names):
            nll_N, shares_N = -torch.cat(log_p[m.name]), None
            likelihood, least = model.likelihood(m.name), -model.likelihood(m.name).most(math.prod(m.shape))
            real = to_unit(split.stored(m.name, slice(0, n)).to(device))
            output = _constant_output(context.data, m.name, likelihood)
            if output is not None and math.isfinite(least):
                constant = output.to(device).expand(n, *output.shape[1:])
                baseline_N = -likelihood.log_prob(constant, real).double()
                whole_N, taken_N = baseline_N - least, baseline_N - nll_N
                share = taken_N.mean() / whole_N.mean()
                shares_N = (share + (taken_N - share * whole_N) / whole_N.mean()).cpu()
            yield m.name, nll_N.cpu(), shares_N


_constants: dict[tuple[str, str, type[Likelihood]], Tensor | None] = {}


def _constant_output(data: MultimodalData, name: str, likelihood: Likelihood) -> Tensor | None:
    """Return the constant output that fits training samples best, computed once per process."""
    key = (data.fingerprint, name, type(likelihood))
    if key not in _constants:
        x = to_unit(data.train.complete().stored(name, slice(0, CONSTANT)))
        _constants[key] = likelihood.constant(x)
    return _constants[key]


def likelihood_metrics(mask: int, found: LogLikelihood) -> Iterator[SubsetMetric]:
    """Give the effective sample size of a subset's log-likelihood and, where it is known, its looseness."""
    yield subset_metric(mask, "ess", mean_estimate(found.ess_N), len(found.ess_N))
    if not found.rise_N.isnan().all():
        yield subset_metric(mask, "looseness", mean_estimate(found.rise_N), len(found.rise_N))


def largest_log_likelihood(model: MoPoE, data: MultimodalData, mask: int) -> float:
    """Return the largest log p(X_A) in nats that a model's likelihoods allow; inf if one does not say.

    The same holds for log p(X_A | X_B), as both are averages of p(X_A | z) over latents.
    """
    chosen = [data.modalities[m] for m in subset_members(mask)]
    return sum(model.likelihood(m.name).most(math.prod(m.shape)) for m in chosen)


def impossible(value: float, largest: float) -> bool:
    """Return whether a log-likelihood is above the largest one by more than rounding."""
    return value > largest + 1e-6 * abs(largest)


def parameter_metrics(model: MoPoE) -> Iterator[SubsetMetric]:
    """Give the trained parameters that are not weights of networks: mixture weights and likelihood scales."""
    if model.method.learned_weights:
        for mask, weight in zip(model.masks, model.weights_S.detach().tolist(), strict=True):
            yield subset_metric(mask, "mixture_weight", (weight, None), 0)
    for name in model.names:
        if isinstance(scale := getattr(model.likelihood(name), "scale", None), Tensor):
            yield subset_metric(0, "likelihood_scale", (float(scale.detach().mean()), None), 0, name)


def subset_metric(
    mask: int, metric: str, estimate: tuple[float, float | None], n: int, target: str | None = None
) -> SubsetMetric:
    """Return a metric from a value and its standard error, if it has one."""
    value, stderr = estimate
    return SubsetMetric(subset_mask=mask, metric=metric, target=target, value=value, stderr=stderr, n=n)


def _representation(model: MoPoE, c: EvalContext) -> Iterator[SubsetMetric]:
    split = c.data.split(c.config.split).complete()
    n = min(c.config.coherence_samples, len(split))
    score_S = linear_probe(model, c.data.train, split, n, c.config.seed)
    for mask, score in zip(model.masks, score_S.tolist(), strict=True):
        error = math.sqrt(score * (1 - score) / n) if split.labels.dim() == 1 else None
        yield subset_metric(mask, "representation", (score, error), n)


def _frechet(model: MoPoE, c: EvalContext) -> Iterator[SubsetMetric]:
    return _distances(model, c, ("frechet", "mmd"), classifier_features(c.classifiers), model.names)


def _fid(model: MoPoE, c: EvalContext) -> Iterator[SubsetMetric]:
    features = inception_features(Path(c.config.inception_weights), model.device)
    # Inception was trained on images, which have 1 or 3 colours.
    images = [m.name for m in c.data.modalities if len(m.shape) == 3 and m.shape[0] in (1, 3)]
    return _distances(model, c, ("fid", "kid"), features, images)


def _distances(
    model: MoPoE, c: EvalContext, metrics: tuple[str, str], features: Features, names: Sequence[str]
) -> Iterator[SubsetMetric]:
    """Give the distances between real samples and those generated from every subset and the prior.

    The metrics are the names of the Frechet distance and of the squared MMD in these features.
    """
    frechet, mmd = metrics
    config, split = c.config, c.data.split(c.config.split).complete()
    n = min(config.coherence_samples, len(split))
    real = {name: real_features(c.data, config.split, name, n, features, model.device) for name in names}
    sizes = config.subset_sizes
    for mask in (0, *(mask for mask in model.masks if not sizes or mask.bit_count() in sizes)):
        generated = generated_features(model, split, mask, features, n, config.seed, names)
        for name, generated_ND in generated.items():
            with guarded(frechet, name, mask) as failed:
                distance = frechet_distance(real[name], generated_ND)
                yield subset_metric(mask, frechet, (distance, None), n, name)
            yield from failed
            with guarded(mmd, name, mask) as failed:
                yield subset_metric(mask, mmd, squared_mmd(real[name], generated_ND), n, name)
            yield from failed


def _conditional_likelihood(model: MoPoE, c: EvalContext) -> Iterator[SubsetMetric | SampleValues]:
    """Give log p(X_A) of every subset, and the conditionals log p(. | X_A) as differences of these.

    By sample: the mean of the conditionals of single targets, which share their samples. Last, the share of
    each modality that is explained by all others.
    """
    config, split = c.config, c.data.split(c.config.split).complete()
    full, found, of_targets = model.masks[-1], {}, list[Tensor]()
    for mask in model.masks:
        amounts = (config.likelihood_samples, config.importance_samples, config.seed)
        found[mask] = log_likelihood(model, split, *amounts, observed=mask)
    for mask, own in found.items():
        n = len(own.log_p_N)
        yield _possible(model, c, subset_metric(mask, "log_likelihood", mean_estimate(own.log_p_N), n), mask)
        if mask == full:
            break  # nothing is left to predict, and its other metrics are those of every evaluation
        yield from likelihood_metrics(mask, own)
        for target in (None, *subset_members(full & ~mask)):
            scored, name = (full & ~mask, None) if target is None else (1 << target, model.names[target])
            log_p_N = found[mask | scored].log_p_N - own.log_p_N
            of_targets += [log_p_N] * (name is not None)
            metric = subset_metric(mask, "log_likelihood_conditional", mean_estimate(log_p_N), n, name)
            yield _possible(model, c, metric, scored)
    for m, name in enumerate(model.names if of_targets else ()):
        others = full & ~(1 << m)
        for _, _, shares_N in _scored(model, c, split, others, "predicted", [name]):
            if shares_N is not None:
                yield subset_metric(others, "predicted", mean_estimate(shares_N), len(shares_N), name)
    if of_targets:
        mean_N = torch.stack(of_targets).double().mean(0)
        yield SampleValues(metric="log_likelihood_conditional", values=tuple(mean_N.tolist()))


def _possible(model: MoPoE, c: EvalContext, metric: SubsetMetric, scored: int) -> SubsetMetric:
    """Return a log-likelihood of the subset `scored`, or NaN with the reason if it cannot be so large."""
    if not impossible(metric.value, most := largest_log_likelihood(model, c.data, scored)):
        return metric
    own, what = (subset_label(mask, model.names) for mask in (metric.subset_mask, scored))
    why = "the posteriors are too narrow for an estimate; lower lr"
    if scored != metric.subset_mask:
        what, why = f"{what} | {own}", f"log p({own}) is too loose; raise evaluation.importance_samples"
    found = f"log p({what}) would be {metric.value:.6g}, but the likelihoods allow {most:.6g} at most"
    return replace(metric, value=math.nan, stderr=None, error=f"{found}: {why}")


def _mixture_prior(model: MoPoE, c: EvalContext) -> Iterator[SubsetMetric]:
    n, seed, attributes = c.config.joint_samples, c.config.seed, c.data.train.labels.dim() > 1
    prior = fit_prior(model, c.data.train, FITTED, seed=seed)
    given = c.data.split(c.config.split).complete().x.get(COVARIATES)
    drawn = (model, c.classifiers, n, seed)
    joint = joint_coherence(*drawn, attributes=attributes, prior=prior, covariates_NC=given)
    yield subset_metric(0, "joint_coherence_mixture", joint.plain(), n)


_Measure = Callable[[MoPoE, EvalContext], Iterator[SubsetMetric | SampleValues]]
_FINAL_METRICS: Mapping[FinalMetric, tuple[Sequence[str], _Measure]] = {
    "representation": (["representation"], _representation),
    "frechet": (["frechet", "mmd"], _frechet),
    "conditional_likelihood": (["log_likelihood_conditional", "predicted"], _conditional_likelihood),
    "mixture_prior": (["joint_coherence_mixture"], _mixture_prior),
    "fid": (["fid", "kid"], _fid),
}
"""By the name in a sweep's file: the metrics that are NaN if all fails, and what measures them."""
