"""Formats numbers, counts and names for people."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sweep.analysis.tradeoff import Pick, Tradeoff
from sweep.config.objectives import Objective
from sweep.store.layout import INTERVAL, OBJECTIVE, PARAMETER
from sweep.store.records import Manifest

NUMBER = re.compile(r"-?[\d.]+(e[-+]?\d+)?( ± [\d.]+)?|")
"""A cell of a numeric column: a number, perhaps with its error, or empty."""


def number(value: float) -> str:
    """Return a number with three significant digits, or with all digits of its integer part below a million.

    >>> number(0.123456), number(-1514.26), number(64), number(3e-05), number(2.0)
    ('0.123', '-1514', '64', '3e-05', '2')
    """
    if isinstance(value, int) or (math.isfinite(value) and value == round(value) and abs(value) < 1e6):
        return str(int(value))
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"


def with_error(value: float, error: float | None) -> str:
    """Return a value with its error or interval, both rounded to two significant digits of the latter.

    >>> with_error(0.72, 0.0213), with_error(-1512.34, 2.5), with_error(0.5, None), with_error(-1512.34, 38.2)
    ('0.720 ± 0.021', '-1512.3 ± 2.5', '0.5', '-1512 ± 38')
    """
    if error is None or not math.isfinite(error) or error <= 0:
        return number(value)
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def value_text(row: Mapping[str, Any], name: str) -> str:
    """Return a config's value of an objective with the half width of its 95 % interval."""
    return with_error(row[OBJECTIVE + name], row[INTERVAL + name])


def interval_text(trade: Tradeoff) -> str:
    """Return what the half widths of a sweep's intervals are over."""
    over = "seeds and held-out samples"
    if trade.inference.posterior is None:
        over = "held-out samples alone (no config has a second seed)"
    return worded(f"the half width of the 95 % interval over {over}", trade.manifest)


def corner_text(trade: Tradeoff) -> str:
    """Return the reference point by objective."""
    corner = trade.manifest.reference_point
    return ", ".join(f"{plain(name)} {number(corner[name])}" for name in trade.points.names)


def worded(text: str, *manifests: Manifest) -> str:
    """Return a text about sweeps, with folds in place of seeds if those are the replicates of all of them.

    Of one with seeds and one with folds it speaks of replicates.
    """
    words = {"fold" if manifest.folds else "seed" for manifest in manifests}
    return re.sub(r"\bseed(?=s?\b)", words.pop() if len(words) == 1 else "replicate", text)


def plain(name: str) -> str:
    """Return a column's name with spaces.

    >>> plain("log_likelihood")
    'log likelihood'
    """
    return name.replace("_", " ")


def with_unit(objective: Objective) -> str:
    """Return an objective's name with its unit, if it has one, as an axis has it."""
    return plain(objective.name) + (f" ({objective.unit})" if objective.unit else "")


def count(n: int, noun: str) -> str:
    """Return a count with its noun in singular or plural.

    >>> count(1, "config"), count(3, "config")
    ('1 config', '3 configs')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def status_line(trials: pl.DataFrame) -> str:
    """Return the number of trials by status.

    >>> status_line(pl.DataFrame({"status": ["failed", "completed", "completed"]}))
    '3 trials: 2 completed, 1 failed'
    """
    numbers = dict(trials["status"].value_counts().iter_rows())
    order = ("completed", "stopped", "failed", "infeasible", "running")
    parts = [f"{numbers[status]} {status}" for status in order if status in numbers]
    return f"{count(trials.height, 'trial')}: {', '.join(parts)}" if parts else "no trials"


def pick_labels(picks: Sequence[Pick], trial_id: str) -> str:
    """Return what a trial was picked for, or an empty string."""
    return ", ".join(plain(p.label) for p in picks if p.trial_id == trial_id)


def searched_settings(columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns of each searched setting: one, or the components of a simplex.

    >>> searched_settings(["trial_id", "p_beta", "p_weights_1", "p_weights_2"])
    {'beta': ['p_beta'], 'weights': ['p_weights_1', 'p_weights_2']}
    """
    found: dict[str, list[str]] = {}
    for column in columns:
        if column.startswith(PARAMETER):
            name = column.removeprefix(PARAMETER)
            stem = re.sub(r"_\d+$", "", name)
            # Options of networks, such as network.hidden_1, have dots and are no simplex.
            whole = name == stem or "." in name or f"{PARAMETER}{stem}_1" not in columns
            found.setdefault(name if whole else stem, []).append(column)
    return found


def setting_title(column: str, manifest: Manifest) -> str:
    """Return a searched setting's name as an axis has it; a weight by size says of which subsets it is."""
    name = column.removeprefix(PARAMETER)
    stem, _, place = name.rpartition("_")
    return f"weight of subsets of {place}" if _by_size(stem, manifest) else plain(name)


def _by_size(setting: str, manifest: Manifest) -> bool:
    """Return whether a searched setting has a weight for each size of subset."""
    return bool(manifest.spec.get("search_space", {}).get(setting, {}).get("over") == "size")


def weights_notes(columns: Sequence[str], manifest: Manifest) -> list[str]:
    """Return a sentence for each simplex by size among searched settings, on what its components are of."""
    return [
        f"{plain(name)}: the shares of all subsets of {', '.join(map(str, range(1, n)))} and {n} modalities."
        for name, n in ((name, len(parts)) for name, parts in searched_settings(columns).items())
        if n > 1 and _by_size(name, manifest)
    ]


def setting_text(parts: Sequence[object]) -> str:
    """Return a searched setting's value, or the components of a simplex, as one string.

    >>> setting_text([2.5]), setting_text(["all"]), setting_text([0.25, 0.75]), setting_text([None])
    ('2.5', 'all', '0.25 0.75', '')
    """
    if len(parts) > 1:
        weights = [float(p) for p in parts if isinstance(p, int | float)]
        if len(weights) > 6:
            return f"{len(weights)} weights, largest {max(weights):.2f}"
        return " ".join(f"{w:.2f}" for w in weights)
    (value,) = parts
    if value is None:
        return ""
    return number(value) if isinstance(value, int | float) else str(value)


def row_terms(objectives: Sequence[str], row: Mapping[str, Any]) -> dict[str, str]:
    """Return a config's objectives and searched settings as strings, by name."""
    settings = searched_settings(list(row)).items()
    return {plain(n): value_text(row, n) for n in objectives} | {
        plain(name): setting_text([row[part] for part in parts]) for name, parts in settings
    }
