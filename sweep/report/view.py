"""Everything that the cards of a report show, read from the store once."""

from dataclasses import dataclass

import polars as pl
import polars.selectors as cs

from sweep.analysis.points import last_evaluation, over_replicates, usable_trials
from sweep.analysis.summaries import coherence_by_size
from sweep.analysis.tradeoff import Tradeoff, tradeoff
from sweep.analysis.uncertainty import Stability, stability
from sweep.report.formatting import pick_labels
from sweep.report.theme import PICKS
from sweep.store.layout import OBJECTIVE
from sweep.store.read import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One section of the report."""

    title: str
    """Its heading."""
    finding: str
    """Its result in sentences computed from the data, a paragraph per line."""
    figure_html: str | None = None
    """HTML below the finding."""
    table: pl.DataFrame | None = None
    """A table of strings and numbers below that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """A picked config with its label and colour in the report."""

    trial_id: str
    """The config's replicate of the lowest seed."""
    labels: str
    """What it is picked for, as in `best log likelihood, knee`."""
    colour: str
    """Its colour in every figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The content of a report."""

    tradeoff: Tradeoff
    """Configs, front and picks."""
    picked: tuple[Picked, ...]
    """The picked configs, each once."""
    focus: str | None
    """The trial shown in detail: the knee, else the first pick."""
    pairs: pl.DataFrame
    """Coherence of (source, target) pairs at the end, a config's means over seeds under its first trial."""
    sizes: pl.DataFrame
    """Coherence of the picked configs by number of observed modalities, from `coherence_by_size`."""
    metrics: pl.DataFrame
    """Metrics of subsets: the last evaluation of each seed of the picked configs."""
    elsewhere: pl.DataFrame
    """Objectives of trials on other splits than the sweep's, as metrics of subset 0."""
    explained: pl.DataFrame
    """Share of each modality that a model explains: every evaluation of each trial."""
    curves: pl.DataFrame
    """Columns trial_id, epoch, elbo and the objectives, sorted; each epoch of a trial once."""
    samples: pl.DataFrame
    """Strips of images of the picked trials' last evaluations."""
    usable: pl.DataFrame
    """The trials at full budget of the configs that can be compared."""
    stability: Stability
    """How probable the front and the picks are."""


def picked_configs(trade: Tradeoff) -> tuple[Picked, ...]:
    """Return the picked configs, each once, with their labels and colours."""
    trials = dict.fromkeys(pick.trial_id for pick in trade.picks)
    return tuple(
        Picked(trial_id=trial, labels=pick_labels(trade.picks, trial), colour=PICKS[i % len(PICKS)])
        for i, trial in enumerate(trials)
    )


def view(store: Store) -> View:
    """Return the content of a report on the trials so far.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema.
    """
    trade = tradeoff(store)
    picked = picked_configs(trade)
    trials = [pick.trial_id for pick in picked]
    of_picks = pl.col("trial_id").is_in(trials)
    curves = store.epochs().select("trial_id", "attempt", "epoch", "elbo", cs.starts_with(OBJECTIVE))
    usable = usable_trials(trade.trials, trade.manifest.objectives, trade.manifest.limits)
    pairs = over_replicates(
        last_evaluation(store.pair_coherence().collect()), usable, ("source_mask", "target")
    )
    configs = usable.filter(of_picks)["config_id"].implode()
    all_seeds = pl.col("trial_id").is_in(
        usable.filter(pl.col("config_id").is_in(configs))["trial_id"].implode()
    )
    other_split = pl.col("split") != trade.manifest.split
    of_prior = pl.col("target").is_null(), pl.col("subset_mask") == 0
    elsewhere = store.table("subset_metrics").filter(other_split, *of_prior)
    return View(
        tradeoff=trade,
        picked=picked,
        focus=trade.knee or next(iter(trials), None),
        pairs=pairs,
        sizes=coherence_by_size(pairs.filter(of_picks)),
        metrics=last_evaluation(store.subset_metrics().filter(all_seeds).collect()),
        elsewhere=last_evaluation(elsewhere.filter(pl.col("metric").is_in(trade.points.names)).collect()),
        explained=store.subset_metrics().filter(metric="explained").collect(),
        # An epoch that a later attempt trained again is shown as in that attempt.
        curves=curves.sort("trial_id", "epoch", "attempt")
        .unique(["trial_id", "epoch"], keep="last", maintain_order=True)
        .drop("attempt")
        .collect(),
        samples=last_evaluation(store.samples().filter(of_picks).collect()),
        usable=usable,
        stability=stability(trade),
    )
