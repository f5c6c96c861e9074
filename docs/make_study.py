"""Writes `docs/study.md` and its figures from a run of `search_spaces/digits_methods.yaml`.

Run: make study, or python docs/make_study.py RESULTS [AGAIN]      (AGAIN: a run with other seeds)

A claim is a contrast: a mean of some configs less that of others, each config with equal weight.
"""

import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import polars as pl
from contrasts import QUANTITIES, SIZES, Contrast, contrast, over_seeds, quantities
from matplotlib import rc_context
from matplotlib.figure import Figure

from sweep.store.read import open_store

HERE = Path(__file__).parent
NAMES = {"poe": "MVAE", "moe": "MMVAE", "mopoe": "MoPoE", "mvtcae": "MVTCAE"}
"""The methods of the file by the names of their papers, in the order of tables."""
SETTINGS = ("method", "beta")
BOTH = ("coherence", "log_likelihood")
"""What the methods trade against each other."""
COLOURS = dict(zip(NAMES, ("#4c72b0", "#dd8452", "#55a868", "#8172b3"), strict=True))
FLAT = 0.02
"""A curve is flat if the interval of its rise lies within plus or minus this."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the papers, and the contrast that decides it."""

    text: str
    """The claim."""
    quantity: str
    """What is compared."""
    more: str
    """The method that is said to have more of it."""
    less: str
    """The one that is said to have less; the same if quantities are compared."""
    other: str = ""
    """The quantity that is subtracted, if it is another one."""
    flat: bool = False
    """Whether the claim is that there is next to no difference."""

    def holds(self, found: Contrast) -> bool:
        """Return whether the contrast bears the claim out."""
        return found.within(FLAT) if self.flat else found.positive


CLAIMS = {
    "The trade-off": (
        Claim("mixtures give up likelihood: MVAE is above MoPoE", "log_likelihood", "poe", "mopoe"),
        Claim("and MoPoE is above MMVAE", "log_likelihood", "mopoe", "moe"),
        Claim("they gain coherence: MoPoE is above MVAE", "coherence", "mopoe", "poe"),
        Claim("and so is MMVAE", "coherence", "moe", "poe"),
        Claim("MVTCAE is above MVAE in coherence", "coherence", "mvtcae", "poe"),
    ),
    "Coherence by the number of observed modalities": (
        Claim("MVAE rises from one to four", "coherence_4", "poe", "poe", "coherence_1"),
        Claim("MoPoE rises from one to four", "coherence_4", "mopoe", "mopoe", "coherence_1"),
        Claim("MVTCAE rises from one to four", "coherence_4", "mvtcae", "mvtcae", "coherence_1"),
        Claim("MMVAE is flat", "coherence_4", "moe", "moe", "coherence_1", flat=True),
        Claim("from one MMVAE is above MoPoE", "coherence_1", "moe", "mopoe"),
        Claim("from four MoPoE is above MMVAE", "coherence_4", "mopoe", "moe"),
    ),
    "Representation": (
        Claim("from one modality MoPoE is above MVAE", "representation_1", "mopoe", "poe"),
        Claim("from all five MoPoE is above MMVAE", "representation_5", "mopoe", "moe"),
        Claim("from one modality MVTCAE is above MoPoE", "representation_1", "mvtcae", "mopoe"),
    ),
    "Joint coherence": tuple(
        Claim(f"a fitted mixture as prior is above N(0, I) for {NAMES[m]}", "joint_mixture", m, m, "joint")
        for m in NAMES
    ),
}


def decided(table: pl.DataFrame, claim: Claim) -> Contrast:
    """Return the contrast of a claim."""
    if claim.other:
        return contrast(table, pl.col(claim.quantity) - pl.col(claim.other), {claim.more: 1.0})
    return contrast(table, pl.col(claim.quantity), {claim.more: 1.0, claim.less: -1.0})


def predicted(table: pl.DataFrame, again: pl.DataFrame) -> tuple[int, int]:
    """Return how many means of a second run lie in their 95 % prediction intervals, and of how many.

    An interval of a config's mean is Student's, with that config's own variance between seeds.
    """
    within = of = 0
    for _, here in table.group_by("method", "beta"):
        there = again.join(here.select("method", "beta").unique(), on=["method", "beta"])
        for name in QUANTITIES:
            x, y = here[name].to_list(), there[name].to_list()
            # Of the mean of x the interval is half_x = t sd sqrt(1 / n); a second mean adds its own variance.
            half = over_seeds(x).half * math.sqrt(1 + len(x) / len(y))
            within += abs(statistics.fmean(x) - statistics.fmean(y)) <= half
            of += 1
    return within, of


def trade_off_figure(table: pl.DataFrame) -> Figure:
    """Return each config's mean with its interval, the configs of a method joined in the order of beta."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="conditional coherence", ylabel="log-likelihood, nats")
    betas = sorted(table["beta"].unique())
    for method, name in NAMES.items():
        x, y = (
            [contrast(table.filter(beta=beta), pl.col(q), {method: 1.0}) for beta in betas]
            for q in ("coherence", "log_likelihood")
        )
        axes.errorbar(
            [c.value for c in x],
            [c.value for c in y],
            xerr=[c.half for c in x],
            yerr=[c.half for c in y],
            color=COLOURS[method],
            marker="o",
            capsize=2,
            label=name,
        )
        first = x[0].value, y[0].value
        axes.annotate(f"β {betas[0]:g}", first, xytext=(4, -10), textcoords="offset points", fontsize=7)
    axes.legend(frameon=False)
    return figure


def size_figure(table: pl.DataFrame) -> Figure:
    """Return coherence by the number of observed modalities, over all betas."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="observed modalities", ylabel="conditional coherence", xticks=SIZES)
    for method, name in NAMES.items():
        found = [contrast(table, pl.col(f"coherence_{n}"), {method: 1.0}) for n in SIZES]
        axes.errorbar(
            SIZES,
            [c.value for c in found],
            yerr=[c.half for c in found],
            color=COLOURS[method],
            marker="o",
            capsize=2,
            label=name,
        )
    axes.legend(frameon=False)
    return figure


def method_table(table: pl.DataFrame) -> list[str]:
    """Return the lines of the table of all configs."""
    columns = {
        "log_likelihood": "log-likelihood",
        "coherence": "coherence",
        **{f"coherence_{n}": f"from {n}" for n in SIZES},
        "representation_1": "probe, one",
        "representation_5": "probe, all",
        "joint": "joint",
        "joint_mixture": "joint, mixture",
    }
    lines = [f"| method | beta | {' | '.join(columns.values())} |", "|" + " --- |" * (2 + len(columns))]
    means = table.group_by("method", "beta").agg(pl.col(list(columns)).mean()).sort("beta")
    for method, name in NAMES.items():
        for row in means.filter(method=method).iter_rows(named=True):
            cells = [f"{row[c]:.0f}" if c == "log_likelihood" else f"{row[c]:.3f}" for c in columns]
            lines.append(f"| {name} | {row['beta']:g} | {' | '.join(cells)} |")
    return lines


def claim_lines(table: pl.DataFrame, claims: Sequence[Claim]) -> list[str]:
    """Return the lines of a table of claims."""
    lines = ["| claim | difference | here |", "| --- | --- | --- |"]
    for claim in claims:
        found = decided(table, claim)
        lines.append(f"| {claim.text} | {found} | {'holds' if claim.holds(found) else 'does not hold'} |")
    return lines


_INTRO = """**What MoPoE buys** on average over these betas: {more}. **What it costs**: {fewer}. **What to try
first**: MoPoE with beta {coherent[0]:g} for coherence ({coherent[1]:.3f}) or {likely[0]:g} for likelihood
({likely[1]:.0f} nats), then [the weights of its subsets](weights.md). Of {claims} claims of the papers {hold}
hold here."""
_AGAINST = """A difference is one of means over the betas, and ± is half of its 95 % interval over seeds
(Student's: each seed gives one difference). Coherence is the share of generated modalities that show the
digit of the observed ones, a tenth by chance."""
_SETTING = """Written by `make study`: {trials} trials of
[digits_methods.yaml](../search_spaces/digits_methods.yaml), four methods with beta {betas} and {seeds} seeds
each. The networks and the data are small, and this is one machine's run: the papers' are larger, and other
machines' figures differ within the intervals. Log-likelihoods rest on 62 importance samples, with equal
shares of all subsets, and are some ten nats too low, least for mixtures."""
_RULE = f"""A claim holds if all of the interval is above zero, and a curve is flat if all of it lies within
±{FLAT:g}."""
_AGAIN = """Trained again with {seeds} other seeds each, {same} of the {claims} differences keep their sign,
and {within} of {of} means over seeds lie in the 95 % prediction intervals of the run above. Far fewer than
95 % mean that seeds vary more than those above show, as where a rare one is bad for many configs at once."""
_COLUMNS = """Means over seeds. `from n`: conditional coherence from n observed modalities; `probe`: accuracy
of a linear probe on the posterior's mean given one modality or all; `joint`: joint coherence from the prior
N(0, I), and from a mixture of ten Gaussians fitted to the latents."""


def surely(found: Mapping[str, Mapping[str, Contrast]], sign: int) -> str:
    """Return in words what MoPoE surely has more of (sign 1) or less of (-1), and against which methods."""
    parts = []
    for quantity, word in zip(BOTH, ("coherence", "likelihood"), strict=True):
        differences = {name: of[quantity] for name, of in found.items()}
        names = [name for name, c in differences.items() if Contrast(sign * c.value, c.half).positive]
        listed = " and ".join([*filter(None, [", ".join(names[:-1])]), *names[-1:]])
        parts += [f"{word} against {listed}"] if names else []
    return "; ".join(parts) or "nothing for sure"


def page(table: pl.DataFrame, again: pl.DataFrame | None = None) -> str:
    """Return the text of the page, with how a second run bears it out if there is one."""
    verdicts = [claim.holds(decided(table, claim)) for claims in CLAIMS.values() for claim in claims]
    found = {
        NAMES[method]: {q: contrast(table, pl.col(q), {"mopoe": 1.0, method: -1.0}) for q in BOTH}
        for method in ("poe", "moe", "mvtcae")
    }
    against = ["| difference | conditional coherence | log-likelihood, nats |", "| --- | --- | --- |"]
    against += [
        f"| MoPoE minus {name} | {' | '.join(str(of[q]) for q in BOTH)} |" for name, of in found.items()
    ]
    means = table.filter(method="mopoe").group_by("beta").agg(pl.col(BOTH).mean())
    coherent, likely = (means.sort(q).select("beta", q).row(-1) for q in BOTH)
    betas = ", ".join(f"{beta:g}" for beta in sorted(table["beta"].unique()))
    parts = [
        "# The methods side by side",
        _INTRO.format(
            more=surely(found, 1),
            fewer=surely(found, -1),
            coherent=coherent,
            likely=likely,
            claims=len(verdicts),
            hold=sum(verdicts),
        ),
        "\n".join(against),
        _AGAINST,
        _SETTING.format(trials=table.height, betas=betas, seeds=table["seed"].n_unique()),
        "![Log-likelihood against conditional coherence by method](study-trade-off.svg)",
        "![Coherence by the number of observed modalities](study-observed.svg)",
    ]
    for title, claims in CLAIMS.items():
        parts += [f"## {title}", "\n".join(claim_lines(table, claims))]
    parts.append(_RULE)
    if again is not None:
        signs = [
            decided(run, claim).value > 0 for run in (table, again) for c in CLAIMS.values() for claim in c
        ]
        same = sum(a == b for a, b in zip(signs[: len(verdicts)], signs[len(verdicts) :], strict=True))
        within, of = predicted(table, again)
        seeds = again["seed"].n_unique()
        text = _AGAIN.format(seeds=seeds, same=same, claims=len(verdicts), within=within, of=of)
        parts += ["## Held to prediction", text]
    parts += ["## All configs", _COLUMNS, "\n".join(method_table(table))]
    return (
        "\n\n".join(part if part[0] in "#!|" else fill(part, 120, break_on_hyphens=False) for part in parts)
        + "\n"
    )


def main(results: str, again: str | None = None, *, folder: Path = HERE) -> None:
    """Write the page and its figures."""
    table = quantities(open_store(results), SETTINGS)
    second = None if again is None else quantities(open_store(again), SETTINGS)
    (folder / "study.md").write_text(page(table, second), encoding="utf-8")
    with rc_context({"svg.hashsalt": "study"}):  # the same numbers give the same file
        for name, figure in (("trade-off", trade_off_figure(table)), ("observed", size_figure(table))):
            figure.savefig(folder / f"study-{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
