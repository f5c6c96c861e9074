"""Writes `docs/weights.md` and its figures: what beta, latent size and subset weights do to the trade-off.

Run: make study, or python docs/make_weights.py [RESULTS]

RESULTS is a run of `search_spaces/digits_weights.yaml`, whose quantities are then written to
`benchmarks/weights.parquet`; without it they are read from there.
"""

import json
import math
import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import polars as pl
from contrasts import Contrast, contrast, over_seeds, quantities
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweep.store.read import open_store

HERE = Path(__file__).parent
RECORD = HERE.parent / "benchmarks" / "weights.parquet"
WEIGHTS = {
    "experts": (1.0, 0.0, 0.0, 0.0, 0.0),
    "experts-equal": (0.5806, 0.1613, 0.1613, 0.0807, 0.0161),
    "equal": (0.1613, 0.3226, 0.3226, 0.1613, 0.0322),
    "equal-product": (0.0806, 0.1613, 0.1613, 0.0807, 0.5161),
    "product": (0.0, 0.0, 0.0, 0.0, 1.0),
    "pairs": (0.0, 1.0, 0.0, 0.0, 0.0),
    "triples": (0.0, 0.0, 1.0, 0.0, 0.0),
    "fours": (0.0, 0.0, 0.0, 1.0, 0.0),
}
"""The weights of the subsets' sizes in the file, by name: first those of the path, then one size alone."""
FACTORS = {"weights": "subset weights", "beta": "beta", "latent_dim": "latent size"}
REFERENCE: dict[str, object] = {"weights": "equal", "beta": 0.5, "latent_dim": 64}
"""The level of each setting that the others are compared with."""
OBJECTIVES = {"coherence": "conditional coherence", "log_likelihood": "log-likelihood, nats"}
COLUMNS = {
    "coherence": "coherence",
    "log_likelihood": "log-likelihood",
    "coherence_1": "from one",
    "coherence_4": "from four",
    "representation_1": "probe, one",
    "joint_mixture": "joint, mixture",
}
"""The quantities of the table of effects."""


def record(results: str, path: Path = RECORD) -> None:
    """Write the quantities of a sweep's trials, one row each."""
    names = {json.dumps(list(weights)): name for name, weights in WEIGHTS.items()}
    table = quantities(open_store(results), ("beta", "latent_dim", "subset_weights"))
    table = table.with_columns(pl.col("subset_weights").replace_strict(names).alias("weights"))
    table.drop("subset_weights", "trial_id").sort(*FACTORS, "seed").write_parquet(path)


def levels(table: pl.DataFrame, factor: str) -> list[object]:
    """Return the levels of a setting in the order of tables."""
    found = table[factor].unique().to_list()
    return sorted(found, key=list(WEIGHTS).index if factor == "weights" else None)


def effect(
    table: pl.DataFrame, factor: str, level: object, quantity: str, than: object = None, *, of: int = 1
) -> Contrast:
    """Return how much more a level has of a quantity than another one (the reference), over all else."""
    than = REFERENCE[factor] if than is None else than
    if level == than:
        return Contrast(0.0, 0.0)
    return contrast(table, pl.col(quantity), {level: 1.0, than: -1.0}, factor, of=of)


def share(table: pl.DataFrame, factor: str, quantity: str) -> Contrast:
    """Return the percentage of the variance between configs that the means of a setting's levels have."""
    shares = []
    for _, rows in table.group_by("seed", maintain_order=True):
        means = rows.select(pl.col(quantity).mean().over(factor))[quantity]
        shares.append(100 * float(means.var(ddof=0)) / float(rows[quantity].var(ddof=0)))  # type: ignore[arg-type]
    return over_seeds(shares)


def trade_off_figure(table: pl.DataFrame) -> Figure:
    """Return the means of all configs, one panel per latent size, the betas of one weighting joined."""
    sizes = levels(table, "latent_dim")
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(sizes), sharex=True, sharey=True)
    colours = dict(zip(WEIGHTS, colormaps["tab10"].colors, strict=False))  # type: ignore[attr-defined]
    for axes, size in zip(panels, sizes, strict=True):
        for name in levels(table, "weights"):
            rows = table.filter(latent_dim=size, weights=name).group_by("beta")
            line = rows.agg(pl.col("coherence", "log_likelihood").mean()).sort("beta")
            style = {"color": colours[name], "linestyle": "-" if name in list(WEIGHTS)[:5] else ":"}
            axes.plot(line["coherence"], line["log_likelihood"], lw=1, **style)
            area = [12 * (i + 1) ** 1.5 for i in range(line.height)]
            axes.scatter(line["coherence"], line["log_likelihood"], s=area, color=colours[name], label=name)
        axes.set(title=f"{size} latents", xlabel=OBJECTIVES["coherence"])
    panels[0].set_ylabel(OBJECTIVES["log_likelihood"])
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside right center", fontsize=8)
    return figure


def effect_figure(table: pl.DataFrame) -> Figure:
    """Return the effect of every level on both objectives, with intervals."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    panels = figure.subplots(2, 3, sharey="row", width_ratios=[2.2, 1, 1])
    for row, (quantity, label) in zip(panels, OBJECTIVES.items(), strict=True):
        for axes, (factor, title) in zip(row, FACTORS.items(), strict=True):
            _effects(axes, table, factor, quantity)
            axes.set_xlabel(title)
        row[0].set_ylabel(f"change in\n{label}")
    return figure


def _effects(axes: Axes, table: pl.DataFrame, factor: str, quantity: str) -> None:
    names = levels(table, factor)
    found = [effect(table, factor, level, quantity) for level in names]
    axes.axhline(0, color="0.7", lw=1)
    axes.errorbar(
        range(len(names)), [c.value for c in found], yerr=[c.half for c in found], fmt="o", capsize=2
    )
    axes.set_xticks(range(len(names)), [str(n).replace("-", "-\n") for n in names], fontsize=8)


def effect_table(table: pl.DataFrame) -> list[str]:
    """Return the lines of the table of effects."""
    lines = [
        "| setting | level | " + " | ".join(COLUMNS.values()) + " |",
        "|" + " --- |" * (2 + len(COLUMNS)),
    ]
    for factor, title in FACTORS.items():
        others = [level for level in levels(table, factor) if level != REFERENCE[factor]]
        for level in others:
            cells = [str(effect(table, factor, level, q, of=len(others))) for q in COLUMNS]
            lines.append(f"| {title} | {level} | " + " | ".join(cells) + " |")
    return lines


def share_table(table: pl.DataFrame) -> list[str]:
    """Return the lines of the table of shares of the variance."""
    lines = ["| quantity | " + " | ".join(FACTORS.values()) + " |", "|" + " --- |" * (1 + len(FACTORS))]
    for quantity, title in COLUMNS.items():
        lines.append(f"| {title} | " + " | ".join(str(share(table, f, quantity)) for f in FACTORS) + " |")
    return lines


_INTRO = """Written by `make study` from the record of {trials} trials,
[weights.parquet](../benchmarks/weights.parquet): every combination of {weights} weightings of the subsets,
{betas} betas and {sizes} latent sizes in [digits_weights.yaml](../search_spaces/digits_weights.yaml), with
{seeds} seeds each. An effect is the mean difference from the reference (equal weights of all subsets, beta
{beta:g}, {size} latents) over everything else; ± is half of its 95 % interval over seeds. Data and networks
are small and this is one machine's run: take the directions, not the numbers, to another data set."""
_LEVELS = """Weights: `experts` are the single modalities, `equal` all subsets alike, `product` all modalities
together, with the points half-way between them; `pairs`, `triples` and `fours` are the subsets of one size
alone. Several modalities are always evaluated by their product, which `experts` do not train. The intervals
of a setting's levels hold together (Bonferroni)."""
_SHARES = """Per cent of the variance between the configs of one seed that the levels of one setting explain;
what is missing from 100 is due to combinations and to chance."""


_SENTENCES = """1. **The {first} matter most.** They explain {explained[0]} of the variance of coherence
between configs and {explained[1]} of that of log-likelihood; {second} explains {explained[2]} and
{explained[3]}, {third} {explained[4]} and {explained[5]}.

2. **Beta: try {betas}.** Coherence and log-likelihood change {beta_steps}.

3. **Subset weights: try {weights}.** Against equal weights {coherent}; without a sure loss of coherence
these gain likelihood: {free}. Equal weights have {equal:.0f} % of the places on a seed's front, and one in
{all} of all configs.

4. **Latent size: try {sizes}.** They change {size_steps}.

5. **Cost**: {largest} latents have {parameters:.1f} times the parameters of {smallest}, beta and weights cost
nothing; `sweep run FILE --dry-run` tells the time of a trial on your machine.

The levels to try are those that no other level of the setting beats in both objectives, on average over all
else."""


def sentences(table: pl.DataFrame) -> list[str]:
    """Return what a practitioner should do, in five sentences with intervals, and how they are meant."""
    others = [name for name in levels(table, "weights") if name != REFERENCE["weights"]]

    def gain(name: object, quantity: str) -> Contrast:
        return effect(table, "weights", name, quantity, of=len(others))

    def steps(factor: str) -> str:
        told = []
        for a, b in pairwise(levels(table, factor)):
            coherence, nats = (effect(table, factor, b, q, a) for q in OBJECTIVES)
            told.append(f"from {a} to {b} by {coherence} and {nats} nats")
        return "; ".join(told)

    ordered = sorted(FACTORS, key=lambda f: -sum(share(table, f, q).value for q in OBJECTIVES))
    best = max(others, key=lambda name: gain(name, "coherence").value)
    surely = [name for name in others if gain(name, "coherence").positive]
    kept = [name for name in others if gain(name, "coherence").value + gain(name, "coherence").half >= 0]
    free = [f"{n} {gain(n, 'log_likelihood')} nats" for n in kept if gain(n, "log_likelihood").positive]
    fronts = [on_front(rows) for _, rows in table.group_by("seed", maintain_order=True)]
    sizes = levels(table, "latent_dim")
    return _SENTENCES.format(
        **dict(zip(("first", "second", "third"), (FACTORS[f] for f in ordered), strict=True)),
        explained=[f"{share(table, f, q)} %" for f in ordered for q in OBJECTIVES],
        betas=_joined(undominated(table, "beta")),
        beta_steps=steps("beta"),
        weights=_joined(undominated(table, "weights")),
        coherent=f"{_joined(surely)} are surely more coherent"
        if surely
        else f"none is surely more coherent (the best, {best}, by {gain(best, 'coherence')})",
        free=", ".join(free) or "none",
        equal=100 * statistics.fmean(front.count("equal") / len(front) for front in fronts),
        all=len(others) + 1,
        sizes=_joined(undominated(table, "latent_dim")),
        size_steps=steps("latent_dim"),
        largest=sizes[-1],
        smallest=sizes[0],
        parameters=_mean(table, "n_parameters", sizes[-1]) / _mean(table, "n_parameters", sizes[0]),
    ).split("\n\n")


def undominated(table: pl.DataFrame, factor: str) -> list[object]:
    """Return the levels of a setting that no other level beats in both objectives, over all else."""
    means = {
        level: tuple(effect(table, factor, level, q).value for q in OBJECTIVES)
        for level in levels(table, factor)
    }
    return [
        level
        for level, own in means.items()
        if not any(all(a > b for a, b in zip(other, own, strict=True)) for other in means.values())
    ]


def _joined(names: Sequence[object]) -> str:
    """Return names as words of a sentence."""
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def on_front(rows: pl.DataFrame) -> list[str]:
    """Return the weightings of the configs of one seed that no other one dominates."""
    ordered = rows.sort("coherence", "log_likelihood", descending=True)
    front: list[str] = []
    highest = -math.inf
    for row in ordered.iter_rows(named=True):
        if row["log_likelihood"] > highest:
            highest = row["log_likelihood"]
            front.append(row["weights"])
    return front


def _mean(table: pl.DataFrame, column: str, size: object) -> float:
    """Return the mean of a column for one latent size."""
    return float(table.filter(latent_dim=size)[column].mean())  # type: ignore[arg-type]


def page(table: pl.DataFrame) -> str:
    """Return the text of the page."""
    counts = {
        name: len(levels(table, f)) for name, f in zip(("weights", "betas", "sizes"), FACTORS, strict=True)
    }
    intro = _INTRO.format(
        trials=table.height,
        seeds=table["seed"].n_unique(),
        beta=REFERENCE["beta"],
        size=REFERENCE["latent_dim"],
        **counts,
    )
    parts = [
        "# What to tune first",
        intro,
        *sentences(table),
        "![Log-likelihood against conditional coherence by subset weights](weights-trade-off.svg)",
        "Larger points have a larger beta. Dotted lines join weightings of one subset size.",
        "![The effect of every level of every setting](weights-effects.svg)",
        "## Effects",
        _LEVELS,
        "\n".join(effect_table(table)),
        "## Shares of the variance",
        _SHARES,
        "\n".join(share_table(table)),
    ]
    return "\n\n".join(p if p[0] in "#!|" else fill(p, 120, break_on_hyphens=False) for p in parts) + "\n"


def main(results: str | None = None, *, folder: Path = HERE, path: Path = RECORD) -> None:
    """Write the record, if there are results, the page and its figures."""
    if results is not None:
        record(results, path)
    table = pl.read_parquet(path)
    (folder / "weights.md").write_text(page(table), encoding="utf-8")
    with rc_context({"svg.hashsalt": "weights"}):  # the same numbers give the same file
        for name, figure in (("trade-off", trade_off_figure(table)), ("effects", effect_figure(table))):
            figure.savefig(folder / f"weights-{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
