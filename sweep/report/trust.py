"""The cards on how far to trust a sweep, and on what it shows beyond its front."""

import math
from dataclasses import replace

import polars as pl

from sweep.analysis.checks import run_checks
from sweep.analysis.fronts import hypervolume
from sweep.analysis.importances import NEAR_FRONT, importances
from sweep.analysis.points import worst_first
from sweep.analysis.posterior import Array
from sweep.analysis.summaries import by_method, hypervolume_history, rank_agreement
from sweep.analysis.tradeoff import level_axes
from sweep.analysis.uncertainty import FEW_SEEDS, attainment_surface, coarse, seed_sets
from sweep.config.objectives import gains
from sweep.report import figures
from sweep.report.formatting import count, number, plain, value_text
from sweep.report.theme import MOST_SETTINGS
from sweep.report.view import Card, View

_ORDER = ("warn", "unknown", "pass")


def checks_card(view: View) -> Card:
    """Return the checks of the sweep's conclusions, warnings first."""
    results = run_checks(view.tradeoff, view.metrics, view.explained, view.curves)
    checks = sorted(results, key=lambda c: _ORDER.index(c.result))
    finding = f"{sum(c.result == 'pass' for c in checks)} of {len(checks)} checks pass."
    table = pl.DataFrame(checks).select("result", "check", finding="sentence")
    return Card(title="Checks", finding=finding, table=table)


def stability_card(view: View) -> Card | None:
    """Return how probable it is that configs are on the front."""
    title, trade, sure = "Uncertainty of the front", view.tradeoff, view.stability
    if not sure.draws:
        return None
    half, fifth = int((sure.on_front >= 0.5).sum()), int((sure.on_front >= 0.2).sum())
    finding = (
        f"Of {count(trade.configs.height, 'config')}, {half} {'is' if half == 1 else 'are'} on the front "
        f"with a probability of at least 0.5, and {fifth} of at least 0.2."
    )
    note = (
        f"Probabilities are shares of {sure.draws} draws from the posterior of the configs' means over seeds "
        "and held-out samples (a hierarchical model that pools the variance between seeds). For a config "
        f"with fewer than {FEW_SEEDS} seeds, and for all where most have fewer, they hold only roughly, and "
        "are told as below 0.2, above 0.8 or undecided."
    )
    if trade.inference.unpaired:
        note += (
            f" Samples are not paired for {' and '.join(map(plain, trade.inference.unpaired))}, whose "
            "standard errors count as independent between configs."
        )
    figure = figures.stability_figure(view) if len(trade.points.names) > 1 else ""
    return Card(title=title, finding=finding, figure_html=f'{figure}<p class="note">{note}</p>')


def level_card(view: View) -> Card | None:
    """Return the best config in one objective for each bound on the other."""
    trade, chosen = view.tradeoff, view.stability.levels
    if len(trade.points.names) < 2:
        return None
    bounded, best = level_axes(trade.points.names)
    x, y = trade.points.names[bounded], trade.points.names[best]
    limit = "at least" if trade.points.objectives[bounded].maximize else "at most"
    title = f"Best {plain(y)} with {plain(x)} {limit} c"
    if not chosen.height:
        return None
    merged = chosen.group_by(pl.col("row").rle_id().alias("run"), maintain_order=True).agg(
        pl.col("row", "agree", "keeps").last(), easy=pl.col("c").first(), hard=pl.col("c").last()
    )
    rows = [trade.configs.row(i, named=True) for i in merged["row"]]
    values, kept = ([value_text(row, name) for row in rows] for name in (y, x))
    bounds = [" to ".join(dict.fromkeys(map(number, ends))) for ends in merged.select("easy", "hard").rows()]
    few, draws = [bool(view.stability.few_seeds[i]) for i in merged["row"]], view.stability.draws
    agree, keeps = (
        [coarse(p, few_seeds=of_few) if draws else "" for p, of_few in zip(merged[name], few, strict=True)]
        for name in ("agree", "keeps")
    )
    if len(rows) == 1:
        every, trial = "every c from " * (" to " in bounds[0]) + bounds[0], rows[0]["trial_id"]
        finding = f"For {every} it is {trial}: {plain(y)} {values[0]}, {plain(x)} {kept[0]}."
        if draws:
            finding += (
                f" Probabilities at the last c: same pick {agree[0]}, constraint holds {keeps[0]} "
                f"({draws} draws from the posterior)."
            )
        return Card(title=title, finding=finding)
    table = {"c": bounds, "trial": [row["trial_id"] for row in rows], plain(y): values, plain(x): kept}
    ends = [
        f"{limit} {number(c)} it is {values[i]}"
        for c, i in ((merged["easy"][0], 0), (merged["hard"][-1], -1))
    ]
    finding = f"The best {plain(y)} depends on c: with {', with '.join(ends)}."
    if draws:
        table |= {"P(same pick)": agree, "P(constraint holds)": keeps}
        finding += (
            f" The probabilities, at the last c of a row, are shares of {draws} draws from the posterior."
        )
    return Card(title=title, finding=finding, table=pl.DataFrame(table))


def history_card(view: View) -> Card | None:
    """Return how the hypervolume grew, and whether it still grows."""
    title, trade, manifest = "Hypervolume over the sweep", view.tradeoff, view.tradeoff.manifest
    axes = (manifest.objectives, manifest.reference_point)
    history = hypervolume_history(trade.trials, view.usable, view.curves, *axes)
    if not history.height or not (final := history["hypervolume"][-1]):
        return None
    near = history.filter(pl.col("hypervolume") >= 0.9 * final).row(0, named=True)
    last = history.row(-1, named=True)
    before = history.filter(pl.col("trials") <= 0.75 * last["trials"])["hypervolume"].last() or 0.0
    finding = (
        f"90 % of the hypervolume was reached after {near['trials']} of {last['trials']} trials, "
        f"{number(near['hours'])} of {number(last['hours'])} hours and {near['epochs']} of {last['epochs']} "
        f"epochs; the last quarter of the trials added {max(0.0, 1 - before / final):.1%}."
    )
    return Card(title=title, finding=finding, figure_html=figures.history_figures(history))


def attainment_card(view: View) -> Card | None:
    """Return how much the front of the configs that share three seeds or more depends on the seed."""
    title, trade = "Attainment over seeds", view.tradeoff
    sets = seed_sets(view.usable, trade.points.objectives)
    if len(sets) < FEW_SEEDS or len(sets[0]) < 2 or len(trade.points.names) != 2:
        return None

    def volume(run: Array) -> float:
        values = gains(run, trade.points.objectives)
        seeds = replace(trade.points, trial_ids=("",) * len(values), values=values)
        return hypervolume(seeds, trade.manifest.reference_point)

    by_seed, mean = [volume(run) for run in sets], volume(sum(sets[1:], sets[0]) / len(sets))
    excess = sum(by_seed) / len(by_seed) - mean
    finding = (
        f"For {count(len(sets[0]), 'config')} with {len(sets)} seeds each, the front of a single seed has a "
        f"hypervolume of {number(min(by_seed))} to {number(max(by_seed))} and that of the means over seeds "
        f"{number(mean)}: a single seed's is {number(abs(excess))} {'larger' if excess >= 0 else 'smaller'} "
        "on average."
    )
    shares = {"at least one seed": 1 / len(sets), "half of the seeds": 0.5, "every seed": 1.0}
    surfaces = {n: attainment_surface(sets, s) for n, s in shares.items()}
    return Card(title=title, finding=finding, figure_html=figures.attainment_figure(view, sets, surfaces))


def importance_card(view: View) -> Card | None:
    """Return which settings decide whether a config is among the best."""
    title, trade, n = "Importance of the settings", view.tradeoff, view.tradeoff.configs.height
    shares = importances(trade.configs, trade.points, trade.manifest.spec.get("search_space", {}))
    if not shares.height:
        return None
    ranked = shares.sort("importance", "setting", descending=[True, False])
    told = ranked.filter(pl.col("importance") > pl.col("chance"))
    parts = [
        f"{plain(setting)} for {'being ' if target == NEAR_FRONT else ''}{plain(target)} ({share:.0%})"
        for target, setting, share, *_ in told.unique("target", keep="first", maintain_order=True).iter_rows()
    ]
    needed = math.ceil(min(shares["needed"]) / 10) * 10
    finding = (
        f"Most important: {', '.join(parts)}."
        if parts
        else (
            f"With {n} configs no setting can be told from chance; if the clearest difference here is real, "
            f"about {needed} would show it."
        )
    )
    note = (
        "PED-ANOVA: difference between the values of a setting in the best tenth (at least five) and in all "
        "configs. Pale: not told from chance. If no setting matters, one in twenty sweeps or fewer names any "
        "(permutations of the configs; all settings and targets together)."
    )
    settings = ranked["setting"].unique(maintain_order=True).head(MOST_SETTINGS).to_list()
    figure = figures.importance_figure(shares, settings)
    return Card(title=title, finding=finding, figure_html=f'{figure}<p class="note">{note}</p>')


def rung_card(view: View) -> Card | None:
    """Return how well early values predict those at full budget."""
    title, manifest = "Was early stopping safe?", view.tradeoff.manifest
    scheduler = manifest.spec.get("scheduler", {})
    eta = float(scheduler.get("eta", 3))
    agreement = rank_agreement(view.curves, view.usable, manifest.objectives, eta=eta)
    if not agreement.height:
        return None
    first = agreement.row(0, named=True)
    known = [o.name for o in manifest.objectives if first[o.name] is not None]
    finding = (
        f"After epoch {first['epoch']}, Kendall's tau between the order of {first['trials']} trials and that "
        f"at full budget is {' and '.join(f'{first[n]:.2f} for {plain(n)}' for n in known) or 'unknown'}; "
        f"a rung there that continues 1 of {eta:g} keeps {first['kept']:.0%} of the final front."
    )
    whole = agreement.filter(pl.col("kept").reverse().cum_min().reverse() == 1)["epoch"]
    if first["kept"] < 1:
        later = f"From epoch {whole[0]} on, a rung keeps" if len(whole) else "No later rung keeps"
        finding += f" {later} the whole front."
    if scheduler.get("type", "none") != "none":
        finding += " Stopped trials are not counted."
    return Card(title=title, finding=finding, figure_html=figures.rung_figure(agreement))


def method_card(view: View) -> Card | None:
    """Return a comparison of the methods' fronts."""
    title, trade = "Methods", view.tradeoff
    methods = by_method(trade)
    if methods["method"].n_unique() < 2:
        return None
    rows = []
    for own in methods.partition_by("method", maintain_order=True):
        row = {"method": own["method"][0], "configs": own.height, "on the front": own["on_front"].sum()}
        row["hypervolume"] = own["own_hypervolume"][0]
        for o in trade.points.objectives:
            best = worst_first(own, o).row(-1, named=True)
            row[f"best {plain(o.name)}"] = value_text(best, o.name)
        rows.append(row)
    table = pl.DataFrame(rows).sort("hypervolume", descending=True, maintain_order=True)
    volumes = [f"{m} {number(v)} ({count(n, 'config')})" for m, n, _, v, *_ in table.iter_rows()]
    finding = f"Hypervolume by method: {', '.join(volumes)}."
    if table["configs"].n_unique() > 1:
        finding += " More configs alone increase it."
    figure = figures.method_figure(view, methods) if len(trade.points.names) > 1 else None
    return Card(title=title, finding=finding, figure_html=figure, table=table)
