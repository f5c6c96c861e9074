"""The cards of the report: each has a title, a computed finding, and a figure or a table.

What has nothing to show has no card. `report_cards` returns them in the order of the page.
"""

import math
from collections.abc import Callable, Sequence
from html import escape

import polars as pl

from mopoe.reports import METRICS, Z_95, pair_interval
from sweep.analysis.checks import training_check
from sweep.analysis.points import over_replicates
from sweep.analysis.summaries import metrics_by_size
from sweep.report import figures, trust
from sweep.report.details import details_html
from sweep.report.formatting import (
    corner_text,
    count,
    interval_text,
    number,
    plain,
    setting_title,
    weights_notes,
    with_error,
    worded,
)
from sweep.report.record import failure_card, provenance_card
from sweep.report.samples import samples_html
from sweep.report.summary import mean_chance, summary_card
from sweep.report.tables import config_rows, front_text, with_arrows
from sweep.report.theme import MOST_SETTINGS
from sweep.report.view import Card, View
from sweep.store.layout import OBJECTIVE, PARAMETER, STDERR

_MOST_CLASSES = 20


def front_card(view: View) -> Card | None:
    """Return all configs with their front, and what its hypervolume is measured from."""
    trade = view.tradeoff
    if not trade.configs.height:
        return None
    chance = mean_chance(view.pairs)
    finding = "" if chance is None else f"The chance level of coherence is {chance:.2f}. "
    finding += f"Hypervolume from ({corner_text(trade)}): {number(trade.hypervolume)}."
    if len(trade.points.names) < 2:
        return Card(title="Trade-off", finding=finding)
    meanings = (f"{plain(o.name)}: {o.meaning}. " for o in trade.points.objectives if o.meaning)
    note = "".join(m[0].upper() + m[1:] for m in meanings)
    note += f"± and bars show {interval_text(view.tradeoff)}."
    return Card(
        title="Trade-off",
        finding=finding,
        figure_html=f'{figures.front_figures(view)}<p class="note">{escape(note)}</p>{details_html(view)}',
    )


def table_card(view: View) -> Card:
    """Return all configs with their settings, those of the front first; details.js works on this table."""
    trade, rows = view.tradeoff, config_rows(view.tradeoff)
    reasons = [f"{p.trial_id} {plain(p.why)}." for p in trade.picks]
    texts = with_arrows(front_text(rows), trade.points.objectives)
    place = [
        ": ".join(filter(None, ["front", picks])) if on_front else ""
        for on_front, picks in rows.select("on_front", "picks").iter_rows()
    ]
    texts = texts.drop("picks").with_columns(place=pl.Series(place, dtype=pl.String))
    notes = [f"{note[0].upper()}{note[1:]}" for note in weights_notes(rows.columns, trade.manifest)]
    return Card(title="Configs", finding=" ".join([*reasons, *notes]), table=texts)


def split_card(view: View) -> Card | None:
    """Return the objectives on the sweep's split beside those on others, for the configs that have both."""
    own, rows = view.tradeoff.manifest.split, []
    both = view.elsewhere.join(view.usable, on="trial_id", maintain_order="right")
    for (_, split), found in both.group_by("config_id", "split", maintain_order=True):
        row = {"trial": found["trial_id"][0], "seeds": str(found["trial_id"].n_unique())}
        for name in view.tradeoff.points.names:
            of = found.filter(metric=name).select("value", "stderr", OBJECTIVE + name, STDERR + name)
            value, error, ours, our_error = of.mean().row(0)
            for where, mean, its_error in ((own, ours, our_error), (split, value, error)):
                if mean is not None:  # else that evaluation came before this objective
                    row[f"{plain(name)}, {where}"] = with_error(mean, its_error and Z_95 * its_error)
        rows.append(row)
    if not rows:
        return None
    finding = (
        f"Configs were chosen by their values on the {own} split, which therefore tend to be too good; those "
        "on a split that chose nothing do not: report these. Means over the seeds whose weights were kept; ± "
        "is the half width of the 95 % interval over held-out samples alone."
    )
    return Card(title="Other splits", finding=finding, table=pl.DataFrame(rows, infer_schema_length=None))


def size_card(view: View) -> Card | None:
    """Return coherence by number of observed modalities, and the weakest pair."""
    title = "Coherence by number of observed modalities"
    if not view.sizes.height:
        return None
    parts, several = [], view.sizes["source_size"].n_unique() > 1
    for picked in view.picked:
        rows = view.sizes.filter(trial_id=picked.trial_id)
        if rows.height:
            first, last = rows.row(0, named=True), rows.row(-1, named=True)
            text = f"{picked.labels} ({picked.trial_id}) "
            if several:
                text += f"from {first['value']:.2f} with {first['source_size']} to "
            parts.append(f"{text}{last['value']:.2f} with {last['source_size']}")
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
    return Card(title=title, finding=finding, figure_html=figures.size_figure(view) if several else None)


_MEASURED = (
    *("kl", "active_units", "idle_latents", "representation", "log_likelihood_conditional"),
    *("frechet", "mmd", "fid", "kid"),
)
"""The metrics that have a column if they were measured."""


def measured_card(view: View) -> Card | None:
    """Return the diagnostics of the posterior and the final metrics of the trial in focus."""
    title, names = "Latents and further measurements", view.tradeoff.manifest.modalities
    own = sorted({*view.metrics["metric"]} - METRICS.keys())  # metrics of the user's
    wanted = view.metrics.filter(pl.col("metric").is_in([*_MEASURED, *own]))
    of_configs = over_replicates(wanted, view.usable, ("metric", "subset_mask", "target"))
    measured = of_configs.filter(trial_id=view.focus or "")
    means = metrics_by_size(measured, names)
    if not means.height:
        return None
    sizes = sorted(set(means["subset_size"]))
    rows = means.select("metric", "subset_size", "value").iter_rows()
    cells = {(m, s): "-" if math.isnan(v) else number(v) for m, s, v in rows}
    columns = {"observed modalities": ["none (prior)" if s == 0 else str(s) for s in sizes]}
    shown = [m for m in (*_MEASURED, *own) if any(metric == m for metric, _ in cells)]
    columns |= {plain(m): [cells.get((m, s), "") for s in sizes] for m in shown}
    finding = f"Means of {view.focus} over its seeds and the subsets of each size."
    for reason in measured["error"].drop_nulls()[:1]:
        finding += f" A dash stands where one could not be measured: {reason}."
    return Card(title=title, finding=finding, table=pl.DataFrame(columns))


def prediction_card(view: View) -> Card | None:
    """Return how much of each modality the config in focus explains, given all others and given all."""
    rows = []
    wanted = view.metrics.filter(pl.col("metric").is_in(["predicted", "explained"]))
    found = over_replicates(wanted, view.usable, ("metric", "target")).filter(trial_id=view.focus or "")
    cells = {
        (m, target): with_error(v, e and Z_95 * e) for m, target, v, e in found.select(*_CELL).iter_rows()
    }
    for target in view.tradeoff.manifest.modalities:
        if ("predicted", target) in cells:
            given = {"given all others": cells["predicted", target]}
            rows.append({"modality": target} | given | {"given all": cells.get(("explained", target), "")})
    if not rows:
        return None
    finding = (
        f"Share of what a constant prediction leaves open that {view.focus} explains on held-out samples: "
        "0 is no better than the constant, 1 is perfect. Means over its seeds."
    )
    return Card(title="Prediction of each modality", finding=finding, table=pl.DataFrame(rows))


_CELL = ("metric", "target", "value", "stderr")


def curve_card(view: View) -> Card | None:
    """Return the learning curves, and the number of trials that still improved at the end."""
    title = "Learning curves"
    curves = view.curves.filter(pl.col("elbo").is_finite())
    if not curves.height:
        return None
    finding = "Reconstruction and KL count here without beta and other weights, whatever was trained."
    training = training_check(view.tradeoff.trials, curves)
    if training.result != "unknown":
        finding = f"{training.sentence} {finding}"
    low = float(curves["elbo"].quantile(0.02) or 0.0)
    return Card(title=title, finding=finding, figure_html=figures.curve_figure(view, low))


def setting_card(view: View) -> Card | None:
    """Return the searched settings against the objectives, and the strongest monotone link."""
    title, configs = "Hyperparameters against objectives", view.tradeoff.configs
    columns = [c for c in configs.columns if c.startswith(PARAMETER)]
    if not columns:
        return None
    links = [
        (abs(value), value, column, objective)
        for column in columns
        for objective in view.tradeoff.points.names
        if (value := _rank_correlation(configs, column, OBJECTIVE + objective)) is not None
    ]
    if links:
        _, value, column, objective = max(links, key=lambda link: link[0])
        setting = setting_title(column, view.tradeoff.manifest)
        finding = (
            f"The strongest monotone link is {setting} with {plain(objective)}: "
            f"rank correlation {value:+.2f} over {count(configs.height, 'config')}."
        )
        if configs.height < 20:
            finding += " With so few configs, such a link may be chance."
    else:
        finding = "Too few different values for a rank correlation."
    strength = {c: max((a for a, _, name, _ in links if name == c), default=0.0) for c in columns}
    shown = sorted(columns, key=lambda c: -strength[c])[:MOST_SETTINGS]
    if len(shown) < len(columns):
        finding += f" The figure shows the {len(shown)} of {len(columns)} settings with the strongest links."
    shown = [c for c in columns if c in shown]
    return Card(title=title, finding=finding, figure_html=figures.setting_figures(view, shown))


def _rank_correlation(frame: pl.DataFrame, one: str, other: str) -> float | None:
    """Return Spearman's rank correlation, or None for text and for columns that do not vary."""
    rows = frame.select(one, other).drop_nulls()
    varies = rows.height >= 3 and min(rows[one].n_unique(), rows[other].n_unique()) > 1
    if not varies or rows[one].dtype == pl.String:
        return None
    return float(rows.select(pl.corr(one, other, method="spearman")).item())


def sample_card(view: View) -> Card | None:
    """Return the held-out samples of the picks and what they generate."""
    if not view.samples.height:
        return None
    manifest, parts = view.tradeoff.manifest, []
    for picked in view.picked:
        rows, trial = view.samples.filter(trial_id=picked.trial_id), escape(picked.trial_id)
        if rows.height:
            opened = " open" * (picked.trial_id == view.focus)
            parts.append(
                f"<details{opened}><summary>{escape(picked.labels)}: {trial}"
                f'</summary><div class="samples wide" data-samples="{trial}">'
                f"{samples_html(rows, manifest.modalities)}</div></details>"
            )
    finding = (
        "Each modality has the same held-out samples, left to right, and what is generated from the observed "
        "subset; (seen) marks those to which the modality itself belongs."
    )
    if manifest.n_classes != 0:
        finding += " With each is the class that the classifier predicts, underlined if it is wrong."
        if named := [f"{i} {name}" for i, name in enumerate(manifest.classes[:_MOST_CLASSES])]:
            more = " and so on" * (len(manifest.classes) > _MOST_CLASSES)
            finding += f" The classes are {', '.join(named)}{more}."
    if view.samples["values"].list.len().max():
        finding += (
            " Bars are values above or below the held-out mean, marks and grey curves those held out; of "
            "counts, a stronger colour is larger."
        )
    return Card(title="Samples of the picks", finding=finding, figure_html="".join(parts))


def report_cards(view: View) -> list[Card]:
    """Return the cards in the order of the page; before a config has completed, those of `EARLY_CARDS`."""
    makers = CARDS if view.tradeoff.configs.height else EARLY_CARDS
    cards = {make: card for make in makers if (card := make(view)) is not None}
    if view.tradeoff.manifest.folds:
        cards |= {make: _of_folds(card, view) for make, card in cards.items() if make not in _AS_WRITTEN}
    return list(cards.values())


def _of_folds(card: Card, view: View) -> Card:
    """Return a card that speaks of folds where it spoke of seeds."""

    def said(text: str) -> str:
        return worded(text, view.tradeoff.manifest)

    table, figure = card.table, card.figure_html
    if table is not None:
        table = table.rename(said).with_columns(pl.col(pl.String).map_elements(said, pl.String))
    return Card(
        title=said(card.title), finding=said(card.finding), figure_html=figure and said(figure), table=table
    )


_AS_WRITTEN = (sample_card, failure_card, provenance_card)
"""The cards of a user's own features and errors, and of the seeds of the model's initialisation."""

CARDS: Sequence[Callable[[View], Card | None]] = (
    summary_card,
    front_card,
    table_card,
    split_card,
    trust.level_card,
    trust.stability_card,
    trust.checks_card,
    trust.method_card,
    size_card,
    prediction_card,
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

EARLY_CARDS: Sequence[Callable[[View], Card | None]] = (
    failure_card,
    summary_card,
    curve_card,
    provenance_card,
)
"""Those of a sweep in which no trial has completed with finite objectives: what failed comes first."""
