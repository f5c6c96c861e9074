"""A report beside its page: figures and tables for papers, the front as data, and its provenance."""

import json
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

import polars as pl

from mopoe.errors import masked
from sweep.analysis.breakdown import coherence_by_size
from sweep.report.latex import latex_table
from sweep.report.paper import paper_figures, save_figure
from sweep.report.summary import front_rows, front_text
from sweep.report.view import View
from sweep.report.words import number
from sweep.store.files import write_atomically


def write_files(found: View, out: Path) -> tuple[str, ...]:
    """Write front.parquet, figures/*.pdf and .svg, tables/*.csv and .tex, sweep.yaml and provenance.json.

    Returns:
        The names of the figures.

    Raises:
        StoreError: `out` cannot be written.
    """
    front = front_rows(found.tradeoff)
    write_atomically(out / "front.parquet", front.write_parquet)
    for name, (rows, texts) in report_tables(found, front).items():
        write_atomically(out / "tables" / f"{name}.csv", rows.write_csv)
        tex = latex_table(texts).encode()
        write_atomically(out / "tables" / f"{name}.tex", lambda file, tex=tex: file.write(tex))  # type: ignore[misc] # mypy knows no defaults of lambdas
    figures = paper_figures(found)
    for name, figure in figures.items():
        for kind in ("pdf", "svg"):
            write_atomically(out / "figures" / f"{name}.{kind}", partial(save_figure, figure, kind))
    _write_provenance(found, out)
    return tuple(figures)


def report_tables(found: View, front: pl.DataFrame) -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
    """Return the tables by name, each as data and as texts: the front, the picks, coherence by size."""
    labels = pl.DataFrame(
        [(p.label, p.trial_id) for p in found.tradeoff.picks], schema=["pick", "trial_id"], orient="row"
    ).cast(pl.String)
    picks = labels.join(front.drop("picks"), on="trial_id", how="left", maintain_order="left")
    named = front_text(picks.with_columns(picks="pick").drop("pick"))
    named = named.select(_words("picks").alias("pick"), pl.exclude("picks"))
    sizes = coherence_by_size(found.pairs.filter(pl.col("trial_id").is_in(labels["trial_id"].implode())))
    wide = sizes.with_columns(pl.col("value").map_elements(lambda v: f"{v:.3f}", pl.String)).pivot(
        "source_size", index="trial_id", values="value"
    )
    wide = labels.unique("trial_id", maintain_order=True).join(wide, on="trial_id", maintain_order="left")
    wide = wide.with_columns(_words("pick")).fill_null("")
    return {
        "front": (front, front_text(front)),
        "picks": (picks, named),
        "coherence_by_size": (sizes, wide.rename({"trial_id": "trial"})),
    }


def _words(column: str) -> pl.Expr:
    return pl.col(column).str.replace_all("_", " ", literal=True)


def _write_provenance(found: View, out: Path) -> None:
    """Write what made the numbers, and the sweep's file, with which the commands make them again."""
    import yaml

    manifest = found.tradeoff.manifest
    corner = ", ".join(f"{name} {number(value)}" for name, value in manifest.reference_point.items())
    content = {k: v for k, v in asdict(manifest).items() if k != "spec"} | {
        "trials": dict(found.tradeoff.trials["status"].value_counts().iter_rows()),
        "hypervolume": {"value": found.tradeoff.hypervolume, "above": corner},
        "reported_by": f"mopoe-sweep {version('mopoe-sweep')}",
        "commands": ["sweep run sweep.yaml --out RESULTS", "sweep report RESULTS"],
    }
    text = masked(json.dumps(content, indent=2, ensure_ascii=False)).encode() + b"\n"
    spec = masked(yaml.safe_dump(dict(manifest.spec), sort_keys=False, allow_unicode=True)).encode()
    write_atomically(out / "sweep.yaml", lambda file: file.write(spec))
    write_atomically(out / "provenance.json", lambda file: file.write(text))
