"""Tables for papers: as text, and set by LaTeX."""

import shutil
import subprocess

import polars as pl
import pytest

from sweep.report.latex import latex, latex_table
from sweep.report.page import write_report
from sweep.store.read import open_store

TABLE = pl.DataFrame(
    {
        "trial_id & co": ["50 % of #1 {\\x}", "~b^|<d>"],
        "value": ["-1512.3 ± 2.5", ""],
        "rate": ["3e-05", "2e+06"],
    }
)


def test_a_table_in_latex():
    """Text to the left, numbers to the right and in mathematics; every special sign is escaped."""
    assert latex_table(TABLE).splitlines() == [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"trial\_id \& co & value & rate \\",
        r"\midrule",
        r"50 \% of \#1 \{\textbackslash{}x\} & $-1512.3 \pm 2.5$ & $3 \times 10^{-5}$ \\",
        r"\textasciitilde{}b\textasciicircum{}\textbar{}\textless{}d\textgreater{} &  & $2 \times 10^{6}$ \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert latex("$\n±") == r"\$ $\pm$"


def test_tables_compile(made_up_sweep, tmp_path):
    """All tables of a report, and one of every special sign, make one page without a complaint."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    if not subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False).stdout:
        pytest.skip("LaTeX has no booktabs (Debian: texlive-latex-recommended)")
    folder = write_report(open_store(made_up_sweep), tmp_path).parent / "tables"
    (folder / "signs.tex").write_text(latex_table(TABLE), encoding="utf-8")
    tables = sorted(folder.glob("*.tex"))
    assert len(tables) == 4
    body = "\n\n".join(rf"\input{{{table}}}" for table in tables)
    head = r"\documentclass[a3paper]{article}\usepackage[margin=1cm,a3paper]{geometry}\usepackage{booktabs}"
    (tmp_path / "all.tex").write_text(f"{head}\\begin{{document}}\n{body}\n\\end{{document}}")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
    assert "(1 page" in done.stdout
