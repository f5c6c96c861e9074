"""The report's tables: the front on a terminal, on the page and in LaTeX."""

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from sweep.analysis.points import last_evaluation
from sweep.analysis.summaries import failure_reasons
from sweep.analysis.tradeoff import Tradeoff, tradeoff
from sweep.config.objectives import Objective
from sweep.report.formatting import (
    NUMBER,
    count,
    interval_text,
    number,
    pick_labels,
    plain,
    searched_settings,
    setting_text,
    status_line,
    value_text,
    weights_notes,
    worded,
)
from sweep.report.summary import futility, mean_chance, nothing_yet
from sweep.store.layout import INTERVAL, OBJECTIVE, PARAMETER, STDERR
from sweep.store.read import Store

if TYPE_CHECKING:
    from rich.console import Console, Group


def front_rows(trade: Tradeoff) -> pl.DataFrame:
    """Return one row per config on the front, the best in the first objective first.

    Columns: trial_id (the replicate of the lowest seed), config_id, seeds or folds (how many), picks, then
    o_<objective> (mean over seeds), se_<objective> (its standard error) and ci_<objective> (half width of its
    95 % interval), then p_<parameter>.
    """
    return config_rows(trade).filter("on_front").drop("on_front")


def config_rows(trade: Tradeoff) -> pl.DataFrame:
    """Return the rows of `front_rows` for all configs, with a column on_front, those of the front first."""
    first = trade.points.objectives[0]
    values = [prefix + name for name in trade.points.names for prefix in (OBJECTIVE, STDERR, INTERVAL)]
    searched = [name for name in trade.configs.columns if name.startswith(PARAMETER)]
    labels = [pick_labels(trade.picks, trial) for trial in trade.configs["trial_id"]]
    return (
        trade.configs.with_columns(pl.Series("picks", labels, dtype=pl.String))
        .with_columns(on_front=pl.Series(trade.on_front, dtype=pl.Boolean))
        .select("on_front", "trial_id", "config_id", "seeds", "picks", *values, *searched)
        .rename({"seeds": worded("seeds", trade.manifest)})
        .sort("on_front", OBJECTIVE + first.name, "trial_id", descending=[True, first.maximize, False])
    )


def front_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of `front_rows` as strings: objectives with their errors, a simplex's weights together."""
    objectives = [c.removeprefix(OBJECTIVE) for c in rows.columns if c.startswith(OBJECTIVE)]
    columns = {"trial": rows["trial_id"].to_list(), "picks": rows["picks"].to_list()}
    columns |= {plain(n): [value_text(row, n) for row in rows.iter_rows(named=True)] for n in objectives}
    for name, parts in searched_settings(rows.columns).items():
        columns[plain(name)] = [setting_text(row) for row in rows.select(parts).iter_rows()]
    for name in {"seeds", "folds"} & set(rows.columns):
        columns[name] = [str(n) for n in rows[name]]
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def with_arrows(texts: pl.DataFrame, objectives: Sequence[Objective]) -> pl.DataFrame:
    """Return a table whose headers say whether larger (↑) or smaller (↓) objective values are better."""
    arrows = {plain(o.name): "↑" if o.maximize else "↓" for o in objectives}
    return texts.rename({name: f"{name}\N{NO-BREAK SPACE}{arrow}" for name, arrow in arrows.items()})


def print_front(store: Store, console: "Console") -> None:
    """Print what is wrong with all configs, the front and its picks, the counts and why trials failed.

    Raises:
        StoreError: a file of the store is damaged or of a newer schema.
    """
    from rich.text import Text

    trade = tradeoff(store)
    if trade.configs.height:
        for sentence in futility(trade, mean_chance(last_evaluation(store.pair_coherence().collect()))):
            console.print(Text(f"{sentence}\n", style="bold"))
        console.print(front_screen(trade))
        front = f"front: {count(int(trade.on_front.sum()), 'config')} of {trade.configs.height}"
        summary = f"{status_line(trade.trials)}; {front}; hypervolume {number(trade.hypervolume)}"
    else:
        summary = worded(f"{nothing_yet(trade)[:-1]} ({status_line(trade.trials)}).", trade.manifest)
    console.print(Text(summary))
    for reason, n in failure_reasons(trade.trials):
        console.print(Text(f"  {n} failed: {reason}"))


def front_screen(trade: Tradeoff) -> "Group":
    """Return the front as a table, and its picks below, for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    texts = front_text(front_rows(trade)).drop("picks")
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in texts.columns:
        header = Text(worded(name, trade.manifest).replace(" ", "\n"))
        table.add_column(header, justify="left" if name == "trial" else "right", no_wrap=True)
    for row in texts.iter_rows():
        table.add_row(*map(Text, row))
    picks = (Text(f"{plain(pick.label)}: {pick.trial_id}") for pick in trade.picks)
    notes = [f"± is {interval_text(trade)}.", *weights_notes(trade.configs.columns, trade.manifest)]
    return Group(table, "", *map(Text, notes), *picks)


_SIGNS = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # In LaTeX's default font encoding these are Spanish punctuation and dashes.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "\N{NO-BREAK SPACE}": "~",
    "\n": " ",
    # At the beginning of a row, LaTeX reads these as an argument.
    "[": "{[}",
    "*": "{*}",
}
_GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "eta", "kappa", "lambda", "mu", "sigma", "tau")
_SYMBOLS = {"latent dim": "$d_z$"} | {name: rf"$\{name}$" for name in _GREEK}
"""What stands in a header for a setting, or for a word of its name."""
_SHORT = ("conditional", "cond.")
_HEAD = re.compile(r" |(?<=\.)")
"""Where a header may break: between words, and after a dot of an option's name."""
_LINE = 12
"""Characters per line of a cell, unless a word is longer."""


def latex(text: str) -> str:
    r"""Return a text with LaTeX's special characters escaped.

    >>> latex("p_beta & 5 %")
    'p\\_beta \\& 5 \\%'
    """
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def latex_table(texts: pl.DataFrame) -> str:
    """Return a table of strings as a `tabular`, with numbers right-aligned and in math mode.

    It is narrow, to fit a column of two: set in footnote size, with one line per word of a header, symbols
    for the latent size and names of Greek letters, and "cond." for "conditional".
    """
    kinds = ["r" if all(map(NUMBER.fullmatch, column)) else "l" for column in texts.iter_columns()]
    rows = [[_cell(text) for text in row] for row in texts.iter_rows()]
    body = "".join(f"{' & '.join(row)} \\\\\n" for row in rows)
    heads = [_head(*pair) for pair in zip(texts.columns, kinds, strict=True)]
    return (
        "% \\usepackage{booktabs}\n{\\footnotesize\\setlength{\\tabcolsep}{2pt}%\n"
        f"\\begin{{tabular}}{{@{{}}{''.join(kinds)}@{{}}}}\n\\toprule\n"
        f"{' & '.join(heads)} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}}}\n"
    )


def _head(name: str, kind: str) -> str:
    words = [name] if name in _SYMBOLS else _HEAD.split(name.replace(*_SHORT))
    return _lines([_SYMBOLS.get(word) or latex(word) for word in words], kind, "b")


def _lines(lines: list[str], kind: str, place: str) -> str:
    """Return lines below each other; the first ("t") or the last ("b") is aligned with the row."""
    text = r" \\ ".join(lines)
    return text if len(lines) < 2 else rf"\begin{{tabular}}[{place}]{{@{{}}{kind}@{{}}}}{text}\end{{tabular}}"


def _cell(text: str) -> str:
    if not text or not NUMBER.fullmatch(text):
        lines = textwrap.wrap(text.replace(*_SHORT), _LINE, break_long_words=False, break_on_hyphens=False)
        return _lines([latex(line) for line in lines], "l", "t")
    power = re.sub(r"e([-+]?)0*(\d+)", lambda m: rf" \times 10^{{{m[1].strip('+')}{m[2]}}}", text)
    return "$" + power.replace("±", r"\pm") + "$"
