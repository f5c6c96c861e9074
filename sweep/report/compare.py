"""Compares two sweeps: both fronts, dominance, attainment, and the differences between their files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl

from mopoe.errors import masked
from sweep.analysis.fronts import common_corner, dominated, hypervolume
from sweep.analysis.inference import DRAWS
from sweep.analysis.points import usable_trials, worst_first
from sweep.analysis.posterior import Array
from sweep.analysis.tradeoff import Tradeoff, tradeoff
from sweep.analysis.uncertainty import (
    Difference,
    attainment_difference,
    attainment_surface,
    coarse,
    has_few_seeds,
    seed_sets,
)
from sweep.config.objectives import Objective, gains
from sweep.errors import StoreError
from sweep.report.formatting import count, number, plain, with_unit, worded
from sweep.report.page import write_html
from sweep.report.tables import front_rows, front_text
from sweep.report.theme import COLOURS, STEPS, axis, drawn, layout, series, steps
from sweep.report.view import Card
from sweep.store.layout import OBJECTIVE
from sweep.store.maintenance import check_same_data
from sweep.store.read import Store

_VOLUMES = 200
"""Draws of the true means whose hypervolumes are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The report of a comparison."""

    title: str
    """Both names."""
    note: str
    """Both results folders."""
    cards: tuple[Card, ...]
    """Fronts, dominance, attainment and changes."""


def compare(one: Store, other: Store) -> Comparison:
    """Return a comparison of two sweeps with the same objectives; the cards call them A and B.

    Raises:
        StoreError: the objectives differ, or a file of a store is damaged or of a newer schema.
    """
    a, b = tradeoff(one), tradeoff(other)
    if a.manifest.objectives != b.manifest.objectives:
        mine, theirs = (", ".join(trade.points.names) for trade in (a, b))
        raise StoreError(
            f"{one.files} has the objectives {mine} and {other.files} has {theirs}: fronts of different "
            "objectives cannot be compared"
        )
    check_same_data(one, other)
    names = a.manifest.name, b.manifest.name
    note = f"A is {names[0]} in {one.files}, B is {names[1]} in {other.files}."
    hashes = a.manifest.classifier_hash, b.manifest.classifier_hash
    if all(hashes) and hashes[0] != hashes[1]:
        note += f" Coherence is not comparable: its classifiers differ ({hashes[0]} and {hashes[1]})."

    def said(text: str) -> str:
        return worded(text, a.manifest, b.manifest)

    cards = (
        replace(
            c, title=said(c.title), finding=said(c.finding), figure_html=c.figure_html and said(c.figure_html)
        )
        for c in (_front_card(a, b), _domination_card(a, b), _attainment_card(a, b))
    )
    return Comparison(
        title=" and ".join(dict.fromkeys(names)) + ", compared",
        note=note,
        cards=(*cards, _change_card(a, b)),
    )


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write report.html into `out`, and return its path; StoreError if it cannot be written."""
    return write_html(out, comparison.title, comparison.note, comparison.cards)


def _front_card(a: Tradeoff, b: Tradeoff) -> Card:
    corner = common_corner(a.manifest.reference_point, b.manifest.reference_point, a.points.objectives)
    volumes = [hypervolume(trade.points, corner) for trade in (a, b)]
    whose = "the reference point of both"
    if a.manifest.reference_point != b.manifest.reference_point:
        whose = "the worse of both reference points in each objective"
    finding = (
        f"Hypervolume from ({', '.join(f'{plain(n)} {number(v)}' for n, v in corner.items())}), {whose}: "
        f"A {number(volumes[0])}, B {number(volumes[1])}. {_lead(a, b, corner)}"
    )
    pairs = combinations(a.points.objectives, 2)
    return Card(title="Both fronts", finding=finding, figure_html="".join(_figure(a, b, *p) for p in pairs))


def _lead(a: Tradeoff, b: Tradeoff, corner: Mapping[str, float]) -> str:
    """Return how probable it is that A's true means dominate the larger volume, in a sentence."""
    drawn = []
    for own, trade in zip("AB", (a, b), strict=True):
        if trade.inference.posterior is None:
            return f"How sure this is cannot be told, because no config of {own} has a second seed."
        some = tuple(trade.points.trial_ids[i] for i in trade.inference.rows)
        gains_DCO = trade.inference.posterior.mean_DCO[:: max(1, DRAWS // _VOLUMES)]
        values_DCO = gains(gains_DCO, trade.points.objectives)
        drawn.append(
            [hypervolume(replace(trade.points, trial_ids=some, values=v), corner) for v in values_DCO]
        )
    share = float(np.mean([one > other for one, other in zip(*drawn, strict=False)]))
    few = any(has_few_seeds(trade.configs["seeds"].to_numpy())[trade.on_front].any() for trade in (a, b))
    return (
        f"The probability that A's true means have the larger one is {coarse(share, few_seeds=few)} "
        f"({_VOLUMES} draws from both posteriors)."
    )


def _domination_card(a: Tradeoff, b: Tradeoff) -> Card:
    beaten = (dominated(a.points, b.points), dominated(b.points, a.points))
    sentences, rows = [], []
    for trade, lost, own, other in zip((a, b), beaten, "AB", "BA", strict=True):
        n, of = int((lost & trade.on_front).sum()), count(int(trade.on_front.sum()), "config")
        sentences.append(f"Of {of} on {own}'s front {other} dominates {n or 'none'}.")
        losers = np.array(trade.points.trial_ids)[lost].tolist()
        status = pl.when(pl.col("trial").is_in(losers)).then(pl.lit(f"dominated by {other}")).alias("status")
        rows.append(
            front_text(front_rows(trade)).select(pl.lit(own).alias("sweep"), status, pl.exclude("picks"))
        )
    table = pl.concat(rows, how="diagonal").fill_null("")
    return Card(title="Dominance", finding=" ".join(sentences), table=table)


def _change_card(a: Tradeoff, b: Tradeoff) -> Card:
    was, now = (dict(_flat({**t.manifest.spec, "versions": t.manifest.versions})) for t in (a, b))
    keys = [k for k in dict.fromkeys((*was, *now)) if was.get(k) != now.get(k)]
    rows = [(k, *(masked(str(side.get(k, "absent"))) for side in (was, now))) for k in keys]
    verb = "differs" if len(rows) == 1 else "differ"
    finding = f"Between the files and versions of A and B {count(len(rows), 'key')} {verb}."
    table = pl.DataFrame(rows, schema=["key", "A", "B"], orient="row") if rows else None
    return Card(title="Changes", finding=finding, table=table)


def _flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield every value of nested mappings with its key, as in search_space.beta.low."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(inner, f"{name}.{key}" if name else str(key))


def _figure(a: Tradeoff, b: Tradeoff, first: Objective, second: Objective) -> str:
    flat, x, y, parts = len(a.points.names) == 2, first.name, second.name, []
    for trade, own, colour, mark in zip((a, b), "AB", COLOURS[:2], ("circle", "diamond"), strict=True):
        for on_front, opacity in ((False, 0.35), (True, 1.0)):
            rows = worst_first(trade.configs.filter(pl.Series(trade.on_front == on_front)), first)
            parts.append(
                series(
                    rows.select(OBJECTIVE + x, OBJECTIVE + y).to_numpy(),
                    mode="lines+markers" if flat and on_front else "markers",
                    name=f"{own}: {'front' if on_front else 'other configs'}",
                    opacity=opacity,
                    marker={"color": colour, "symbol": mark, "size": 9 if on_front else 7},
                    line={"color": colour, "width": 1.5, "shape": STEPS},
                    hovertext=[f"{own}: {trial}" for trial in rows["trial_id"]],
                    hoverinfo="text+x+y",
                )
            )
    text = f"Scatter plot of {plain(x)} against {plain(y)} for the configs of both sweeps, with both fronts"
    form = layout(440, xaxis=axis(with_unit(first)), yaxis=axis(with_unit(second)))
    return drawn(f"fronts-{x}-{y}", text, parts, form)


def _attainment_card(a: Tradeoff, b: Tradeoff) -> Card:
    """Return which goals more seeds of one sweep attain than of the other."""
    title, names, objectives = "Attainment over seeds", a.points.names, a.points.objectives
    usable = (usable_trials(t.trials, objectives, t.manifest.limits) for t in (a, b))
    sets = left, right = [seed_sets(trials, objectives) for trials in usable]
    if min(map(len, sets)) < 2 or len(names) != 2:
        why = "This needs two objectives and, in both A and B, configs that share several seeds."
        return Card(title=title, finding=why)
    difference, sentences = attainment_difference(left, right), []
    for own, other, lead in zip("AB", "BA", (difference.share, -difference.share), strict=True):
        i, j = np.unravel_index(lead.argmax(), lead.shape)
        goal = np.array([difference.x[i], difference.y[j]])
        reach = [sum((run >= goal).all(axis=1).any() for run in some) for some in sets]
        shares = {o: f"{n} of {len(s)}" for o, n, s in zip("AB", reach, sets, strict=True)}
        at = " and ".join(
            f"{plain(n)} {number(v)}" for n, v in zip(names, gains(goal, objectives), strict=True)
        )
        sentence = f"{own} leads most at {at}, "
        sentence += f"which {shares[own]} of its seeds reach and {shares[other]} of {other}'s."
        sentences.append(sentence if lead[i, j] > 0 else f"{own} is ahead nowhere.")
    of = [
        f"{count(len(s[0]), 'config')} of {own} with {len(s)} seeds each"
        for own, s in zip("AB", sets, strict=True)
    ]
    finding = f"{' '.join(sentences)} This compares {' and '.join(of)}."
    return Card(title=title, finding=finding, figure_html=_difference_figure(a, sets, difference))


def _difference_figure(a: Tradeoff, sets: list[list[Array]], difference: Difference) -> str:
    """Return the plane of goals, coloured by the leading sweep, and what half of the seeds of each attain."""
    x, y = (
        [o.sign * edge for edge in _edges(goals)]
        for o, goals in zip(a.points.objectives, (difference.x, difference.y), strict=True)
    )
    bar = {"thickness": 10, "outlinewidth": 0, "orientation": "h", "y": -0.16, "yanchor": "top", "len": 0.9}
    bar |= {"tickvals": [-1, 0, 1], "ticktext": ["only B", "both or none", "only A"]}
    # Each colour fades to transparent: through grey, small shares of both would look alike.
    clear = [[0.5, "rgba(0,114,178,0)"], [0.5, "rgba(213,94,0,0)"]]
    scale = [[0, COLOURS[1]], *clear, [1, COLOURS[0]]]
    shares = difference.share.T.round(3).tolist()
    heat = {"type": "heatmap", "x": x, "y": y, "z": shares, "zmin": -1, "zmax": 1, "colorscale": scale}
    heat |= {"colorbar": bar, "hovertemplate": "A minus B: %{z:.0%}<extra></extra>"}
    titles = [axis(with_unit(objective)) for objective in a.points.objectives]
    margin = {"l": 56, "r": 16, "t": 16, "b": 100}
    form = layout(480, xaxis=titles[0], yaxis=titles[1], margin=margin)
    lines = [
        steps(gains(attainment_surface(some, 0.5), a.points.objectives), i, name=f"{own}: half of the seeds")
        for i, (some, own) in enumerate(zip(sets, "AB", strict=True))
    ]
    return drawn(
        "attained", "Where the seeds of one sweep attain more than those of the other", [heat, *lines], form
    )


def _edges(goals: Array) -> list[float]:
    """Return the edges of the cells of goals, from easy to hard; each goal is the hard end of its cell."""
    return [float(goals[0] - 0.03 * (goals[-1] - goals[0])), *goals.tolist()]
