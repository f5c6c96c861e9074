"""What a results folder holds, by name; light, so that any module may ask."""

from collections.abc import Mapping

SCHEMA_VERSION = 1
"""Version of the tables and of `sweep.json`; a reader refuses files of a newer one."""

MANIFEST = "sweep.json"
"""The file that makes a folder a results folder."""

CHECKPOINTS = "checkpoints"
"""The folder of trials' weights."""

CLASSIFIERS = "classifiers"
"""The folder of the classifiers that judge coherence, named by their hash."""

REQUESTS = "requests"
"""The folder of what users ask of the sweep while it runs."""

COMPACT = "/compact-"
"""Stands behind the table in a compacted file's name. Readers take its rows first; it holds no key twice."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "trials": ("trial_id", "attempt"),
    "epochs": ("trial_id", "attempt", "epoch"),
    "subset_metrics": ("trial_id", "attempt", "epoch", "split", "subset_mask", "metric", "target"),
    "pair_coherence": ("trial_id", "attempt", "epoch", "split", "source_mask", "target"),
    "sample_values": ("trial_id", "attempt", "epoch", "split", "metric"),
    "samples": ("trial_id", "attempt", "epoch", "kind", "source_mask", "target"),
    "events": ("trial_id", "attempt", "epoch", "kind", "at"),
}
"""The columns that identify a row, by table. No two rows of a table as read agree in all of them."""

NULLABLE: Mapping[str, tuple[str, ...]] = {"subset_metrics": ("target",)}
"""Key columns that may be null or absent: a number may be about no target."""

WRITTEN = (CLASSIFIERS, REQUESTS, *KEYS, "report", "report/figures", "report/tables")
"""The folders in which files are written, other than `CHECKPOINTS`."""

PARAMETER, OBJECTIVE, STDERR, RECONSTRUCTION = "p_", "o_", "se_", "reconstruction_"
"""Prefixes of the columns whose names depend on the sweep."""

INTERVAL = "ci_"
"""Prefix of the half widths of 95 % intervals, which the analysis computes for configs."""
