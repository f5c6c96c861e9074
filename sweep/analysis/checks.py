"""Checks of what might make a sweep's conclusions wrong."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import polars as pl

from mopoe.reports import Z_95
from sweep.analysis.points import last_evaluation
from sweep.analysis.summaries import failure_reasons, still_rising
from sweep.analysis.tradeoff import Tradeoff
from sweep.store.layout import OBJECTIVE, PARAMETER
from sweep.store.records import searched_by_logarithm

EXPLAINED = 0.05
"""A model that explains a smaller share of a modality hardly beats a constant output."""
BEHIND = 1 / 3
"""Nor does one that explains less than this part of what the best model does after as many epochs."""
JUDGE = 0.9
"""A classifier that is right about a smaller share of held-out labels is a poor judge of coherence."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    check: str
    """What was checked, in a word or two."""
    result: Literal["warn", "unknown", "pass"]
    """Whether there is a reason to worry."""
    sentence: str
    """What was found and, if it is a problem, what helps."""


def run_checks(
    tradeoff: Tradeoff, metrics: pl.DataFrame, explained: pl.DataFrame, curves: pl.DataFrame
) -> tuple[Check, ...]:
    """Return the results of all checks.

    Args:
        tradeoff: the trade-off, of a config or more.
        metrics: rows of the subset_metrics table of the picks' last evaluations.
        explained: those of the metric `explained` of all trials and evaluations.
        curves: columns trial_id and elbo, a row per trial and epoch, in the order of the epochs.
    """
    return (
        training_check(tradeoff.trials, curves),
        bounds_check(tradeoff),
        seeds_check(tradeoff),
        resolution_check(tradeoff),
        constant_check(tradeoff),
        failure_check(tradeoff.trials),
        posterior_check(metrics),
        constant_baseline_check(explained),
        estimator_check(metrics, tradeoff),
        *([judges_check(tradeoff.manifest.classifier_accuracy)] if tradeoff.manifest.n_classes != 0 else []),
        split_check(tradeoff.manifest.spec),
    )


def training_check(trials: pl.DataFrame, curves: pl.DataFrame) -> Check:
    """Check that at most half of the completed trials still improved when they ended."""
    rising, n = still_rising(trials, curves)
    if not n:
        return Check("training", "unknown", "This needs a completed trial of ten epochs or more.")
    ended = f"{rising or 'None'} of {n} completed trial{'s' * (n > 1)}"
    sentence = f"{ended} still raised the ELBO by more than 1 % in the last tenth of the epochs"
    return _check("training", 2 * rising > n, f"{sentence}: raise fixed.epochs.", f"{sentence}.")


def bounds_check(tradeoff: Tradeoff) -> Check:
    """Check that no bound of the search space has half of the front, and two configs, within 2 % of it."""
    front, parts = tradeoff.configs.filter(tradeoff.on_front), []
    for name, written in tradeoff.manifest.spec.get("search_space", {}).items():
        if {"low", "high"} <= written.keys() and PARAMETER + name in front.columns:
            log = searched_by_logarithm(written)
            if not front[PARAMETER + name].dtype.is_numeric():
                continue  # another file of the same sweep has strings there
            values = front[PARAMETER + name].drop_nulls().to_numpy()
            values = values[values > 0] if log else values
            low, high, at = (np.log(v) if log else v for v in (written["low"], written["high"], values))
            place = (at - low) / (high - low)
            for bound, near in (("low", (place < 0.02).sum()), ("high", (place > 0.98).sum())):
                if near >= max(2, len(values) / 2):
                    parts.append(f"{name} at its {bound} bound {written[bound]:g} ({near} of {len(values)})")
    worry = f"Half of the front lies at the edge of the search space: {'; '.join(parts)}. Widen it there."
    return _check("search space", parts, worry, "At no edge of the search space lies half of the front.")


def seeds_check(tradeoff: Tradeoff) -> Check:
    """Check that every config of the front has three seeds or more."""
    seeds = tradeoff.configs.filter(tradeoff.on_front)["seeds"]
    few = int((seeds < 3).sum())
    worry = f"{few} of {len(seeds)} configs of the front have fewer than 3 seeds: raise replicates.seeds."
    return _check("seeds", few, worry, "Every config of the front has 3 seeds or more.")


def resolution_check(tradeoff: Tradeoff) -> Check:
    """Check that at least half of the neighbours on the front can be told apart.

    That is in the objective in which they differ most, by the 95 % interval of the difference itself, as all
    trials are measured on the same held-out samples. Neighbours are next to each other in the order by some
    objective.
    """
    points, front = tradeoff.points, np.flatnonzero(tradeoff.on_front)
    orders = front[points.values[front].argsort(axis=0, kind="stable")].T.tolist()
    pairs = sorted({(min(pair), max(pair)) for order in orders for pair in pairwise(order)})
    if not pairs:
        return Check("resolution", "unknown", "This needs two configs on the front.")
    steps = np.array([np.abs(points.values[a] - points.values[b]) for a, b in pairs])
    errors = np.array([tradeoff.inference.difference_error(a, b) for a, b in pairs])
    apart, n = int((steps > Z_95 * errors).any(axis=1).sum()), len(pairs)
    unknown = [o.replace("_", " ") for o, e in zip(points.names, errors.T, strict=True) if np.isnan(e).any()]
    if unknown and 2 * apart < n:
        why = f"Standard errors of {' and '.join(unknown)} are not known for all configs of the front."
        return Check("resolution", "unknown", why)
    over = "seeds and held-out samples" if tradeoff.inference.posterior else "held-out samples alone"
    told = f"{apart or 'none'} of {n} pair{'s' * (n > 1)}"
    sentence = (
        f"Neighbours on the front can be told apart in {told}: a pair can if the 95 % interval of the "
        f"difference itself (over {over}) excludes 0 in some objective."
    )
    return _check("resolution", 2 * apart < n, sentence, sentence)


def constant_check(tradeoff: Tradeoff) -> Check:
    """Check that every objective varies, given two configs or more."""
    spans = zip(tradeoff.points.names, np.ptp(tradeoff.points.values, axis=0), strict=True)
    same = [n.replace("_", " ") for n, span in spans if not span]
    if tradeoff.configs.height < 2:
        return Check("objectives", "unknown", "This needs two configs.")
    worry = f"All configs have the same {' and '.join(same)}, so it cannot tell them apart."
    return _check("objectives", same, worry, "Every objective varies.")


def failure_check(trials: pl.DataFrame) -> Check:
    """Check that at most a tenth of the trials that ended have failed."""
    ended, failed = trials.filter(pl.col("status") != "running").height, trials.filter(status="failed")
    sentence = f"{failed.height} of {ended} finished trials have failed"
    sentence += f": most often because {failure_reasons(trials)[0][0]}." if failed.height else "."
    return _check("failures", failed.height * 10 > ended, sentence, sentence)


def posterior_check(metrics: pl.DataFrame) -> Check:
    """Check that no modality of a pick has a posterior collapsed onto the prior."""
    dead = metrics.filter(metric="collapsed", value=1.0).select("subset_label", "trial_id")
    parts = [f"{label} of {trial}" for label, trial in dead.unique().sort("trial_id", "subset_label").rows()]
    worry = f"The posterior has collapsed onto the prior for {', '.join(parts)}: lower beta or warm it up."
    clear = "No modality of a pick has collapsed onto the prior."
    return _check("posteriors", parts, worry, clear, known="collapsed" in metrics["metric"])


def plateaus(explained: pl.DataFrame) -> list[str]:
    """Return a clause for each modality that some trials hardly explain better than a constant.

    Args:
        explained: rows of the metric `explained`, all evaluations.
    """
    explained = explained.filter(pl.col("value").is_finite())
    best = explained.group_by("target", "epoch").agg(pl.col("value").max().alias("best")).sort("epoch")
    best = best.with_columns(pl.col("best").cum_max().over("target"))
    last = last_evaluation(explained).join(best, on=["target", "epoch"])
    behind = pl.max_horizontal(pl.lit(EXPLAINED), BEHIND * pl.col("best"))
    low = last.filter(pl.col("value") < behind).sort("target", "trial_id")
    clauses = []
    for (target,), rows in low.group_by("target", maintain_order=True):
        of, some = last.filter(target=target).height, rows["trial_id"].to_list()
        named = ", ".join(some[:5]) + (" and others" if len(some) > 5 else "")
        those = f"{len(some)} of {of} trials ({named})"
        clauses.append(f"{target} is hardly better than a constant prediction in {those}")
    return clauses


def constant_baseline_check(explained: pl.DataFrame) -> Check:
    """Check that every trial explains each modality better than a constant does."""
    parts = plateaus(explained)
    help_ = "more epochs, a lower beta or another likelihood may help"
    worry = f"{'; '.join(parts)}: compare their likelihoods with care; {help_}."
    clear = "For each modality, every trial explains at least a third of what the best trial explains."
    return _check("plateaus", parts, worry, clear, known=explained.height > 0)


def estimator_check(metrics: pl.DataFrame, tradeoff: Tradeoff) -> Check:
    """Check that the picks' log p(X) rest on two effective importance samples and are not too low.

    What is missing from a pick's, as far as that is known, may be a tenth of what the front spans.
    """
    front = tradeoff.configs.filter(tradeoff.on_front).get_column(OBJECTIVE + "log_likelihood", default=None)
    span = math.inf if front is None or front.len() < 2 else float(np.ptp(front.to_numpy()))
    joint = metrics.filter(pl.col("subset_size") == pl.col("subset_size").max())
    size = min(joint.filter(metric="ess")["value"], default=math.inf)
    lacks = max(joint.filter(metric="looseness")["value"], default=0.0)
    found = f"Log-likelihoods of picks rest on {size:.1f} effective importance samples"
    low = f" and are at least {lacks:.2g} nats too low" if lacks else ""
    low += f", of the {span:.3g} that the front spans" if lacks and span < math.inf else ""
    worry = f"{found}{low}: raise evaluation.importance_samples."
    clear = f"{found} or more" + (f" and are about {lacks:.2g} nats too low at most." if lacks else ".")
    return _check("likelihood", size < 2 or lacks > span / 10, worry, clear, known=size < math.inf)


def judges_check(accuracy: Mapping[str, float]) -> Check:
    """Check that the classifiers that judge coherence are right about most labels of real held-out samples.

    Args:
        accuracy: the share of the labels, or attributes, by modality; empty if it was not recorded.
    """
    if not accuracy:
        return Check("judges", "unknown", "The accuracy of the classifiers was not recorded.")
    poor = [f"{100 * s:.0f} % in {m}" for m, s in accuracy.items() if s < JUDGE]
    right = "The classifiers that judge coherence are right about"
    worry = f"{right} few held-out labels: {' and '.join(poor)}; low coherence there may be their fault."
    clear = f"{right} at least {100 * JUDGE:.0f} % of held-out labels in every modality."
    return _check("judges", poor, worry, clear)


def split_check(spec: Mapping[str, Any]) -> Check:
    """Check that the objectives were not measured on the test split."""
    split = spec.get("evaluation", {}).get("split", "validation")
    worry = "Picks were chosen by values on the test split, so these values are too optimistic to report."
    clear = f"Picks were chosen on the {split} split; `sweep evaluate DIR --split test` tests their weights."
    return _check("split", split == "test", worry, clear)


def _check(check: str, bad: object, worry: str, clear: str, *, known: bool = True) -> Check:
    if not known:
        return Check(check, "unknown", "This was not measured for the picks.")
    return Check(check, "warn", worry) if bad else Check(check, "pass", clear)
