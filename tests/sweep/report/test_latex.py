"""Tables for papers: as text, and set by LaTeX."""

import re
import shutil
import subprocess

import polars as pl
import pytest

from sweep.report.page import write_report
from sweep.report.tables import latex, latex_table
from sweep.store.read import open_store

TABLE = pl.DataFrame(
    {
        "trial_id &co": ["50 % of #1 {\\x}", "[~b^|<d>]"],
        "value": ["-1512.3 ± 2.5", ""],
        "rate": ["3e-05", "2e+06"],
    }
)
_DEMO = """\
t0004 | best conditional coherence | 0.710 ± 0.018 | -7165 ± 54 | 0.131 | 105 | 0.38 0.01 0.17 0.26 0.18 | 1
t0011 |                            | 0.669 ± 0.017 | -7135 ± 51 | 0.223 | 103 | 0.01 0.59 0.20 0.01 0.19 | 1
t0010 | knee                       | 0.665 ± 0.015 | -6809 ± 32 | 0.487 | 121 | 0.05 0.43 0.12 0.16 0.23 | 1
t0005 |                            | 0.602 ± 0.017 | -6786 ± 30 | 0.133 |  84 | 0.01 0.16 0.13 0.14 0.56 | 1
t0003 | best log likelihood        | 0.533 ± 0.015 | -6738 ± 32 | 0.6   | 120 | 0.01 0.07 0.30 0.14 0.49 | 1
"""
_COLUMNS = "trial|picks|conditional coherence|log likelihood|beta|latent dim|subset weights|seeds"
FRONT = pl.DataFrame(
    [[cell.strip() for cell in line.split("|")] for line in _DEMO.splitlines()],
    schema=_COLUMNS.split("|"),
    orient="row",
)
"""The front of the README's demo."""
PICKS = FRONT.filter(pl.col("picks") != "").select(pl.col("picks").alias("pick"), pl.exclude("picks"))


@pytest.fixture
def typeset(tmp_path):
    """Give what sets a document of tables and returns what LaTeX says; skip where it cannot."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    if not subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False).stdout:
        pytest.skip("LaTeX has no booktabs (Debian: texlive-latex-recommended)")

    def typeset(head, body):
        text = f"{head}\\usepackage{{booktabs}}\\begin{{document}}\n{body}\n\\end{{document}}"
        (tmp_path / "all.tex").write_text(text, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout

    return typeset


def test_a_table_in_latex():
    """Text to the left, numbers to the right and in mathematics; every special sign is escaped."""
    assert latex_table(TABLE).splitlines() == [
        r"% \usepackage{booktabs}",
        r"{\footnotesize\setlength{\tabcolsep}{3pt}%",
        r"\begin{tabular}{@{}lrr@{}}",
        r"\toprule",
        r"\begin{tabular}[b]{@{}l@{}}trial\_id \\ \&co\end{tabular} & value & rate \\",
        r"\midrule",
        r"50 \% of \#1 \{\textbackslash{}x\} & $-1512.3 \pm 2.5$ & $3 \times 10^{-5}$ \\",
        (
            r"{[}\textasciitilde{}b\textasciicircum{}\textbar{}\textless{}d\textgreater{}] &  & "
            r"$2 \times 10^{6}$ \\"
        ),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    assert latex("$\n±*") == r"\$ $\pm${*}"


def test_headers_and_long_texts_have_several_lines():
    """A header one for every word, at its foot in line with the others; a text at most 16 letters in each."""
    _, _, _, _, head, _, first, second, *_ = latex_table(FRONT).splitlines()
    assert head == (
        r"trial & picks & \begin{tabular}[b]{@{}r@{}}conditional \\ coherence\end{tabular} & "
        r"\begin{tabular}[b]{@{}r@{}}log \\ likelihood\end{tabular} & beta & "
        r"\begin{tabular}[b]{@{}r@{}}latent \\ dim\end{tabular} & "
        r"\begin{tabular}[b]{@{}l@{}}subset \\ weights\end{tabular} & seeds \\"
    )
    assert first == (
        r"t0004 & \begin{tabular}[t]{@{}l@{}}best conditional \\ coherence\end{tabular} & "
        r"$0.710 \pm 0.018$ & $-7165 \pm 54$ & $0.131$ & $105$ & "
        r"\begin{tabular}[t]{@{}l@{}}0.38 0.01 0.17 \\ 0.26 0.18\end{tabular} & $1$ \\"
    )
    assert second.startswith(r"t0011 &  & $0.669 \pm 0.017$ & ")


def test_the_demos_tables_fit_a_page_of_two_columns(typeset):
    """In the article class they are narrower than a page's text, and than one and a half columns."""
    box = "\\setbox0=\\hbox{{{}}}\\typeout{{<\\the\\wd0>}}"
    widths = "\\typeout{<\\the\\columnwidth>}\\typeout{<\\the\\textwidth>}"
    body = widths + "".join(box.format(latex_table(table)) for table in (FRONT, PICKS))
    said = typeset(r"\documentclass[twocolumn]{article}", body + "x")
    column, page, *found = (float(width) for width in re.findall(r"<([\d.]+)pt>", said))
    assert (column, page) == (229.5, 469.0)
    assert len(found) == 2
    assert max(found) < 1.5 * column < page


def test_tables_compile(made_up_sweep, tmp_path, typeset):
    """All tables of a report, and one of every special sign, make one page without a complaint."""
    folder = write_report(open_store(made_up_sweep), tmp_path).parent / "tables"
    (folder / "signs.tex").write_text(latex_table(TABLE), encoding="utf-8")
    tables = sorted(folder.glob("*.tex"))
    assert len(tables) == 4
    said = typeset(
        r"\documentclass[a3paper]{article}\usepackage[margin=1cm,a3paper]{geometry}",
        "\n\n".join(rf"\input{{{table}}}" for table in tables),
    )
    assert "Overfull" not in said
    assert "(1 page" in said
