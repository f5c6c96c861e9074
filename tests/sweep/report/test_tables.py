"""The front on a terminal, and tables set by LaTeX."""

import io
import re
import shutil
import subprocess
from dataclasses import replace

import polars as pl
import pytest
from rich.console import Console

from sweep.analysis.tradeoff import tradeoff
from sweep.report.page import write_report
from sweep.report.summary import nothing_yet
from sweep.report.tables import front_rows, front_text, latex, latex_table, print_front
from sweep.store.read import Store, open_store
from sweep.store.write import StoreWriter


def printed(root, width=120) -> str:
    """Print the front of a store and return the text."""
    console = Console(file=io.StringIO(), width=width)
    print_front(Store(root), console)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_front_rows_hold_the_front_best_first(made_up_sweep):
    """One row per front config by falling coherence, with picks, errors, settings and seeds."""
    found = front_rows(tradeoff(open_store(made_up_sweep)))
    assert found.columns == [
        "trial_id",
        "config_id",
        "seeds",
        "picks",
        "o_conditional_coherence",
        "se_conditional_coherence",
        "ci_conditional_coherence",
        "o_log_likelihood",
        "se_log_likelihood",
        "ci_log_likelihood",
        "p_beta",
        "p_latent_dim",
        "p_prior_expert",
    ]
    assert found.select("trial_id", "seeds", "picks", "p_beta").rows() == [
        ("t04", 1, "best conditional coherence", 8.0),
        ("t03", 1, "", 5.0),
        ("t02", 2, "knee", 2.5),
        ("t01", 1, "", 1.0),
        ("t00", 1, "best log likelihood", 0.5),
    ]
    assert found["o_log_likelihood"].to_list() == [-1640.0, -1570.0, -1512.0, -1490.0, -1480.0]
    assert found["se_log_likelihood"].to_list() == [2.5, 2.5, 2.0, 2.5, 2.5]


def test_folds_are_called_so(tmp_path, make_manifest, make_record):
    """In the rows as in the texts."""
    manifest = make_manifest()
    StoreWriter(tmp_path).write_manifest(replace(manifest, spec=manifest.spec | {"replicates": {"folds": 2}}))
    for k in range(2):
        values = {"conditional_coherence": 0.5, "log_likelihood": -1500.0 - k}
        StoreWriter(tmp_path).write_trial(
            make_record(f"t0{k}", config_id="c", seed=k, status="completed", objectives=values)
        )
    rows = front_rows(tradeoff(Store(tmp_path)))
    assert (rows["folds"].to_list(), front_text(rows)["folds"].to_list()) == ([2], ["2"])
    assert "seeds" not in (*rows.columns, *front_text(rows).columns)
    assert "folds" in printed(tmp_path)


def test_printed_front(made_up_sweep):
    """The terminal shows the table, the picks, the counts, the hypervolume and why trials failed."""
    lines = printed(made_up_sweep).splitlines()
    # The intervals are drawn, and their last digit is not the same on every machine.
    assert [re.sub(r" +", " ", re.sub(r"-?[\d.]+ ± [\d.]+", "x", line)).strip() for line in lines] == [
        "conditional log latent prior",
        "trial coherence likelihood beta dim expert seeds",
        "t04 x x 8 32 none 1",
        "t03 x x 5 128 full 1",
        "t02 x x 2.5 64 all 2",
        "t01 x x 1 64 full 1",
        "t00 x x 0.5 32 full 1",
        "",
        "± is the half width of the 95 % interval over seeds and held-out samples.",
        "best conditional coherence: t04",
        "best log likelihood: t00",
        "knee: t02",
        "11 trials: 8 completed, 1 stopped, 1 failed, 1 running; front: 5 configs of 7; hypervolume 161",
        "1 failed: the loss is nan at step 5",
    ]
    intervals = [tuple(map(float, re.findall(r"([\d.]+) ± ([\d.]+)", line)[0])) for line in lines[2:7]]
    assert [value for value, _ in intervals] == pytest.approx([0.8, 0.78, 0.72, 0.55, 0.42], abs=0.01)
    assert all(0.03 < width < 0.6 for _, width in intervals)


def test_nothing_completed_is_said_in_a_sentence(tmp_path, make_manifest, make_record):
    """Without a completed trial there is no table but a sentence, also before the first trial."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    yet = "No trial has completed with finite objectives yet, so there is nothing to compare"
    assert printed(tmp_path) == f"{yet} (no trials)."
    assert front_rows(tradeoff(open_store(tmp_path))).height == 0
    writer.write_trial(make_record("t1"))
    writer.write_trial(make_record("t2", status="failed", error="[bold]no memory\nat step 3"))
    assert printed(tmp_path).splitlines() == [
        f"{yet} (2 trials: 1 failed, 1 running).",
        "  1 failed: [bold]no memory",
    ]


def test_a_sweep_of_infeasible_trials_says_what_is_nearest(tmp_path, make_manifest, make_record, make_spec):
    """And not that nothing has completed: by the smallest excess over its largest, with what it misses."""
    limits = {"parameters": "<= 100", "seconds": "<= 10"}
    manifest = replace(make_manifest(), spec=make_spec(constraints=limits))
    writer = StoreWriter(tmp_path)
    writer.write_manifest(manifest)
    values = {"conditional_coherence": 0.5, "log_likelihood": -9.0}
    for trial, parameters, seconds in (("t1", 150, 1.0), ("t2", 120, 11.0), ("t3", 90, 40.0)):
        fields = {"status": "infeasible", "epochs": 20, "objectives": values}
        more = {"n_parameters": parameters, "seconds": seconds, "error": f"{parameters} and {seconds:g}"}
        writer.write_trial(make_record(trial, **fields, **more))
    sentence = "All 3 trials with full budget are infeasible; the closest is t2: 120 and 11"
    assert nothing_yet(tradeoff(open_store(tmp_path))) == f"{sentence}."
    assert printed(tmp_path).startswith(f"{sentence} (")


def test_folds_are_folds_where_nothing_can_be_compared_and_errors_stay_as_they_were(
    tmp_path, make_manifest, make_record, make_spec
):
    """A config with two of three folds is none that counts; "seed" in a user's traceback is no fold."""
    spec = make_spec(replicates={"folds": 3}, data={"name": "mine:load"})
    writer = StoreWriter(tmp_path)
    writer.write_manifest(replace(make_manifest(), spec=spec, data="mine:load"))
    objectives = {"conditional_coherence": 0.5, "log_likelihood": -9.0}
    writer.write_trial(make_record("t0", config_id="c", status="completed", objectives=objectives))
    broken = {"error": "no seed: None", "traceback": "generator(seed)"}
    writer.write_trial(make_record("t1", config_id="c", seed=1, status="failed", **broken))
    assert printed(tmp_path).startswith(
        "No config has all of its folds at full budget within the constraints"
    )
    page = write_report(open_store(tmp_path), tmp_path / "out").read_text(encoding="utf-8")
    assert "No config has all of its folds" in page
    assert "generator(seed)" in page
    assert "no seed: None" in page


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
        r"{\footnotesize\setlength{\tabcolsep}{2pt}%",
        r"\begin{tabular}{@{}lrr@{}}",
        r"\toprule",
        r"\begin{tabular}[b]{@{}l@{}}trial\_id \\ \&co\end{tabular} & value & rate \\",
        r"\midrule",
        (
            r"\begin{tabular}[t]{@{}l@{}}50 \% of \#1 \\ \{\textbackslash{}x\}\end{tabular} & "
            r"$-1512.3 \pm 2.5$ & $3 \times 10^{-5}$ \\"
        ),
        (
            r"{[}\textasciitilde{}b\textasciicircum{}\textbar{}\textless{}d\textgreater{}] &  & "
            r"$2 \times 10^{6}$ \\"
        ),
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    assert latex("$\n±*") == r"\$ $\pm${*}"


def test_headers_and_long_texts_have_several_lines():
    """A header one for every word, at its foot in line with the others; a text at most 12 letters in each."""
    _, _, _, _, head, _, first, second, *_ = latex_table(FRONT).splitlines()
    assert head == (
        r"trial & picks & \begin{tabular}[b]{@{}r@{}}cond. \\ coherence\end{tabular} & "
        r"\begin{tabular}[b]{@{}r@{}}log \\ likelihood\end{tabular} & $\beta$ & $d_z$ & "
        r"\begin{tabular}[b]{@{}l@{}}subset \\ weights\end{tabular} & seeds \\"
    )
    assert first == (
        r"t0004 & \begin{tabular}[t]{@{}l@{}}best cond. \\ coherence\end{tabular} & "
        r"$0.710 \pm 0.018$ & $-7165 \pm 54$ & $0.131$ & $105$ & "
        r"\begin{tabular}[t]{@{}l@{}}0.38 0.01 \\ 0.17 0.26 \\ 0.18\end{tabular} & $1$ \\"
    )
    assert second.startswith(r"t0011 &  & $0.669 \pm 0.017$ & ")
    option = latex_table(pl.DataFrame({"network.hidden": ["300"]})).splitlines()[4]
    assert option == r"\begin{tabular}[b]{@{}r@{}}network. \\ hidden\end{tabular} \\"


def test_the_demos_tables_fit_an_article(typeset):
    """With weights the text of a page of one column, without them a column of two, arrows and all."""
    box = "\\setbox0=\\hbox{{{}}}\\typeout{{<\\the\\wd0>}}"
    arrows = {name: f"{name}\N{NO-BREAK SPACE}↑" for name in ("conditional coherence", "log likelihood")}
    tables = [table.rename(arrows) for table in (FRONT, PICKS)]
    tables += [table.drop("subset weights") for table in tables]
    body = "\\typeout{<\\the\\columnwidth>}" + "".join(box.format(latex_table(table)) for table in tables)
    said = typeset(r"\documentclass[twocolumn]{article}", body + "x")
    column, *found = (float(width) for width in re.findall(r"<([\d.]+)pt>", said))
    assert column == 229.5
    assert max(found[:2]) < 345  # that of the class without options
    assert max(found[2:]) < column


def test_weights_are_in_latex_only_if_asked_for(tmp_path, make_manifest, make_record):
    """The CSV has them always."""
    writer = StoreWriter(tmp_path)
    writer.write_manifest(make_manifest())
    parameters = {"beta": 0.5, "subset_weights_1": 0.25, "subset_weights_2": 0.75}
    found = {"conditional_coherence": 0.5, "log_likelihood": -9.0}
    writer.write_trial(make_record("t1", status="completed", parameters=parameters, objectives=found))
    for weights in (False, True):
        tables = write_report(open_store(tmp_path), tmp_path / "out", weights=weights).parent / "tables"
        for name in ("front", "picks"):
            text = (tables / f"{name}.tex").read_text(encoding="utf-8")
            assert ("0.25 0.75" in text, r"& $\beta$ &" in text) == (weights, True)
            assert "p_subset_weights_2" in (tables / f"{name}.csv").read_text(encoding="utf-8")


def test_coherence_by_size_has_its_interval(made_up_sweep, tmp_path):
    """1.96 times 0.02, and the file says of what."""
    file = write_report(open_store(made_up_sweep), tmp_path).parent / "tables" / "coherence_by_size.tex"
    text = file.read_text(encoding="utf-8")
    assert text.startswith("% After +- stands at most the half width of the 95 % interval over the held-out")
    assert r"knee & t02 & $0.720 \pm 0.039$ & $0.740 \pm 0.039$ \\" in text


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
