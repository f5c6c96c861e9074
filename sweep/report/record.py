"""The cards of what went wrong in a sweep, and of what is needed to repeat it."""

from html import escape

import polars as pl

from mopoe.errors import masked
from sweep.analysis.summaries import failure_reasons
from sweep.report.formatting import count
from sweep.report.view import Card, View

_MOST_TRACEBACKS = 5


def failure_card(view: View) -> Card | None:
    """Return the trials that did not complete, why, and where their code went wrong."""
    trials = view.tradeoff.trials
    bad = trials.filter(pl.col("status").is_in(["failed", "infeasible", "stopped"]))
    if not bad.height:
        return None
    reasons = "; ".join(f"{reason} ({count(n, 'trial')})" for reason, n in failure_reasons(trials))
    failed = int((bad["status"] == "failed").sum())
    finding = f"{failed} of {count(trials.height, 'trial')} failed{f': {reasons}' if reasons else ''}."
    reason = pl.coalesce("error", "stop_reason").fill_null("no reason recorded")
    table = bad.sort("status", "trial_id").select(
        "status", pl.col("trial_id").alias("trial"), "attempt", "epochs", reason.alias("reason")
    )
    opened = " open" if not view.tradeoff.configs.height else ""
    return Card(
        title="Failures and stops",
        finding=finding,
        figure_html=_tracebacks(bad.filter(status="failed"), opened) or None,
        table=table,
    )


def _tracebacks(failed: pl.DataFrame, opened: str) -> str:
    """Return the first traceback of each of the most frequent reasons."""
    parts = []
    for reason, _ in failure_reasons(failed)[:_MOST_TRACEBACKS]:
        rows = failed.drop_nulls("traceback").filter(pl.col("error").str.starts_with(reason))
        for trial, text in rows.select("trial_id", "traceback").head(1).iter_rows():
            title = f"<summary>Traceback of {escape(trial)}</summary>"
            parts.append(f'<details{opened}>{title}<pre tabindex="0">{escape(masked(text))}</pre></details>')
    return "".join(parts)


def provenance_card(view: View) -> Card:
    """Return what is needed to repeat the sweep."""
    import yaml

    manifest, trials = view.tradeoff.manifest, view.tradeoff.trials
    seeds = sorted(set(trials["seed"].to_list()))
    few = ", ".join(map(str, seeds[:10])) + (f" and {len(seeds) - 10} more" if len(seeds) > 10 else "")
    revision = manifest.git_revision or "unknown"
    finding = (
        f"Sweep {manifest.sweep_id} began at {manifest.created_at} on the data set {manifest.data}, from "
        f"revision {revision}; seeds of its trials: {few or 'none yet'}."
    )
    if manifest.classifier_accuracy:
        accuracy = ", ".join(f"{m} {a:.3f}" for m, a in manifest.classifier_accuracy.items())
        named = f" (weights {manifest.classifier_hash})" if manifest.classifier_hash else ""
        finding += f" Held-out accuracy of the classifiers{named} that judge coherence: {accuracy}."
    spec = escape(masked(yaml.safe_dump(manifest.spec, sort_keys=False, allow_unicode=True)))
    return Card(
        title="Provenance",
        finding=finding,
        figure_html=f"<details><summary>The sweep as written</summary><pre>{spec}</pre></details>",
        table=pl.DataFrame(sorted(manifest.versions.items()), schema=["package", "version"], orient="row"),
    )
