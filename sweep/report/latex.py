"""Tables for papers, as LaTeX with the rules of `booktabs`."""

import re

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
}


def latex(text: str) -> str:
    r"""Return a text that LaTeX sets as it is.

    >>> latex("p_beta & 5 %")
    'p\\_beta \\& 5 \\%'
    """
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def latex_table(texts: pl.DataFrame) -> str:
    """Return a table of texts as a `tabular`, numbers to the right and with a real minus sign."""
    kinds = ["r" if all(map(NUMBER.fullmatch, column)) else "l" for column in texts.iter_columns()]
    rows = [[_cell(text) for text in row] for row in texts.iter_rows()]
    body = "".join(f"{' & '.join(row)} \\\\\n" for row in rows)
    head = " & ".join(map(latex, texts.columns))
    return (
        f"% \\usepackage{{booktabs}}\n\\begin{{tabular}}{{{''.join(kinds)}}}\n\\toprule\n"
        f"{head} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
    )


def _cell(text: str) -> str:
    if not text or not NUMBER.fullmatch(text):
        return latex(text)
    power = re.sub(r"e([-+]?)0*(\d+)", lambda m: rf" \times 10^{{{m[1].strip('+')}{m[2]}}}", text)
    return "$" + power.replace("±", r"\pm") + "$"
