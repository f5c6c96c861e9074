"""What a sweep found in a few sentences: its best trade-offs, how sure they are, what to be wary of."""

from typing import Any

import polars as pl

from mopoe.reports import Z_95
from sweep.analysis.checks import run_checks
from sweep.analysis.tradeoff import Tradeoff
from sweep.analysis.uncertainty import coarse
from sweep.report.formatting import corner_text, count, number, plain, with_error
from sweep.report.view import Card, View
from sweep.store.layout import OBJECTIVE, STDERR
from sweep.store.records import TrialRecord

_WORRIES = 2
"""Warnings that are told; the rest is counted."""


def nothing_yet(trade: Tradeoff) -> str:
    """Return why there is no config to show."""
    infeasible, limits = trade.trials.filter(status="infeasible"), trade.manifest.limits
    if trade.trials.filter(status="completed").height:
        return "No config has all of its seeds at full budget within the constraints, so none is compared."
    if not infeasible.height:
        return "No trial has completed with finite objectives yet, so there is nothing to compare."

    def excess(row: dict[str, Any]) -> float:
        return max((limit.excess(TrialRecord.from_row(row).measured) for limit in limits), default=0.0)

    nearest = min(infeasible.iter_rows(named=True), key=excess)
    return (
        f"All {count(infeasible.height, 'trial')} with full budget are infeasible; the closest is "
        f"{nearest['trial_id']}: {nearest['error']}."
    )


def mean_chance(pairs: pl.DataFrame) -> float | None:
    """Return the chance level of conditional coherence, or None without rows of the pair_coherence table."""
    mean: float | None = pairs.filter(~pl.col("in_source")).select(pl.mean("chance")).item()
    return mean


def futility(trade: Tradeoff, chance: float | None) -> list[str]:
    """Return sentences on why no config of a sweep is of use, which are to be said before anything else.

    Args:
        trade: the trade-off.
        chance: the chance level of conditional coherence, if known.
    """
    if not trade.configs.height:
        return []
    sentences = []
    if chance is not None and "conditional_coherence" in trade.points.names:
        name = "conditional_coherence"
        sure = trade.configs[OBJECTIVE + name] - 2 * trade.configs[STDERR + name].fill_null(0.0)
        if (sure <= chance).all():
            sentences.append(
                f"No config is above chance ({number(chance)}) in conditional coherence by more than two "
                "standard errors: what is generated does not fit what was observed."
            )
    if not trade.hypervolume:
        sentences.append(
            f"No config is better than the reference point ({corner_text(trade)}) in every objective, so the "
            "hypervolume is 0."
        )
    return sentences


def summary_card(view: View) -> Card:
    """Return the best trade-offs, how sure they are and what to be wary of, in a paragraph each."""
    trade = view.tradeoff
    if not trade.configs.height:
        return Card(title="Summary", finding=nothing_yet(trade))
    parts = [*futility(trade, mean_chance(view.pairs)), _trade_offs(trade), _certainty(view), _worries(view)]
    return Card(title="Summary", finding="\n".join(parts))


def _trade_offs(trade: Tradeoff) -> str:
    """Return how many configs are on the front, its range, and what the knee gives up."""
    points, front = trade.points, trade.points.values[trade.on_front]
    spans = [
        f"{plain(name)} "
        + (f"runs from {number(low)} to {number(high)}" if low < high else f"is {number(low)}")
        for name, low, high in zip(points.names, front.min(axis=0), front.max(axis=0), strict=True)
    ]
    verb, sentence = "is" if len(front) == 1 else "are", f"{count(len(front), 'config')} of"
    sentence += f" {trade.configs.height} {verb} on the front; on it {' and '.join(spans)}"
    if trade.knee is not None:
        knee, best = points.trial_ids.index(trade.knee), points.gains.argmax(axis=0)
        parts = []
        for at, objective in enumerate(points.objectives):
            lost = points.gains[best[at], at] - points.gains[knee, at]
            error = trade.inference.difference_error(knee, int(best[at]))[at]
            amount = " ".join(filter(None, [with_error(lost, Z_95 * error), objective.unit]))
            parts.append(f"{amount} of {plain(objective.name)}")
        sentence += f"; the knee, {trade.knee}, gives up {' and '.join(parts)} against the best"
    return sentence + "."


def _certainty(view: View) -> str:
    """Return the probability that each pick is the right one, or why it is unknown."""
    trade, sure = view.tradeoff, view.stability
    if not sure.draws:
        return (
            "How sure this is cannot be told, because no config has a second seed and training varies with "
            "the seed; set replicates.seeds to 3 or more, and replicates.when to front to repeat only what "
            "may be on it."
        )
    few = dict(zip(trade.points.trial_ids, sure.few_seeds.tolist(), strict=True))
    said: dict[str, list[str]] = {}
    for p in trade.picks:
        found = coarse(sure.agree[p.label], few_seeds=few[p.trial_id])
        said.setdefault(found, []).append(f"the {plain(p.label)}")
    parts = [f"{found} for {', '.join(picks)}" for found, picks in said.items()]
    return f"The probability that a pick is the right one is {'; '.join(parts)}."


def _worries(view: View) -> str:
    """Return what the checks warn of, without their advice, which the table of checks has."""
    checks = run_checks(view.tradeoff, view.metrics, view.explained, view.curves)
    # That no config has a second seed was said.
    warned = [c for c in checks if c.result == "warn" and (view.stability.draws or c.check != "seeds")]
    if not warned:
        return "The checks warn of nothing more."
    told = []
    for check in warned[:_WORRIES]:
        clause = check.sentence.partition(": ")[0].removesuffix(".")
        # One begins with the name of a modality.
        told.append(clause if check.check == "plateaus" else clause[0].lower() + clause[1:])
    if more := len(warned) - len(told):
        told.append(f"and {count(more, 'more warning')} below")
    return f"Be wary: {'; '.join(told)}."
