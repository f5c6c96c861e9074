"""The cards on how far to trust a sweep, and on what it teaches beyond its front."""

from dataclasses import replace

import polars as pl

from sweep.analysis.attainment import Array, attainment_surface, seed_sets
from sweep.analysis.checks import run_checks
from sweep.analysis.fronts import hypervolume
from sweep.analysis.history import hypervolume_history
from sweep.analysis.importances import FEWEST, NEAR_FRONT, importances
from sweep.analysis.methods import by_method
from sweep.analysis.picks import level_axes
from sweep.analysis.rungs import rank_agreement
from sweep.report import trust_figures as figures
from sweep.report.card import Card
from sweep.report.summary import nothing_yet
from sweep.report.view import View
from sweep.report.words import count, number, plain, value_text, with_error
from sweep.store.schema import OBJECTIVE, STDERR

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
    figure = figures.stability_figure(view) if len(found.points.names) > 1 else ""
    return Card(title=title, finding=finding, figure_html=f'{figure}<p class="note">{note}</p>')


def level_card(view: View) -> Card:
    """Return the best config in one objective for each bound on the other."""
    found, chosen = view.tradeoff, view.stability.levels
    if len(found.points.names) < 2:
        return Card(title="Best value for a bound", finding="It takes two objectives.")
    bounded, best = level_axes(found.points.names)
    x, y = found.points.names[bounded], found.points.names[best]
    limit = "at least" if found.points.maximize[bounded] else "at most"
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
    return Card(title=title, finding=finding, figure_html=figures.history_figures(history))


def attainment_card(view: View) -> Card:
    """Return how much the front depends on the seed."""
    title, found = "Attainment over seeds", view.tradeoff
    sets = seed_sets(view.usable, found.manifest.objectives)
    if len(sets) < 2 or len(found.points.names) != 2:
        why = "It takes two objectives and configs that share seeds; replicates.seeds trains several of each."
        return Card(title=title, finding=why)

    def volume(values: Array) -> float:
        front = replace(found.points, trial_ids=("",) * len(values), values=values)
        return hypervolume(front, found.manifest.reference_point)

    alone, mean = [volume(values) for values in sets], volume(sum(sets[1:], sets[0]) / len(sets))
    excess = sum(alone) / len(alone) - mean
    finding = (
        f"Of {count(len(sets[0]), 'config')} with {len(sets)} seeds each, the front of a single seed has a "
        f"hypervolume of {number(min(alone))} to {number(max(alone))}, that of the means over seeds has "
        f"{number(mean)}: a single seed's is {number(abs(excess))} {'larger' if excess >= 0 else 'smaller'} "
        "on average."
    )
    shares = {"at least one seed": 1 / len(sets), "half of the seeds": 0.5, "every seed": 1.0}
    surfaces = {n: attainment_surface(sets, found.points.maximize, s) for n, s in shares.items()}
    return Card(title=title, finding=finding, figure_html=figures.attainment_figure(view, sets, surfaces))


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
    figure = figures.importance_figure(shares, settings)
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
    return Card(title=title, finding=finding, figure_html=figures.rung_figure(agreement))


def method_card(view: View) -> Card:
    """Return each method's front beside the others'."""
    title, found = "Methods", view.tradeoff
    methods = by_method(found)
    if methods["method"].n_unique() < 2:
        return Card(title=title, finding="No two methods are there to compare; search over `method`.")
    best = {
        f"best {plain(n)}": pl.struct(OBJECTIVE + n, STDERR + n)
        .sort_by(OBJECTIVE + n, descending=up)
        .first()
        .map_elements(lambda cell: with_error(*cell.values()), return_dtype=pl.String)
        for n, up in zip(found.points.names, found.points.maximize, strict=True)
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
    figure = figures.method_figure(view, methods) if len(found.points.names) > 1 else None
    return Card(title=title, finding=finding, figure_html=figure, table=table)
