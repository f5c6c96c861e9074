"""What else a trial's last evaluation measured, by number of observed modalities: a finding and a table."""

import polars as pl

from sweep.analysis.breakdown import metrics_by_size
from sweep.report.view import View
from sweep.report.words import number, plain

_SHOWN = ("kl", "active_units", "idle_latents", "representation", "log_likelihood_conditional", "frechet")
"""The metrics that have a column, where they were measured."""


def measured(view: View) -> tuple[str, pl.DataFrame | None]:
    """Return what there is of the trial in focus; the finding alone if there is nothing."""
    names = view.tradeoff.manifest.modalities
    mine = view.metrics.filter(trial_id=view.focus or "")
    found = metrics_by_size(mine, names).filter(pl.col("metric").is_in(_SHOWN))
    if not found.height:
        return "No picked trial has further measurements.", None
    sizes = sorted(set(found["subset_size"]))
    cells = {(m, s): number(v) for m, s, v in found.select("metric", "subset_size", "value").iter_rows()}
    columns = {"observed modalities": ["none (prior)" if s == 0 else str(s) for s in sizes]}
    shown = [m for m in _SHOWN if any(key[0] == m for key in cells)]
    columns |= {plain(m): [cells.get((m, s), "") for s in sizes] for m in shown}
    dead = mine.filter(metric="collapsed", value=1.0)["subset_label"].sort().to_list()
    finding = f"Means of {view.focus} over the subsets of a size."
    if "collapsed" in mine["metric"]:
        finding += f" Modalities that have collapsed onto the prior: {', '.join(dead) or 'none'}."
    return finding, pl.DataFrame(columns)
