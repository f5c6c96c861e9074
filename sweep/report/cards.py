"""The cards of the report: each a title, one computed finding, and a figure or a table that shows it.

A card that has nothing to show says why in its finding. `CARDS` lists them in the order of the page.
"""

from collections.abc import Callable, Sequence
from html import escape

import polars as pl

from mopoe.errors import masked
from mopoe.reports import OBJECTIVES
from sweep.analysis.summaries import coherence_by_size, pair_interval
from sweep.report import figures, trust
from sweep.report.details import details_html, sample_table
from sweep.report.formatting import count, failure_reasons, number, plain, status_line
from sweep.report.tables import front_rows, front_text, measured, nothing_yet, setting_figures, with_arrows
from sweep.report.view import Card, View
from sweep.store.layout import OBJECTIVE, PARAMETER

__all__ = ["CARDS", "Card"]

_MOST_SETTINGS = 12
"""At most so many searched settings are drawn: those most linked to an objective."""


def front_card(view: View) -> Card:
    """Return the trade-off: all configs, the front among them, and what the front costs."""
    title, found = "Trade-off", view.tradeoff
    if not found.configs.height:
        return Card(title=title, finding=nothing_yet(found))
    front = found.points.values[found.on_front]
    spans = [
        f"{plain(name)} runs from {number(low)} to {number(high)}"
        for name, low, high in zip(found.points.names, front.min(axis=0), front.max(axis=0), strict=True)
    ]
    finding = (
        f"{count(len(front), 'config')} of {found.configs.height} "
        f"{'is' if len(front) == 1 else 'are'} on the front; on it {' and '.join(spans)}."
    )
    finding += _price_of_knee(view)
    if view.pairs.height:
        chance = view.pairs.select(pl.mean("chance")).item()
        finding += f" Chance reaches a coherence of {chance:.2f}."
    corner = ", ".join(f"{plain(n)} {number(found.manifest.reference_point[n])}" for n in found.points.names)
    finding += f" Hypervolume from ({corner}): {number(found.hypervolume)}."
    if len(found.points.names) < 2:
        return Card(title=title, finding=finding)
    meanings = (f"{plain(n)}: {OBJECTIVES[n]}. " for n in found.points.names if n in OBJECTIVES)
    note = "".join(m[0].upper() + m[1:] for m in meanings)
    note += "Bars are standard errors: over seeds where a config has several, else over held-out samples."
    return Card(
        title=title,
        finding=finding,
        figure_html=f'{figures.front_figures(view)}<p class="note">{escape(note)}</p>{details_html(view)}',
    )


def table_card(view: View) -> Card:
    """Return the configs of the front with their settings."""
    title, found = "Configs on the front", view.tradeoff
    if not found.configs.height:
        return Card(title=title, finding=nothing_yet(found))
    seeds = found.configs.filter(pl.Series(found.on_front))["seeds"]
    single = int((seeds == 1).sum())
    reasons = [f"{p.trial_id} {plain(p.why)}." for p in found.picks]
    if single:
        reasons.append(f"{single} of {count(len(seeds), 'config')} rest on a single seed.")
    texts = with_arrows(front_text(front_rows(found)), found.points.objectives)
    return Card(title=title, finding=" ".join(reasons), table=texts)


def size_card(view: View) -> Card:
    """Return what each further observed modality adds to coherence."""
    title = "Coherence by number of observed modalities"
    trials = [p.trial_id for p in view.picked]
    sizes = coherence_by_size(view.pairs.filter(pl.col("trial_id").is_in(trials)))
    if not sizes.height:
        return Card(title=title, finding="No picked trial has coherence of unobserved modalities.")
    parts = []
    for picked in view.picked:
        rows = sizes.filter(trial_id=picked.trial_id)
        if rows.height:
            first, last = rows.row(0, named=True), rows.row(-1, named=True)
            parts.append(
                f"{picked.labels} ({picked.trial_id}) from {first['value']:.2f} with {first['source_size']} "
                f"to {last['value']:.2f} with {last['source_size']}"
            )
    finding = f"Coherence of targets that were not observed: {'; '.join(parts)}."
    unseen = view.pairs.filter(~pl.col("in_source"), trial_id=view.focus).sort(
        "value", "source_mask", "target"
    )
    if unseen.height:
        worst = unseen.row(0, named=True)
        low, high = pair_interval(worst["value"], worst["stderr"], worst["n"], worst["measure"])
        finding += (
            f" The weakest pair of {view.focus} is {worst['target']} from {worst['source_label']} "
            f"({worst['value']:.2f}, 95 % interval {low:.2f} to {high:.2f})."
        )
    return Card(title=title, finding=finding, figure_html=figures.size_figure(view, sizes))


def measured_card(view: View) -> Card:
    """Return the posterior's health, and the further measurements that there are, of the trial in focus."""
    finding, table = measured(view)
    return Card(title="Latents and further measurements", finding=finding, table=table)


def curve_card(view: View) -> Card:
    """Return the learning curves, and how many trials were still improving at their end."""
    title = "Learning curves"
    finished = view.tradeoff.trials.filter(status="completed")["trial_id"].implode()
    curves = view.curves.filter(pl.col("loss").is_finite())
    if not curves.height:
        return Card(title=title, finding="No epoch with a finite loss has been recorded.")
    ends = (
        curves.filter(pl.col("trial_id").is_in(finished))
        .filter(pl.len().over("trial_id") >= 10)
        .group_by("trial_id", maintain_order=True)
        .agg(
            pl.col("loss").last().alias("end"),
            pl.col("loss").gather((pl.len() * 9 // 10) - 1).first().alias("before"),
        )
    )
    falling = int((ends["before"] - ends["end"] > 0.01 * ends["end"].abs()).sum())
    finding = "The loss contains beta, so compare its course within a trial, not its height between trials."
    if ends.height:
        still = f"{falling or 'None'} of {count(ends.height, 'completed trial')}"
        finding = (
            f"{still} still lowered the loss by more than 1 % in the last tenth of the epochs. {finding}"
        )
    top = float(curves["loss"].quantile(0.98) or 0.0)
    return Card(title=title, finding=finding, figure_html=figures.curve_figure(view, top))


def setting_card(view: View) -> Card:
    """Return the searched settings against the objectives, and the strongest monotone link."""
    title, configs = "Hyperparameters against objectives", view.tradeoff.configs
    columns = [c for c in configs.columns if c.startswith(PARAMETER)]
    if not configs.height or not columns:
        why = nothing_yet(view.tradeoff) if columns else "No setting was searched."
        return Card(title=title, finding=why)
    links = [
        (abs(value), value, column, objective)
        for column in columns
        for objective in view.tradeoff.points.names
        if (value := _rank_correlation(configs, column, OBJECTIVE + objective)) is not None
    ]
    if links:
        _, value, column, objective = max(links, key=lambda link: link[0])
        setting = plain(column.removeprefix(PARAMETER))
        finding = (
            f"The strongest monotone link is {setting} with {plain(objective)}: "
            f"rank correlation {value:+.2f} over {count(configs.height, 'config')}."
        )
        if configs.height < 20:
            finding += " So few configs may show such a link by chance."
    else:
        finding = "Too few different values for a rank correlation."
    strength = {c: max((a for a, _, name, _ in links if name == c), default=0.0) for c in columns}
    shown = sorted(columns, key=lambda c: -strength[c])[:_MOST_SETTINGS]
    if len(shown) < len(columns):
        finding += f" Shown are the {len(shown)} of {len(columns)} most linked to an objective."
    shown = [c for c in columns if c in shown]
    return Card(title=title, finding=finding, figure_html=setting_figures(view, shown))


def sample_card(view: View) -> Card:
    """Return the generated images of the picks."""
    title = "Samples of the picks"
    if not view.samples.height:
        return Card(title=title, finding="No picked trial has stored images.")
    names, parts = view.tradeoff.manifest.modalities, []
    for picked in view.picked:
        rows = view.samples.filter(trial_id=picked.trial_id)
        if rows.height:
            summary = escape(f"{picked.labels}: {picked.trial_id}")
            opened = " open" if picked.trial_id == view.focus else ""
            parts.append(
                f"<details{opened}><summary>{summary}</summary>"
                f'<div class="scroll wide" tabindex="0" role="region" aria-label="{summary}" '
                f'data-samples="{escape(picked.trial_id)}">'
                f"{sample_table(rows, names)}</div></details>"
            )
    finding = (
        "Every strip shows the same held-out samples, left to right, generated from the observed subset. "
        "Beneath each picture stands the class that the classifier sees in it, underlined where it is wrong."
    )
    return Card(title=title, finding=finding, figure_html="".join(parts))


def failure_card(view: View) -> Card:
    """Return the trials that did not reach their full budget, and why."""
    title, trials = "Failures and stops", view.tradeoff.trials
    bad = trials.filter(pl.col("status").is_in(["failed", "infeasible", "stopped"]))
    if not bad.height:
        return Card(title=title, finding=f"None: {status_line(trials)}.")
    reasons = "; ".join(f"{reason} ({count(n, 'trial')})" for reason, n in failure_reasons(trials))
    failed = int((bad["status"] == "failed").sum())
    finding = f"{failed} of {count(trials.height, 'trial')} failed{f': {reasons}' if reasons else ''}."
    reason = pl.coalesce("error", "stop_reason").fill_null("no reason recorded")
    table = bad.sort("status", "trial_id").select(
        "status", pl.col("trial_id").alias("trial"), "attempt", "epochs", reason.alias("reason")
    )
    return Card(title=title, finding=finding, table=table)


def provenance_card(view: View) -> Card:
    """Return what is needed to run the sweep again."""
    import yaml

    manifest, trials = view.tradeoff.manifest, view.tradeoff.trials
    seeds = sorted(set(trials["seed"].to_list()))
    few = ", ".join(map(str, seeds[:10])) + (f" and {len(seeds) - 10} more" if len(seeds) > 10 else "")
    revision = manifest.git_revision or "unknown"
    finding = (
        f"Sweep {manifest.sweep_id} began at {manifest.created_at} on the data set {manifest.data}, from "
        f"revision {revision}; seeds of its trials: {few or 'none yet'}."
    )
    if manifest.classifier_accuracy:
        accuracy = ", ".join(f"{m} {a:.3f}" for m, a in manifest.classifier_accuracy.items())
        named = f" (weights {manifest.classifier_hash})" if manifest.classifier_hash else ""
        finding += f" Held-out accuracy of the classifiers{named} that judge coherence: {accuracy}."
    spec = escape(masked(yaml.safe_dump(manifest.spec, sort_keys=False, allow_unicode=True)))
    return Card(
        title="Provenance",
        finding=finding,
        figure_html=f"<details><summary>The sweep as written</summary><pre>{spec}</pre></details>",
        table=pl.DataFrame(sorted(manifest.versions.items()), schema=["package", "version"], orient="row"),
    )


CARDS: Sequence[Callable[[View], Card]] = (
    front_card,
    table_card,
    trust.level_card,
    trust.stability_card,
    trust.checks_card,
    trust.method_card,
    size_card,
    measured_card,
    sample_card,
    curve_card,
    setting_card,
    trust.importance_card,
    trust.rung_card,
    trust.attainment_card,
    trust.history_card,
    failure_card,
    provenance_card,
)
"""The cards in the order of the page."""


def _price_of_knee(view: View) -> str:
    """Return what the knee gives up against the best of each objective, or nothing if there is no knee."""
    found = view.tradeoff
    if (knee := next((p.trial_id for p in found.picks if p.label == "knee"), None)) is None:
        return ""
    gains = found.points.gains
    lost = gains.max(axis=0) - gains[found.points.trial_ids.index(knee)]
    parts = [f"{number(x)} of {plain(name)}" for x, name in zip(lost, found.points.names, strict=True)]
    return f" The knee, {knee}, gives up {' and '.join(parts)} against the best."


def _rank_correlation(frame: pl.DataFrame, one: str, other: str) -> float | None:
    """Return Spearman's rank correlation, or None for text and for columns that do not vary."""
    rows = frame.select(one, other).drop_nulls()
    if (
        rows.height < 3
        or rows[one].dtype == pl.String
        or min(rows[one].n_unique(), rows[other].n_unique()) < 2
    ):
        return None
    return float(rows.select(pl.corr(one, other, method="spearman")).item())
