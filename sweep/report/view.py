"""Everything that the cards of a report look at, read from the store once."""

from dataclasses import dataclass

import polars as pl
import polars.selectors as cs

from sweep.analysis.points import usable_trials
from sweep.analysis.summaries import last_evaluation
from sweep.analysis.tradeoff import Tradeoff, tradeoff
from sweep.analysis.uncertainty import Stability, stability
from sweep.report.formatting import pick_labels
from sweep.report.theme import PICKS
from sweep.store.layout import OBJECTIVE
from sweep.store.read import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One part of the report."""

    title: str
    """Its heading."""
    finding: str
    """What it shows, in plain sentences computed from the data; or why it shows nothing."""
    figure_html: str | None = None
    """HTML to show beneath."""
    table: pl.DataFrame | None = None
    """A table to show beneath; texts and numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """One picked config, with how the report names and draws it."""

    trial_id: str
    """The config's replicate of the lowest seed."""
    labels: str
    """What it is picked for, as in `best log likelihood, knee`."""
    colour: str
    """Its colour in every figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a report shows."""

    tradeoff: Tradeoff
    """Configs, front and picks."""
    picked: tuple[Picked, ...]
    """The picked configs, each once."""
    focus: str | None
    """The trial looked at in detail: the knee, else the first pick."""
    pairs: pl.DataFrame
    """Coherence of (source, target) pairs: the last evaluation of each trial."""
    metrics: pl.DataFrame
    """Metrics of subsets: the last evaluation of each picked trial."""
    explained: pl.DataFrame
    """Share of each modality that a model explains: every evaluation of each trial."""
    curves: pl.DataFrame
    """Columns trial_id, epoch, loss and the objectives, sorted; every epoch of a trial once."""
    samples: pl.DataFrame
    """Strips of images of the picked trials' last evaluations."""
    usable: pl.DataFrame
    """The completed trials with finite objectives."""
    stability: Stability
    """How sure the front and the picks are."""


def view(store: Store) -> View:
    """Return what there is to show now.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema.
    """
    found = tradeoff(store)
    trials = list(dict.fromkeys(p.trial_id for p in found.picks))
    knee = next((p.trial_id for p in found.picks if p.label == "knee"), None)
    objectives = cs.starts_with(OBJECTIVE)
    curves = (
        store.epochs()
        .select("trial_id", "attempt", "epoch", "loss", objectives)
        .sort("trial_id", "epoch", "attempt")
    )
    usable = usable_trials(found.trials, found.manifest.objectives)
    return View(
        tradeoff=found,
        picked=tuple(
            Picked(trial_id=trial, labels=pick_labels(found.picks, trial), colour=PICKS[i % len(PICKS)])
            for i, trial in enumerate(trials)
        ),
        focus=knee or (trials[0] if trials else None),
        pairs=last_evaluation(store.pair_coherence().collect()),
        metrics=last_evaluation(store.subset_metrics().filter(pl.col("trial_id").is_in(trials)).collect()),
        explained=store.subset_metrics().filter(metric="explained").collect(),
        # An epoch that a later attempt trained again is shown as that attempt had it.
        curves=curves.unique(["trial_id", "epoch"], keep="last", maintain_order=True)
        .drop("attempt")
        .collect(),
        samples=last_evaluation(store.samples().filter(pl.col("trial_id").is_in(trials)).collect()),
        usable=usable,
        stability=stability(usable, found.configs, found.manifest.objectives),
    )
