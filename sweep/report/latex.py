"""Tables for papers, as LaTeX with the rules of `booktabs`."""

import re
import textwrap

import polars as pl

from sweep.report.words import NUMBER

_SIGNS = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # Without these, LaTeX's first font encoding shows Spanish question marks and dashes.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "\n": " ",
    # After the end of a line, LaTeX takes these for an option.
    "[": "{[}",
    "*": "{*}",
}
_LINE = 16
"""Characters of a text's line in a cell, if its words allow it."""


def latex(text: str) -> str:
    r"""Return a text that LaTeX sets as it is.

    >>> latex("p_beta & 5 %")
    'p\\_beta \\& 5 \\%'
    """
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def latex_table(texts: pl.DataFrame) -> str:
    """Return a table of texts as a `tabular`, numbers to the right and with a real minus sign.

    It is narrow, for pages of two columns: in the size of footnotes, a header has a line for every word.
    """
    kinds = ["r" if all(map(NUMBER.fullmatch, column)) else "l" for column in texts.iter_columns()]
    rows = [[_cell(text) for text in row] for row in texts.iter_rows()]
    body = "".join(f"{' & '.join(row)} \\\\\n" for row in rows)
    heads = [_lines(name.split(), kind, "b") for name, kind in zip(texts.columns, kinds, strict=True)]
    return (
        "% \\usepackage{booktabs}\n{\\footnotesize\\setlength{\\tabcolsep}{3pt}%\n"
        f"\\begin{{tabular}}{{@{{}}{''.join(kinds)}@{{}}}}\n\\toprule\n"
        f"{' & '.join(heads)} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}}}\n"
    )


def _lines(texts: list[str], kind: str, place: str) -> str:
    """Return texts below each other, the first ("t") or the last ("b") of them in line with the row."""
    lines = r" \\ ".join(map(latex, texts))
    if len(texts) < 2:
        return lines
    return rf"\begin{{tabular}}[{place}]{{@{{}}{kind}@{{}}}}{lines}\end{{tabular}}"


def _cell(text: str) -> str:
    if not text or not NUMBER.fullmatch(text):
        return _lines(textwrap.wrap(text, _LINE, break_long_words=False, break_on_hyphens=False), "l", "t")
    power = re.sub(r"e([-+]?)0*(\d+)", lambda m: rf" \times 10^{{{m[1].strip('+')}{m[2]}}}", text)
    return "$" + power.replace("±", r"\pm") + "$"
