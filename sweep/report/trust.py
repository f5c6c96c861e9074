"""The cards on how far to trust a sweep, and on what it teaches beyond its front."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import polars as pl

from sweep.analysis.checks import run_checks
from sweep.analysis.fronts import hypervolume
from sweep.analysis.importances import FEWEST, NEAR_FRONT, importances
from sweep.analysis.points import worst_first
from sweep.analysis.summaries import by_method, hypervolume_history, rank_agreement
from sweep.analysis.tradeoff import level_axes
from sweep.analysis.uncertainty import Array, attainment_surface, seed_sets
from sweep.config.objectives import gains
from sweep.report.formatting import count, number, plain, value_text, with_error
from sweep.report.tables import nothing_yet
from sweep.report.theme import COLOURS, DASHES, FRONT, MUTED, axis, drawn, layout, series, steps
from sweep.report.view import Card, View
from sweep.store.layout import OBJECTIVE, STDERR

_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "star")
_RARE = [[0, "rgba(128,128,128,0.3)"], [0.2, "#E69F00"], [1, FRONT]]


def stability_figure(view: View) -> str:
    """Return the first two objectives of all configs, coloured by the share of bootstraps on the front."""
    order = np.argsort(view.stability.on_front)
    share = view.stability.on_front[order].tolist()
    bar = {"thickness": 10, "outlinewidth": 0, "tickvals": [0, 0.2, 0.5, 1], "tickformat": ".0%"}
    marker = {"color": share, "colorscale": _RARE, "cmin": 0, "cmax": 1, "colorbar": bar, "size": 11}
    ids = view.tradeoff.points.trial_ids
    text = [f"{escape(ids[i])}: on the front in {s:.0%}" for i, s in zip(order, share, strict=True)]
    dots = series(view.tradeoff.points.values[order], mode="markers", marker=marker, text=text)
    return _plane(view, "stability", "Configs coloured by their share of bootstraps on the front", [dots])


def attainment_figure(view: View, sets: Sequence[Array], surfaces: Mapping[str, Array]) -> str:
    """Return the points of all seeds and the surfaces by name, as steps, in two objectives.

    Args:
        view: whose objectives they are.
        sets: the gains of each seed, from `seed_sets`.
        surfaces: the gains of each surface.
    """
    objectives = view.tradeoff.points.objectives
    values = gains(np.concatenate(sets), objectives)
    dots = series(values, mode="markers", name="a config with a seed", marker={"color": MUTED})
    lines = [steps(gains(s, objectives), i, name=name) for i, (name, s) in enumerate(surfaces.items())]
    return _plane(view, "attainment", "Attainment surfaces over seeds", [dots, *lines])


def method_figure(view: View, methods: pl.DataFrame) -> str:
    """Return the configs of each method in its colour and symbol; of two objectives, with their fronts."""
    objectives, parts = view.tradeoff.points.objectives, []
    names, flat = [OBJECTIVE + o.name for o in objectives[:2]], len(objectives) == 2
    for i, ((method,), rows) in enumerate(methods.group_by("method", maintain_order=True)):
        marker = {"color": COLOURS[i % 6], "symbol": _SYMBOLS[i % 6], "size": 8, "opacity": 0.75}
        more = {"name": escape(str(method)), "text": rows["trial_id"].to_list(), "marker": marker}
        parts.append(series(rows.select(names).to_numpy(), mode="markers", **more))
        front = worst_first(rows.filter("on_own_front"), objectives[0]).select(names).to_numpy()
        parts += [steps(front, i, showlegend=False)] if flat else []
    return _plane(view, "methods", "Configs of each method, with its front", parts)


def history_figures(history: pl.DataFrame) -> str:
    """Return the hypervolume against trials, hours and epochs: three small figures of one height."""
    titles, volume = ("trials that ended", "hours", "epochs trained"), axis("hypervolume", rangemode="tozero")
    line = {"mode": "lines", "line": {"color": FRONT, "width": 2, "shape": "hv"}}
    figures = [
        drawn(
            f"hypervolume-{column}",
            f"Line plot of hypervolume by {title}",
            [series(history.select(column, "hypervolume").to_numpy(), **line)],
            layout(240, xaxis=axis(title), yaxis=volume),
        )
        for column, title in zip(("trials", "hours", "epochs"), titles, strict=True)
    ]
    return f'<div class="multiples">{"".join(figures)}</div>'


def rung_figure(agreement: pl.DataFrame) -> str:
    """Return Kendall's tau by epoch, a line per objective, and the share of the final front kept."""
    named = {n: f"order by {plain(n)}" for n in agreement.columns[2:-1]} | {"kept": "share of the front kept"}
    lines = [
        series(
            agreement.select("epoch", column).to_numpy(),
            mode="lines+markers",
            name=escape(name),
            line={"color": COLOURS[i % 6], "dash": DASHES[i % 6], "width": 2},
        )
        for i, (column, name) in enumerate(named.items())
    ]
    form = layout(320, xaxis=axis("epoch"), yaxis=axis("agreement with full budget", rangemode="tozero"))
    return drawn("rungs", "Line plot of the agreement of early values with full budget", lines, form)


def importance_figure(shares: pl.DataFrame, settings: Sequence[str]) -> str:
    """Return a bar for each of these settings and each target; it is pale where chance reaches as far."""
    names = [escape(plain(s)) for s in settings]
    bars: list[dict[str, Any]] = []
    for (target,), rows in shares.group_by("target", maintain_order=True):
        ordered = pl.DataFrame({"setting": settings}).join(rows, on="setting", maintain_order="left")
        share, chance = ordered["importance"].to_list(), ordered["chance"].to_list()
        clear = [1 if s > c else 0.3 for s, c in zip(share, chance, strict=True)]
        told = [f"{s:.2f}, by chance up to {number(c)}" for s, c in zip(share, chance, strict=True)]
        look = {"color": COLOURS[len(bars) % 6], "opacity": clear}
        bar = {"type": "bar", "orientation": "h", "x": share, "y": names, "marker": look}
        bars.append(bar | {"name": escape(plain(str(target))), "hovertext": told, "hoverinfo": "y+text+name"})
    form = layout(
        110 + (24 + 14 * len(bars)) * len(settings),
        xaxis=axis("share of the importance", tickformat=".0%"),
        yaxis=axis("", autorange="reversed", showgrid=False, ticks=""),
    )
    return drawn("importances", "Bars of the importance of each setting for each target", bars, form)


def _plane(view: View, name: str, description: str, parts: Iterable[dict[str, Any]]) -> str:
    x, y = view.tradeoff.points.names[:2]
    return drawn(name, description, parts, layout(400, xaxis=axis(plain(x)), yaxis=axis(plain(y))))


_ORDER = ("warn", "unknown", "pass")
_MOST_SETTINGS = 12
"""At most so many settings have bars: those of the largest importance."""


def checks_card(view: View) -> Card:
    """Return what might make the conclusions wrong, worries first."""
    found = sorted(
        run_checks(view.tradeoff, view.metrics, view.explained), key=lambda f: _ORDER.index(f.result)
    )
    worries = [f.check for f in found if f.result == "warn"]
    finding = f"{sum(f.result == 'pass' for f in found)} of {len(found)} checks pass"
    finding += f"; look at: {', '.join(worries)}." if worries else "."
    table = pl.DataFrame(found).select("result", "check", finding="sentence") if found else None
    return Card(title="Checks", finding=finding if found else nothing_yet(view.tradeoff), table=table)


def stability_card(view: View) -> Card:
    """Return how sure each config's place on the front is, and how sure the picks are."""
    title, found, sure = "How sure the front is", view.tradeoff, view.stability
    if not found.configs.height:
        return Card(title=title, finding=nothing_yet(found))
    if sure.unknown:
        few = count(sure.unknown, "config")
        why = f"Standard errors of {few} of a single seed are not known, so nothing is said of how sure the "
        why += "front is; raise evaluation.likelihood_samples or replicates.seeds."
        return Card(title=title, finding=why)
    half, fifth = int((sure.on_front >= 0.5).sum()), int((sure.on_front >= 0.2).sum())
    again = [f"{plain(label)} in {share:.0%}" for label, share in sure.agree.items()]
    finding = (
        f"Of {count(found.configs.height, 'config')}, {half} {'is' if half == 1 else 'are'} on the front in "
        f"at least half of {sure.draws} bootstraps and {fifth} in at least a fifth. "
        f"The same config is {', '.join(again)} of them."
    )
    single = int((found.configs["seeds"] == 1).sum())
    several = count(found.configs.height - single, "config")
    note = f"A bootstrap draws the seeds of {several} again, which makes few seeds look too sure. " * (
        single < found.configs.height
    )
    note += (
        f"It moves {count(single, 'config')} of a single seed by the standard error over held-out samples, "
        "which leaves out how much training varies."
    ) * (single > 0)
    figure = stability_figure(view) if len(found.points.names) > 1 else ""
    return Card(title=title, finding=finding, figure_html=f'{figure}<p class="note">{note}</p>')


def level_card(view: View) -> Card:
    """Return the best config in one objective for each bound on the other."""
    found, chosen = view.tradeoff, view.stability.levels
    if len(found.points.names) < 2:
        return Card(title="Best value for a bound", finding="It takes two objectives.")
    bounded, best = level_axes(found.points.names)
    x, y = found.points.names[bounded], found.points.names[best]
    limit = "at least" if found.points.objectives[bounded].maximize else "at most"
    title = f"Best {plain(y)} with {plain(x)} {limit} c"
    if not chosen.height:
        return Card(title=title, finding=f"The front spans no range of {plain(x)}.")
    rows = [found.configs.row(i, named=True) for i in chosen["row"]]
    likely = [value_text(row, y) for row in rows]
    ends = [f"{limit} {number(chosen['c'][i])} it is {likely[i]}" for i in (0, -1)]
    table = {
        "c": [number(c) for c in chosen["c"]],
        "trial": [row["trial_id"] for row in rows],
        plain(y): likely,
        plain(x): [value_text(row, x) for row in rows],
    }
    finding = f"The best {plain(y)} depends on c: with {', with '.join(ends)}."
    if view.stability.draws:
        shares = {"chosen again": "agree", "keeps c": "keeps"}
        table |= {title: [f"{share:.2f}" for share in chosen[name]] for title, name in shares.items()}
        finding += f" The last two columns are shares of {view.stability.draws} bootstraps."
    return Card(title=title, finding=finding, table=pl.DataFrame(table))


def history_card(view: View) -> Card:
    """Return how the hypervolume grew, and whether it still grows."""
    title, found, manifest = "Hypervolume over the sweep", view.tradeoff, view.tradeoff.manifest
    if not found.configs.height:
        return Card(title=title, finding=nothing_yet(found))
    of = (manifest.objectives, manifest.reference_point)
    history = hypervolume_history(found.trials, view.usable, view.curves, *of)
    if not history.height or not (final := history["hypervolume"][-1]):
        return Card(title=title, finding="No config with a known end lies beyond the reference point.")
    near = history.filter(pl.col("hypervolume") >= 0.9 * final).row(0, named=True)
    last = history.row(-1, named=True)
    before = history.filter(pl.col("trials") <= 0.75 * last["trials"])["hypervolume"].last() or 0.0
    finding = (
        f"Nine tenths of the hypervolume were there after {near['trials']} of {last['trials']} trials, "
        f"{number(near['hours'])} of {number(last['hours'])} hours and {near['epochs']} of {last['epochs']} "
        f"epochs; the last quarter of the trials added {max(0.0, 1 - before / final):.1%}."
    )
    return Card(title=title, finding=finding, figure_html=history_figures(history))


def attainment_card(view: View) -> Card:
    """Return how much the front depends on the seed."""
    title, found = "Attainment over seeds", view.tradeoff
    sets = seed_sets(view.usable, found.manifest.objectives)
    if len(sets) < 2 or len(found.points.names) != 2:
        why = "It takes two objectives and configs that share seeds; replicates.seeds trains several of each."
        return Card(title=title, finding=why)

    def volume(run: Array) -> float:
        values = gains(run, found.points.objectives)
        seeds = replace(found.points, trial_ids=("",) * len(values), values=values)
        return hypervolume(seeds, found.manifest.reference_point)

    alone, mean = [volume(run) for run in sets], volume(sum(sets[1:], sets[0]) / len(sets))
    excess = sum(alone) / len(alone) - mean
    finding = (
        f"Of {count(len(sets[0]), 'config')} with {len(sets)} seeds each, the front of a single seed has a "
        f"hypervolume of {number(min(alone))} to {number(max(alone))}, that of the means over seeds has "
        f"{number(mean)}: a single seed's is {number(abs(excess))} {'larger' if excess >= 0 else 'smaller'} "
        "on average."
    )
    shares = {"at least one seed": 1 / len(sets), "half of the seeds": 0.5, "every seed": 1.0}
    surfaces = {n: attainment_surface(sets, s) for n, s in shares.items()}
    return Card(title=title, finding=finding, figure_html=attainment_figure(view, sets, surfaces))


def importance_card(view: View) -> Card:
    """Return which settings decide whether a config is among the best."""
    title, found, n = "Importance of the settings", view.tradeoff, view.tradeoff.configs.height
    shares = importances(found.configs, found.points, found.manifest.spec.get("search_space", {}))
    if not shares.height:
        why = f"It takes {FEWEST} configs whose settings and values vary; {n} are there."
        return Card(title=title, finding=why)
    ranked = shares.sort("importance", "setting", descending=[True, False])
    top = ranked.unique("target", keep="first", maintain_order=True)
    top = top.filter(pl.col("importance") > pl.col("chance"))
    parts = [
        f"{plain(setting)} for {'being ' if target == NEAR_FRONT else ''}{plain(target)} ({share:.0%})"
        for target, setting, share, _ in top.iter_rows()
    ]
    finding = f"What matters most is {', '.join(parts)}." if parts else "No setting stands out from chance."
    finding += f" {n} configs are few: take it as a hint." if n < 50 else ""
    note = (
        "PED-ANOVA: how far the values of the best tenth (at least five) are from those of all. "
        "Bars are pale where the same values, shuffled among the configs, reach as far at least once in ten."
    )
    settings = ranked["setting"].unique(maintain_order=True).head(_MOST_SETTINGS).to_list()
    figure = importance_figure(shares, settings)
    return Card(title=title, finding=finding, figure_html=f'{figure}<p class="note">{note}</p>')


def rung_card(view: View) -> Card:
    """Return how well early values foretell those at full budget."""
    title, manifest = "Was early stopping safe?", view.tradeoff.manifest
    scheduler = manifest.spec.get("scheduler", {})
    eta = float(scheduler.get("eta", 3))
    agreement = rank_agreement(view.curves, view.usable, manifest.objectives, eta=eta)
    if not agreement.height:
        why = "It takes five completed trials that were evaluated earlier too, as evaluation.every has it."
        return Card(title=title, finding=why)
    first = agreement.row(0, named=True)
    known = [o.name for o in manifest.objectives if first[o.name] is not None]
    finding = (
        f"After epoch {first['epoch']}, Kendall's tau between the order of {first['trials']} trials and that "
        f"at full budget is {' and '.join(f'{first[n]:.2f} for {plain(n)}' for n in known) or 'unknown'}; "
        f"a rung there that lets 1 of {eta:g} go on keeps {first['kept']:.0%} of the final front."
    )
    whole = agreement.filter(pl.col("kept").reverse().cum_min().reverse() == 1)["epoch"]
    if first["kept"] < 1:
        finding += f" From epoch {whole[0]} on it keeps all." if len(whole) else " No later one keeps all."
    if scheduler.get("type", "none") != "none":
        finding += " Trials that were stopped are not counted."
    return Card(title=title, finding=finding, figure_html=rung_figure(agreement))


def method_card(view: View) -> Card:
    """Return each method's front beside the others'."""
    title, found = "Methods", view.tradeoff
    methods = by_method(found)
    if methods["method"].n_unique() < 2:
        return Card(title=title, finding="No two methods are there to compare; search over `method`.")
    best = {
        f"best {plain(o.name)}": pl.struct(OBJECTIVE + o.name, STDERR + o.name)
        .sort_by(OBJECTIVE + o.name, descending=o.maximize, maintain_order=True)
        .first()
        .map_elements(lambda cell: with_error(*cell.values()), return_dtype=pl.String)
        for o in found.points.objectives
    }
    table = (
        methods.group_by("method", maintain_order=True)
        .agg(
            pl.len().alias("configs"),
            pl.col("on_front").sum().alias("on the front"),
            pl.col("own_hypervolume").first().alias("hypervolume"),
            **best,
        )
        .sort("hypervolume", descending=True, maintain_order=True)
    )
    told = [f"{m} {number(v)} ({count(n, 'config')})" for m, n, _, v, *_ in table.iter_rows()]
    finding = f"Hypervolume by method: {', '.join(told)}."
    if table["configs"].n_unique() > 1:
        finding += " More configs alone make for more of it."
    figure = method_figure(view, methods) if len(found.points.names) > 1 else None
    return Card(title=title, finding=finding, figure_html=figure, table=table)
