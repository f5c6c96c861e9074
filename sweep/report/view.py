"""Everything that the cards of a report look at, read from the store once."""

from dataclasses import dataclass

import polars as pl

from sweep.analysis.breakdown import last_evaluation
from sweep.analysis.tradeoff import Tradeoff, tradeoff
from sweep.report.theme import PICKS
from sweep.report.words import pick_labels
from sweep.store.read import Store


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
    curves: pl.DataFrame
    """Columns trial_id, epoch, loss, sorted; every epoch of a trial once."""
    samples: pl.DataFrame
    """Strips of images of the picked trials' last evaluations."""


def view(store: Store) -> View:
    """Return what there is to show now.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema.
    """
    found = tradeoff(store)
    trials = list(dict.fromkeys(p.trial_id for p in found.picks))
    knee = next((p.trial_id for p in found.picks if p.label == "knee"), None)
    curves = (
        store.epochs().select("trial_id", "attempt", "epoch", "loss").sort("trial_id", "epoch", "attempt")
    )
    return View(
        tradeoff=found,
        picked=tuple(
            Picked(trial_id=trial, labels=pick_labels(found.picks, trial), colour=PICKS[i % len(PICKS)])
            for i, trial in enumerate(trials)
        ),
        focus=knee or (trials[0] if trials else None),
        pairs=last_evaluation(store.pair_coherence().collect()),
        metrics=last_evaluation(store.subset_metrics().filter(pl.col("trial_id").is_in(trials)).collect()),
        # An epoch that a later attempt trained again is shown as that attempt had it.
        curves=curves.unique(["trial_id", "epoch"], keep="last", maintain_order=True)
        .drop("attempt")
        .collect(),
        samples=last_evaluation(store.samples().filter(pl.col("trial_id").is_in(trials)).collect()),
    )
